"""One table of who gets what: every address of the URL map, every method, every kind of person."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from werkzeug.test import TestResponse

from console import create_app
from console.config import Settings
from testkit.databases import on_sqlite
from testkit.factories import PASSWORD
from tests.security.visitors import (
    CONFIDENTIAL,
    OUTSIDERS,
    VISITORS,
    Visitor,
    World,
    shut_out,
)

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")

# "It" is the instructor whom the addresses' conversation belongs to. A change is sent with all it needs.
# The columns after the methods, as in VISITORS: signed out, reads it, reads another, links it, links another,
# reads it and links another, disabled (with the session and the form's token from before).
EXPECTED = """
/                                                  GET HEAD               302 302 302 302 302 302 302
/                                                  OPTIONS                302 200 200 200 200 200 302
/                                                  POST PUT PATCH DELETE  405 405 405 405 405 405 405
/badges                                            GET HEAD OPTIONS       302 200 200 200 200 200 302
/badges                                            POST PUT PATCH DELETE  405 405 405 405 405 405 405
/conversations                                     GET HEAD OPTIONS       302 200 200 200 200 200 302
/conversations                                     POST PUT PATCH DELETE  405 405 405 405 405 405 405
/conversations/<id:conversation_id>                GET HEAD               302 200 404 200 404 200 302
/conversations/<id:conversation_id>                OPTIONS                302 200 200 200 200 200 302
/conversations/<id:conversation_id>                POST PUT PATCH DELETE  405 405 405 405 405 405 405
/conversations/<id:conversation_id>/messages       GET HEAD               302 200 404 200 404 200 302
/conversations/<id:conversation_id>/messages       OPTIONS                302 200 200 200 200 200 302
/conversations/<id:conversation_id>/messages       POST PUT PATCH DELETE  405 405 405 405 405 405 405
/conversations/rows                                GET HEAD OPTIONS       302 200 200 200 200 200 302
/conversations/rows                                POST PUT PATCH DELETE  405 405 405 405 405 405 405
/healthz                                           GET HEAD OPTIONS       200 200 200 200 200 200 200
/healthz                                           POST PUT PATCH DELETE  405 405 405 405 405 405 405
/links                                             GET HEAD OPTIONS       302 403 403 200 200 200 302
/links                                             POST PUT PATCH DELETE  405 405 405 405 405 405 405
/links/<id:conversation_id>                        GET HEAD               302 403 403 200 404 403 302
/links/<id:conversation_id>                        OPTIONS                302 403 403 200 200 200 302
/links/<id:conversation_id>                        POST                   302 403 403 303 404 403 302
/links/<id:conversation_id>                        PUT PATCH DELETE       405 405 405 405 405 405 405
/links/<id:conversation_id>/customers              GET HEAD               302 403 403 200 404 403 302
/links/<id:conversation_id>/customers              OPTIONS                302 403 403 200 200 200 302
/links/<id:conversation_id>/customers              POST PUT PATCH DELETE  405 405 405 405 405 405 405
/links/<id:conversation_id>/unlink                 GET HEAD               405 405 405 405 405 405 405
/links/<id:conversation_id>/unlink                 OPTIONS                302 403 403 200 200 200 302
/links/<id:conversation_id>/unlink                 POST                   302 403 403 303 404 403 302
/links/<id:conversation_id>/unlink                 PUT PATCH DELETE       405 405 405 405 405 405 405
/links/next                                        GET HEAD               302 403 403 302 302 302 302
/links/next                                        OPTIONS                302 403 403 200 200 200 302
/links/next                                        POST                   302 403 403 404 404 404 302
/links/next                                        PUT PATCH DELETE       405 405 405 405 405 405 405
/login                                             GET HEAD OPTIONS       200 200 200 200 200 200 200
/login                                             POST                   422 303 303 303 303 303 422
/login                                             PUT PATCH DELETE       405 405 405 405 405 405 405
/login/oidc                                        GET HEAD               404 404 404 404 404 404 404
/login/oidc                                        OPTIONS                200 200 200 200 200 200 200
/login/oidc                                        POST PUT PATCH DELETE  405 405 405 405 405 405 405
/login/oidc/callback                               GET HEAD               404 404 404 404 404 404 404
/login/oidc/callback                               OPTIONS                200 200 200 200 200 200 200
/login/oidc/callback                               POST PUT PATCH DELETE  405 405 405 405 405 405 405
/logout                                            GET HEAD               405 405 405 405 405 405 405
/logout                                            OPTIONS                200 200 200 200 200 200 200
/logout                                            POST                   303 303 303 303 303 303 303
/logout                                            PUT PATCH DELETE       405 405 405 405 405 405 405
/metrics                                           GET HEAD OPTIONS       200 200 200 200 200 200 200
/metrics                                           POST PUT PATCH DELETE  405 405 405 405 405 405 405
/readyz                                            GET HEAD OPTIONS       200 200 200 200 200 200 200
/readyz                                            POST PUT PATCH DELETE  405 405 405 405 405 405 405
/static/<path:filename>                            GET HEAD OPTIONS       200 200 200 200 200 200 200
/static/<path:filename>                            POST PUT PATCH DELETE  405 405 405 405 405 405 405
/webhooks/whatsapp                                 GET HEAD               403 403 403 403 403 403 403
/webhooks/whatsapp                                 OPTIONS                200 200 200 200 200 200 200
/webhooks/whatsapp                                 POST                   401 401 401 401 401 401 401
/webhooks/whatsapp                                 PUT PATCH DELETE       405 405 405 405 405 405 405
"""
# What differs where the badge is off, or the webhook has no secrets.
EXPECTED_WITHOUT_FLAGS = """
/badges                                            GET HEAD               302 404 404 404 404 404 302
/webhooks/whatsapp                                 GET HEAD POST          404 404 404 404 404 404 404
"""

# Ends the session that the other cells need.
LAST = ("/login", "/logout")

Cells = dict[tuple[str, str], list[int]]


def read(table: str) -> Cells:
    """Return the statuses of a table by rule and method, each given once."""
    cells: Cells = {}
    for line in table.strip().splitlines():
        rule, *rest = line.split()
        methods, statuses = rest[: -len(VISITORS)], rest[-len(VISITORS) :]
        for method in methods:
            assert (rule, method) not in cells, (rule, method)
            cells[rule, method] = [int(status) for status in statuses]
    return cells


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Configure the webhook."""
    return replace(settings, whatsapp_app_secret="a secret", whatsapp_verify_token="a token")


