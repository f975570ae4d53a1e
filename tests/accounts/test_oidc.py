"""Signing in through a provider: a real one, on this machine, with every way it can go wrong."""

import subprocess
import sys
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from joserfc import jwt
from joserfc.jwk import OctKey
from werkzeug.test import TestResponse

from console import create_app
from console.accounts.oidc import MAX_SIGN_IN_SECONDS
from console.config import ROOT, Settings
from testkit.databases import execute, rows
from testkit.factories import Person, run
from testkit.pages import Browser
from tests.accounts.conftest import Clock
from tests.accounts.provider import BACK, DESCRIPTION, IGNORED_WARNINGS, TOKEN, Provider, begin, come_back

pytestmark = IGNORED_WARNINGS


def refused(browser: Browser, answer: TestResponse, status: int) -> str:
    """Expect the sign-in page without a session; return what it says."""
    page = browser.check(answer, status)
    assert page.select("main form input[name=password]")
    alert = page.select_one("[role=alert]")
    assert alert
    assert browser.http.get("/conversations").status_code == 302
    return alert.text


@pytest.mark.parametrize("path", ["/login/oidc", BACK, BACK + "?code=x&state=y"])
def test_pages_show_no_provider_without_one(settings: Settings, path: str):
    browser = Browser(create_app(settings))
    browser.get_page(path, 404)
    assert "single sign-on" not in browser.get_page("/login").text


def test_the_providers_library_is_not_loaded_without_a_provider(settings: Settings):
    asking = "import sys; from app import app; app.test_client().get('/login'); "
    asking += "print([m for m in ('authlib', 'requests', 'limits', 'redis', 'zxcvbn') if m in sys.modules])"
    environment = {"CONSOLE_SECRET_KEY": "x"}
    command = [sys.executable, "-c", asking]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_person_with_an_account_signs_in_and_goes_on_to_the_page_they_wanted(
    client: Browser, idp: Provider, marta: Person
):
    idp.know(marta.email)
    link = client.get_page("/login?next=/links%3Flinked%3Dyes").select_one("main a")
    assert link
    back = idp.sign_in(begin(client, str(link["href"])), marta.email)
    answer = client.http.get(back)
    assert (answer.status_code, answer.location) == (303, "/links?linked=yes")
    assert marta.email in client.get_page("/conversations").text
    with client.http.session_transaction() as session:
        assert session["_user_id"] == str(marta.id)
        assert "oidc" not in session
    assert client.http.get_cookie("device")


def test_a_sign_in_sends_the_provider_state_nonce_and_challenge(client: Browser, idp: Provider):
    asked = {name: item for name, (item,) in parse_qs(urlsplit(begin(client)).query).items()}
    assert asked["response_type"] == "code"
    assert asked["client_id"] == "console"
    assert set(asked["scope"].split()) == {"openid", "email"}
    assert asked["redirect_uri"] == f"http://localhost{BACK}"
    assert asked["code_challenge_method"] == "S256"
    others = {name: item for name, (item,) in parse_qs(urlsplit(begin(client)).query).items()}
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[name]) >= 43  # 256 random bits
        assert asked[name] != others[name]
    assert idp.asked == [DESCRIPTION]


def test_the_way_back_is_the_public_address(settings: Settings, idp: Provider, marta: Person):
    public = "https://console.example.org"
    http = Browser(create_app(replace(settings, public_url=public))).http
    idp.know(marta.email)
    behind = "http://console.example.org"  # as a proxy asks that speaks TLS outside
    there = http.get("/login/oidc", base_url=behind).location
    assert parse_qs(urlsplit(there).query)["redirect_uri"] == [public + BACK]
    back = idp.sign_in(there, marta.email)
    assert http.get(back, base_url=behind).status_code == 303


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_next_never_leaves_this_host(client: Browser, idp: Provider, marta: Person, elsewhere: str):
    idp.know(marta.email)
    back = idp.sign_in(begin(client, f"/login/oidc?next={elsewhere}"), marta.email)
    assert client.http.get(back).location == "/"


