"""Signing in and out, and what is closed without it."""

from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from itsdangerous import URLSafeTimedSerializer

from console import create_app
from console.config import Oidc, Settings
from testkit.databases import execute
from testkit.factories import Desk, Person, run
from testkit.pages import Browser

WRONG = "The e-mail or password is wrong, or the account is disabled."


def test_signing_in_leads_to_the_conversations(client: Browser, marta: Person):
    answer = client.sign_in(marta.email, marta.password)
    assert (answer.status_code, answer.location) == (303, "/")
    home = client.http.get("/")
    assert (home.status_code, home.location) == (302, "/conversations")
    assert marta.email in client.get_page("/conversations").text


def test_the_address_may_be_written_in_any_case(client: Browser, marta: Person):
    assert client.sign_in(f" {marta.email.upper()} ", marta.password).status_code == 303


CASES = ["wrong password", "unknown user", "disabled", "disabled, wrong password", "right password, too long"]


@pytest.mark.parametrize("case", CASES)
def test_every_mismatch_gets_the_same_answer_at_the_same_cost_and_keeps_the_address(
    client: Browser, cli: FlaskCliRunner, marta: Person, verifications: list[str], case: str
):
    email = "unknown@example.org" if case == "unknown user" else marta.email
    password = "not the password" if "wrong password" in case else marta.password
    if "disabled" in case:
        run(cli, "user", "disable", marta.email)
    if "too long" in case:
        password += "x" * 500
    verifications.clear()
    page = client.check(client.sign_in(email, password), 422)
    assert len(verifications) == 1
    assert verifications[0].startswith("$argon2id$")
    assert WRONG in page.text
    assert page.select_one("input[name=email]")["value"] == email  # type: ignore[index]  # it is there
    assert password not in page.text


def test_a_right_password_costs_what_a_wrong_one_does(
    client: Browser, marta: Person, verifications: list[str]
):
    verifications.clear()
    assert client.sign_in(marta.email, marta.password).status_code == 303
    assert len(verifications) == 1


def test_a_user_without_an_instructor_signs_in_and_is_told(client: Browser, marta: Person):
    execute("DELETE FROM memberships")
    assert client.sign_in(marta.email, marta.password).status_code == 303
    client.get_page("/conversations")


@pytest.mark.parametrize("email", ["no-at-sign", "@", "two words@example.org", "line\nend@example.org"])
def test_an_invalid_address_has_no_account_and_costs_no_hash(
    client: Browser, verifications: list[str], email: str
):
    page = client.check(client.sign_in(email, "whatever it is"), 422)
    assert WRONG in page.text
    assert verifications == []


def test_a_password_of_the_size_of_a_book_is_not_hashed(
    client: Browser, marta: Person, verifications: list[str]
):
    verifications.clear()
    client.check(client.sign_in(marta.email, "x" * 10_000), 422)
    assert verifications == []


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
def test_a_visitor_without_a_session_signs_in_and_comes_back(client: Browser, marta: Person, path: str):
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


def test_a_session_of_another_key_or_of_no_user_is_invalid(app: Flask, client: Browser):
    for value in ("forged", "eyJfdXNlcl9pZCI6IjEifQ.Zz.zz"):
        client.http.set_cookie("session", value)
        assert client.http.get("/conversations").status_code == 302
    with client.http.session_transaction() as session:
        session["_user_id"] = "not an id"
    assert client.http.get("/conversations").status_code == 302


def test_no_password_signs_in_where_passwords_are_turned_off(settings: Settings, marta: Person):
    oidc = Oidc(issuer="https://id.example.org", client_id="console", client_secret="hush")
    client = Browser(create_app(replace(settings, oidc=oidc, password_sign_in=False)))
    page = client.get_page("/login?next=/links")
    assert page.select("main form, main input") == []
    (link,) = page.select("main a")
    assert link["href"] == "/login/oidc?next=/links"
    with client.http.session_transaction() as session:
        token = session.setdefault("csrf_token", "of a form that was open before")
    signed = URLSafeTimedSerializer(settings.secret_key, salt="wtf-csrf-token").dumps(token)
    fields = {"email": marta.email, "password": marta.password, "csrf_token": signed}
    client.check(client.http.post("/login", data=fields), 404)
    assert client.http.get("/conversations").status_code == 302


def test_a_form_without_its_token_changes_nothing_and_gives_back_what_was_typed(client: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    client.sign_in(anna.operator.email, anna.operator.password)
    page = client.get_page(f"/links/{conversation_id}")
    answer = client.submit(
        page, f"/links/{conversation_id}", csrf_token=None, create="1", reason="typed <b>so</b>"
    )
    expired = client.check(answer, 400)
    assert "This form has expired" in expired.text
    assert "Your reason is below" in expired.text
    assert "typed <b>so</b>" in expired.text
    without_reason = client.check(client.http.post("/logout"), 400)
    assert "below" not in without_reason.text
    assert client.http.get(f"/links/{conversation_id}").text.count("No one has linked") == 1