@on_sqlite
def test_every_address_and_method_has_its_line(app: Flask):
    known = {(rule.rule, method) for rule in app.url_map.iter_rules() for method in METHODS}
    assert set(read(EXPECTED)) == known
    stated = {method for rule in app.url_map.iter_rules() for method in rule.methods or ()}
    assert stated <= set(METHODS)
    assert set(read(EXPECTED_WITHOUT_FLAGS)) < known


def answers(app: Flask, cli: FlaskCliRunner, people: World, cells: Cells) -> Cells:
    """Ask for every cell as each visitor; return the statuses, once no outsider was told anything."""
    visitors = {name: people.enter(app, name) for name in VISITORS}
    shut_out(cli, people)
    found: Cells = {}
    for rule, method in sorted(cells, key=lambda cell: (cell[0] in LAST, cell)):
        answered = {name: ask(visitor, rule, method, people) for name, visitor in visitors.items()}
        for name in OUTSIDERS:
            assert CONFIDENTIAL not in answered[name].text, f"{method} {rule} by who {name}"
        found[rule, method] = [answer.status_code for answer in answered.values()]
    return found


def ask(visitor: Visitor, rule: str, method: str, people: World) -> TestResponse:
    """Send one request with all that it needs to be carried out."""
    path = rule.replace("<id:conversation_id>", str(people.conversation_id))
    path = path.replace("<path:filename>", "console.css")
    if rule == "/badges":
        path += f"?id={people.conversation_id}"
    if method != "POST":
        return visitor.ask(method, path)
    form: dict[str, object] = {"csrf_token": visitor.current_token()}
    if rule == "/login":
        form |= {"email": visitor.email, "password": PASSWORD}
    elif rule.endswith("/unlink"):
        form |= people.link_form(confirm="1")
    else:
        form |= people.link_form()
    return visitor.ask(method, path, data=form)


def differences(expected: Cells, found: Cells) -> Iterator[str]:
    """Name each cell that isn't as expected."""
    for (rule, method), statuses in found.items():
        for name, was, should_be in zip(VISITORS, statuses, expected[rule, method], strict=True):
            if was != should_be:
                yield f"{method} {rule} by who {name}: {was}, not {should_be}"


@pytest.mark.shows("CM-2.3.1", "T4.1")
def test_every_visitor_gets_what_the_table_says(app: Flask, cli: FlaskCliRunner, people: World):
    expected = read(EXPECTED)
    assert list(differences(expected, answers(app, cli, people, expected))) == []
    insider = people.enter(app, "reads it")
    assert CONFIDENTIAL in insider.ask("GET", f"/conversations/{people.conversation_id}").text


def test_every_visitor_gets_it_without_the_badge_and_the_webhook(
    settings: Settings, cli: FlaskCliRunner, people: World
):
    bare = create_app(
        replace(settings, customer_badge=False, whatsapp_app_secret=None, whatsapp_verify_token=None)
    )
    changed = read(EXPECTED_WITHOUT_FLAGS)
    expected = read(EXPECTED) | changed
    rules = {rule.rule for rule in bare.url_map.iter_rules() if rule.endpoint.startswith("conversations.")}
    cells = {cell: statuses for cell, statuses in expected.items() if cell in changed or cell[0] in rules}
    assert list(differences(expected, answers(bare, cli, people, cells))) == []
