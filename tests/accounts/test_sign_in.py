"""Signing in and out, and what nobody gets without it."""

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from tests.factories import Desk, Person, desk, run
from tests.pages import Browser

WRONG = "E-mail address and password don’t go together, or the account is disabled."


@pytest.fixture
def anna(cli: FlaskCliRunner) -> Desk:
    """Return an instructor's desk."""
    return desk(cli)


@pytest.fixture
def marta(anna: Desk) -> Person:
    """Return somebody who may sign in."""
    return anna.operator


def test_signing_in_leads_to_the_conversations(client: Browser, marta: Person):
    answer = client.sign_in(marta.email, marta.password)
    assert (answer.status_code, answer.location) == (303, "/")
    home = client.http.get("/")
    assert (home.status_code, home.location) == (302, "/conversations")
    assert marta.email in client.get_page("/conversations").text


def test_the_address_may_be_written_in_any_case(client: Browser, marta: Person):
    assert client.sign_in(f" {marta.email.upper()} ", marta.password).status_code == 303


@pytest.mark.parametrize("case", ["wrong password", "nobody", "disabled"])
def test_every_mismatch_gets_the_same_answer_and_keeps_the_address(
    client: Browser, cli: FlaskCliRunner, marta: Person, case: str
):
    email = "nobody@example.org" if case == "nobody" else marta.email
    password = "not the password" if case == "wrong password" else marta.password
    if case == "disabled":
        run(cli, "user", "disable", marta.email)
    page = client.check(client.sign_in(email, password), 422)
    assert WRONG in page.text
    assert page.select_one("input[name=email]")["value"] == email  # type: ignore[index]  # it is there
    assert password not in page.text


@pytest.mark.parametrize("email", ["", "x" * 300 + "@example.org", "a\x00b", "<script>", "' OR 1=1 --"])
def test_any_address_gets_a_page(client: Browser, marta: Person, email: str):
    client.check(client.sign_in(email, marta.password), 422)


def test_a_disabled_user_is_out_at_the_next_request(client: Browser, cli: FlaskCliRunner, marta: Person):
    client.sign_in(marta.email, marta.password)
    client.get_page("/conversations")
    run(cli, "user", "disable", marta.email)
    assert client.http.get("/conversations").status_code == 302


def test_signing_out_ends_the_session(client: Browser, marta: Person):
    client.sign_in(marta.email, marta.password)
    page = client.get_page("/conversations")
    assert client.submit(page, "/logout").status_code == 303
    assert client.http.get("/conversations").status_code == 302


@pytest.mark.parametrize(
    "path", ["/", "/conversations?q=39%20333", "/links", "/badges?id=1", "/links/1/customers"]
)
def test_without_a_session_one_is_asked_to_sign_in_and_comes_back(client: Browser, marta: Person, path: str):
    answer = client.http.get(path)
    assert answer.status_code == 302
    assert answer.location.startswith("/login?next=%2F")
    page = client.get_page(answer.location)
    back = client.submit(page, email=marta.email, password=marta.password)
    assert back.location == path


def test_a_form_sent_without_a_session_leads_to_a_page_that_answers(client: Browser, marta: Person):
    for path in ("/links/1/unlink", "/links/1"):
        answer = client.http.post(path)
        assert answer.status_code == 302
        assert answer.location.startswith("/login?next=%2F")


def test_htmx_without_a_session_is_told_where_to_go(client: Browser):
    headers = {"HX-Request": "true", "HX-Current-URL": "http://localhost/conversations?q=1"}
    answer = client.http.get("/badges?id=1", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/login?next=%2Fconversations%3Fq%3D1"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/ok\r\nLocation: https://evil.example",
        "",
    ],
)
def test_next_never_leaves_this_host(client: Browser, marta: Person, elsewhere: str):
    page = client.get_page("/login")
    answer = client.submit(page, email=marta.email, password=marta.password, next=elsewhere)
    assert (answer.status_code, answer.location) == (303, "/")


def test_a_session_of_another_key_or_of_nobody_is_no_session(app: Flask, client: Browser):
    for value in ("forged", "eyJfdXNlcl9pZCI6IjEifQ.Zz.zz"):
        client.http.set_cookie("session", value)
        assert client.http.get("/conversations").status_code == 302
    with client.http.session_transaction() as session:
        session["_user_id"] = "not an id"
    assert client.http.get("/conversations").status_code == 302


def test_a_form_without_its_token_changes_nothing_and_gives_back_what_was_typed(client: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    client.sign_in(anna.operator.email, anna.operator.password)
    page = client.get_page(f"/links/{conversation_id}")
    answer = client.submit(
        page, f"/links/{conversation_id}", csrf_token=None, create="1", reason="typed <b>so</b>"
    )
    expired = client.check(answer, 400)
    assert "The form had expired" in expired.text
    assert "typed <b>so</b>" in expired.text
    assert client.http.get(f"/links/{conversation_id}").text.count("No one has linked") == 1