def test_an_address_that_is_too_long_to_keep_is_left_out(client: Browser, idp: Provider, marta: Person):
    idp.know(marta.email)
    for length, location in ((900, "/conversations?q=" + "x" * 900), (3000, "/")):
        back = idp.sign_in(begin(client, f"/login/oidc?next=/conversations?q={'x' * length}"), marta.email)
        assert client.http.get(back).location == location


def test_the_provider_signs_in_whom_it_knows_by_another_case(client: Browser, idp: Provider, marta: Person):
    idp.know(marta.email.upper())
    assert come_back(client, idp, marta.email.upper()).status_code == 303


def test_a_letter_that_only_looks_the_same_is_another(client: Browser, idp: Provider, marta: Person):
    execute(f"UPDATE users SET email = 'kofler@example.org' WHERE id = '{marta.id}'")
    idp.know("\u212aofler@example.org")  # the kelvin sign, which is a k in lower case
    refused(client, come_back(client, idp, "\u212aofler@example.org"), 403)


@pytest.mark.parametrize(
    "email", ["a\0@example.org", "\0", "a\x1b@example.org", "no-at-sign", "a" * 300 + "@b"], ids=ascii
)
def test_an_invalid_email_address_is_refused(client: Browser, idp: Provider, marta: Person, email: str):
    idp.know(marta.email, email=email)
    refused(client, come_back(client, idp, marta.email), 400)


def test_a_person_without_an_account_is_refused_without_a_cause(
    client: Browser, cli: FlaskCliRunner, idp: Provider, marta: Person
):
    said = set()
    before = rows("SELECT count(*) FROM users")
    idp.know("unknown@example.org")
    said.add(refused(client, come_back(client, idp, "unknown@example.org"), 403))
    for unverified in (False, None, "true", 1):
        idp.know(marta.email, email_verified=unverified)
        said.add(refused(client, come_back(client, idp, marta.email), 403))
    idp.know(marta.email, email=None)
    said.add(refused(client, come_back(client, idp, marta.email), 403))
    idp.know(marta.email)
    run(cli, "user", "disable", marta.email)
    said.add(refused(client, come_back(client, idp, marta.email), 403))
    assert said == {
        "The provider gave no verified e-mail address of an account here, or the account is disabled."
    }
    assert rows("SELECT count(*) FROM users") == before


def test_a_state_that_was_not_given_is_refused_unasked(client: Browser, idp: Provider, marta: Person):
    idp.know(marta.email)
    back = idp.sign_in(begin(client), marta.email)
    idp.asked.clear()
    for wrong in (
        f"{BACK}?code=x",
        f"{BACK}?code=x&state=",
        f"{BACK}?code=x&state=ü",
        BACK,
        back.replace("state=", "state=x"),
    ):
        assert "begun in another place" in refused(client, client.http.get(wrong), 400)
    assert idp.asked == []
    assert client.http.get(back).status_code == 303  # none of it has ended what was under way


def test_the_answer_of_another_browsers_sign_in_is_refused(app: Flask, idp: Provider, marta: Person):
    idp.know(marta.email)
    back = idp.sign_in(begin(Browser(app)), marta.email)
    other = Browser(app)
    refused(other, other.http.get(back), 400)
    begin(other)
    refused(other, other.http.get(back), 400)


def test_an_answer_counts_once(client: Browser, idp: Provider, marta: Person):
    idp.know(marta.email)
    back = idp.sign_in(begin(client), marta.email)
    cookie = client.http.get_cookie("session")
    assert cookie
    assert client.http.get(back).status_code == 303
    client.http.delete_cookie("session")
    refused(client, client.http.get(back), 400)
    client.http.set_cookie("session", cookie.value)
    refused(client, client.http.get(back), 400)  # the provider takes a code once


