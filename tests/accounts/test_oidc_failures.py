"""Signing in through a provider that is down, fails, or gives invalid answers."""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Response

from console import create_app
from console.config import Oidc, Settings
from testkit.factories import Person
from testkit.pages import Browser
from tests.accounts.provider import BACK, DESCRIPTION, IGNORED_WARNINGS, TOKEN, Provider, begin, come_back

pytestmark = IGNORED_WARNINGS


def test_another_error_of_the_provider_is_a_502(client: Browser, idp: Provider):
    state = parse_qs(urlsplit(begin(client)).query)["state"][0]
    page = client.get_page(f"{BACK}?state={state}&error=<b>invalid_scope</b>", 502)
    assert "invalid_scope" not in page.text


ELSEWHERE = Response("", 307, {"Location": "/elsewhere"})

NONSENSE: dict[str, list[Any]] = {
    DESCRIPTION: [
        [],
        {},
        "text",
        {"issuer": 1},
        {"issuer": "https://elsewhere.example"},
        Response("<html>", mimetype="text/html"),
        Response("gone", 404),
        ELSEWHERE,
    ],
    TOKEN: [
        [],
        {},
        {"access_token": "x", "token_type": "Bearer"},
        {"access_token": "x", "token_type": "Bearer", "id_token": "x"},
        {"access_token": "x", "token_type": "Bearer", "id_token": 1},
        {"error": "invalid_client"},
        Response("<html>", mimetype="text/html"),
        ELSEWHERE,
    ],
    "/jwks": [[], {}, {"keys": 1}, {"keys": []}, Response("<html>", mimetype="text/html"), ELSEWHERE],
}


@pytest.mark.parametrize("path", NONSENSE)
def test_nonsense_from_the_provider_is_a_page(
    settings: Settings, idp: Provider, marta: Person, path: str, capfd: pytest.CaptureFixture[str]
):
    idp.know(marta.email)
    for nonsense in NONSENSE[path]:
        browser = Browser(create_app(settings))
        idp.answer_with(path, nonsense)
        if path == DESCRIPTION:
            page = browser.get_page("/login/oidc", 502)
        else:
            page = browser.check(come_back(browser, idp, marta.email), 502)
        assert "gives no usable answer" in page.text
        assert "password" in page.text
        idp.wrong.clear()
        assert come_back(browser, idp, marta.email).status_code == 303, nonsense
        assert "/elsewhere" not in idp.asked
    said = capfd.readouterr().err
    assert said.count('"event": "provider_failed"') == len(NONSENSE[path])
    assert "Traceback" not in said


def test_a_provider_that_calls_itself_something_else_is_not_used(client: Browser, idp: Provider):
    idp.answer(DESCRIPTION, issuer="https://elsewhere.example")
    client.get_page("/login/oidc", 502)


@pytest.mark.parametrize("path", [DESCRIPTION, TOKEN, "/jwks"])
def test_a_provider_in_trouble_is_a_page(settings: Settings, idp: Provider, marta: Person, path: str):
    idp.know(marta.email)
    browser = Browser(create_app(settings))
    idp.answer_with(path, Response("<h1>Bad gateway</h1>", 502))
    if path == DESCRIPTION:
        page = browser.get_page("/login/oidc", 503)
    else:
        page = browser.check(come_back(browser, idp, marta.email), 503)
    assert "does not answer" in page.text
    idp.wrong.clear()
    assert come_back(browser, idp, marta.email).status_code == 303


def test_a_provider_that_is_down_is_a_page(settings: Settings):
    oidc = Oidc(issuer="http://127.0.0.1:1", client_id="console", client_secret="hush")
    browser = Browser(create_app(replace(settings, oidc=oidc)))
    assert "does not answer" in browser.get_page("/login/oidc", 503).text
    only = Browser(create_app(replace(settings, oidc=oidc, password_sign_in=False)))
    assert "your password" not in only.get_page("/login/oidc", 503).text