def test_an_answer_comes_in_good_time(client: Browser, idp: Provider, marta: Person, clock: Clock):
    idp.know(marta.email)
    back = idp.sign_in(begin(client), marta.email)
    clock.move(MAX_SIGN_IN_SECONDS + 1)
    refused(client, client.http.get(back), 400)


def test_a_code_of_another_sign_in_is_refused(client: Browser, idp: Provider, marta: Person):
    idp.know(marta.email)
    answer = come_back(client, idp, marta.email, nonce="of-another-sign-in")
    refused(client, answer, 400)


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": None},
        {"iss": "https://elsewhere.example"},
        {"aud": ["another console"]},
        {"aud": ["another console"], "azp": "console"},
        {"aud": ["console", "another"], "azp": "another"},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"sub": None},
    ],
    ids=str,
)
def test_a_token_that_says_anything_else_is_refused(
    client: Browser, idp: Provider, marta: Person, changes: dict[str, Any]
):
    idp.know(marta.email)

    def change(claims: dict[str, Any]) -> None:
        claims.update(changes)
        for name in [name for name, value in changes.items() if value is None]:
            del claims[name]

    idp.resign(change)
    refused(client, come_back(client, idp, marta.email), 400)
    idp.wrong.clear()
    assert come_back(client, idp, marta.email).status_code == 303


def test_a_token_signed_with_a_known_key_is_refused(client: Browser, idp: Provider, marta: Person):
    idp.know(marta.email)
    key = OctKey.import_key(idp.settings.client_secret.ljust(32, "."))
    forged = {"HS256": jwt.encode({"alg": "HS256"}, {}, key), "none": "eyJhbGciOiJub25lIn0.e30."}
    for algorithm, token in forged.items():
        idp.answer(DESCRIPTION, id_token_signing_alg_values_supported=[algorithm, "RS256"])
        idp.answer(TOKEN, id_token=token)
        browser = Browser(create_app(client.http.application.config["CONSOLE"]))
        browser.check(come_back(browser, idp, marta.email), 502)
        assert browser.http.get("/conversations").status_code == 302


def test_an_address_may_come_with_the_user_info(client: Browser, idp: Provider, marta: Person):
    idp.know(marta.email)
    idp.resign(lambda claims: [claims.pop(name) for name in ("email", "email_verified")])
    assert come_back(client, idp, marta.email).status_code == 303
    assert "/userinfo" in idp.asked
    client.http.delete_cookie("session")
    idp.answer("/userinfo", sub="another person")
    client.check(come_back(client, idp, marta.email), 502)
    assert client.http.get("/conversations").status_code == 302


def test_refusing_at_the_provider_leads_back_to_the_sign_in_page(
    client: Browser, idp: Provider, marta: Person
):
    back = idp.deny(begin(client))
    assert "error=access_denied" in back
    assert refused(client, client.http.get(back), 403) == "The provider did not sign you in."
    refused(client, client.http.get(back), 400)


def test_signing_out_ends_what_the_provider_began(app: Flask, idp: Provider, marta: Person):
    idp.know(marta.email)
    desk, phone = Browser(app), Browser(app)
    for browser in (desk, phone):
        assert come_back(browser, idp, marta.email).status_code == 303
    desk.submit(desk.get_page("/conversations"), "/logout")
    assert phone.http.get("/conversations").status_code == 302


def test_no_log_line_contains_a_name_or_a_secret(
    client: Browser, idp: Provider, marta: Person, capfd: pytest.CaptureFixture[str]
):
    idp.know(marta.email)
    back = idp.sign_in(begin(client), marta.email)
    client.http.get(back)
    client.http.get(back)
    said = capfd.readouterr().err
    assert '"signed_in"' in said
    query = parse_qs(urlsplit(back).query)
    for hushed in (marta.email, *query["code"], *query["state"], "hush"):
        assert hushed not in said
