"""Changes that another site's page makes a signed-in browser send: nothing is written, whatever the trick."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
from flask import Flask
from itsdangerous import URLSafeTimedSerializer

from console import create_app
from console.config import Settings
from testkit.databases import on_sqlite, rows
from testkit.factories import PASSWORD
from testkit.pages import Browser, Client
from tests.security.visitors import Visitor, World

EVIL = "https://evil.example"
TABLES = ("conversations", "customers", "audit_events", "users", "memberships", "messages")


@dataclass(frozen=True)
class Tokens:
    """The token that a form has to carry, and some that it must not."""

    right: str
    inside: str
    of_another_session: str


@dataclass
class Sent:
    """A change as it is sent: its fields, where they go, and what is said beside them."""

    fields: dict[str, Any]
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    json: bool = False
    content_type: str | None = None
    cookie: str | None = None

    def by(self, visitor: Visitor, path: str) -> Any:
        """Send it."""
        if self.cookie:
            visitor.http.set_cookie("csrf_token", self.cookie)
        body: dict[str, Any] = {"json": self.fields} if self.json else {"data": self.fields}
        if self.content_type == "text/plain":
            body = {"data": "\r\n".join(f"{name}={value}" for name, value in self.fields.items())}
        options = body if self.method == "POST" else {}
        answer = visitor.ask(
            self.method,
            path,
            headers=self.headers,
            query_string=self.query,
            content_type=None if self.json else self.content_type,
            **options,
        )
        visitor.http.delete_cookie("csrf_token")
        return answer


Forgery = Callable[[dict[str, Any], Tokens], Sent]


def carrying(fields: dict[str, Any], token: str, **said: Any) -> Sent:
    """Return a form with this token."""
    return Sent({**fields, "csrf_token": token}, **said)


def saying(headers: dict[str, str], fields: dict[str, Any], tokens: Tokens) -> Sent:
    """Return a form with the right token, and what the browser says of its sender."""
    return carrying(fields, tokens.right, headers=headers)


def signed(inside: str, secret: str) -> str:
    """Sign a token's content as the console would if this were its secret."""
    return str(URLSafeTimedSerializer(secret, salt="wtf-csrf-token").dumps(inside))


# What the form carries is wrong, or not where a form has it: 400.
WITHOUT_TOKEN: dict[str, Forgery] = {
    "no token": lambda form, _: Sent(form),
    "an empty token": lambda form, _: carrying(form, ""),
    "another session's token": lambda form, tokens: carrying(form, tokens.of_another_session),
    "another secret's token": lambda form, tokens: carrying(form, signed(tokens.inside, "another secret")),
    "the token without its signature": lambda form, tokens: carrying(form, tokens.inside),
    "a tampered token": lambda form, tokens: carrying(form, tokens.right[:-2] + "__"),
    "a token with more behind it": lambda form, tokens: carrying(form, tokens.right + ".x"),
    "a token of odd characters": lambda form, _: carrying(form, "\x00\ud7ff\uffff"),
    "the token in the query": lambda form, tokens: Sent(form, query={"csrf_token": tokens.right}),
    "the token in a cookie": lambda form, tokens: Sent(form, cookie=tokens.right),
    "the form in the query": lambda form, tokens: Sent({}, query={**form, "csrf_token": tokens.right}),
    "htmx without a token": lambda form, _: Sent(form, headers={"HX-Request": "true"}),
    "another session's token in htmx's header": lambda form, tokens: Sent(
        form, headers={"HX-Request": "true", "X-CSRFToken": tokens.of_another_session}
    ),
}
# The token is right, as if it were stolen, but what carries it is no form: 415.
NO_FORMS: dict[str, Forgery] = {
    "a form as JSON": lambda form, tokens: carrying(form, tokens.right, json=True),
    "a form as text": lambda form, tokens: carrying(form, tokens.right, content_type="text/plain"),
}
# The token is right, and the browser tells on who sent the form: 403.
FROM_ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://localhost@evil.example"},
    {"Origin": "http://localhost:8080"},
    {"Origin": "ftp://localhost"},
    {"Origin": "http://["},
    {"Referer": f"{EVIL}/http://localhost/"},
]
# No change at all: the page, or 405 where there is none.
GETS: dict[str, Forgery] = {
    "a GET": lambda form, tokens: Sent({}, method="GET", query={**form, "csrf_token": tokens.right}),
    "a GET that calls itself a POST": lambda form, tokens: Sent(
        {},
        method="GET",
        query={**form, "csrf_token": tokens.right, "_method": "POST"},
        headers={"X-HTTP-Method-Override": "POST"},
    ),
}

OWN_FORMS: dict[str, dict[str, str]] = {
    "a program that says nothing": {},
    "a browser": {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    "a browser over plain HTTP to another machine": {"Origin": "http://localhost"},
    "a browser that gives a port": {"Host": "localhost:8000", "Origin": "http://localhost:8000"},
    "an old browser": {"Referer": "http://localhost/links?q=1"},
    "a person who loads a page again": {"Sec-Fetch-Site": "none"},
}

UNDER_TLS: list[tuple[dict[str, str], int]] = [
    ({}, 303),
    ({"Sec-Fetch-Site": "same-origin"}, 303),
    ({"Origin": "https://console.example.org"}, 303),
    ({"Referer": "https://console.example.org/login"}, 303),
    ({"Origin": "http://console.example.org"}, 403),
    ({"Origin": "https://console.example.org:8443"}, 403),
    ({"Origin": "https://example.org"}, 403),
    ({"Referer": "http://console.example.org/login"}, 403),
]


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """Return all that a change could change."""
    return {table: rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES}


def tokens(app: Flask, visitor: Visitor) -> Tokens:
    """Return a visitor's token, what is in it, and a stranger's."""
    stranger = Visitor(Client(app, app.response_class), "", "/login")
    right = visitor.current_token()
    inside = URLSafeTimedSerializer(str(app.secret_key), salt="wtf-csrf-token").loads(right)
    return Tokens(right, inside, stranger.current_token())


def changes(people: World) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return every change there is: who makes it, and its form as it would be carried out."""
    link = f"/links/{people.conversation_id}"
    return {
        link: ("links it", people.link_form()),
        f"{link}/unlink": ("links it", people.link_form(confirm="1")),
        "/logout": ("links it", {}),
        "/login": ("signed out", {"email": people.emails["links it"], "password": PASSWORD}),
    }


def test_every_change_is_among_them(app: Flask, people: World):
    paths = {
        rule.rule.replace("<id:conversation_id>", str(people.conversation_id))
        for rule in app.url_map.iter_rules()
        if "POST" in (rule.methods or ()) and not rule.rule.startswith("/webhooks/")
    }
    assert set(changes(people)) == paths


def forgeries(path: str) -> Iterator[tuple[str, int, Forgery]]:
    """Return every trick for a change, and the status that it is answered with."""
    yield from ((trick, 400, forge) for trick, forge in WITHOUT_TOKEN.items())
    yield from ((trick, 415, forge) for trick, forge in NO_FORMS.items())
    for said in FROM_ELSEWHERE:
        yield str(said), 403, partial(saying, said)
    has_page = not path.endswith(("/unlink", "/logout"))
    yield from ((trick, 200 if has_page else 405, forge) for trick, forge in GETS.items())


@pytest.mark.shows("CM-2.3.1")
def test_no_forged_change_is_carried_out(app: Flask, people: World):
    for path, (name, fields) in changes(people).items():
        visitor = people.enter(app, name)
        before = everything()
        for trick, status, forge in forgeries(path):
            answer = forge(fields, tokens(app, visitor)).by(visitor, path)
            assert answer.status_code == status, (trick, path, answer.text)
            Browser(app).check(answer, status)
            assert everything() == before, (trick, path)
            signed_in = visitor.http.get("/conversations").status_code == 200
            assert signed_in == (name != "signed out"), (trick, path)


def test_typed_text_comes_back_but_not_to_another_site(app: Flask, people: World):
    operator = people.enter(app, "links it")
    path, form = f"/links/{people.conversation_id}", people.link_form(reason="typed <b>so</b>")
    expired = Browser(app).check(operator.ask("POST", path, data=form), 400)
    assert "This form has expired" in expired.text
    assert "typed <b>so</b>" in expired.text
    foreign = operator.ask("POST", path, data=form, headers={"Origin": EVIL})
    assert "typed" not in Browser(app).check(foreign, 403).text


def test_the_consoles_own_forms_are_carried_out(app: Flask, people: World):
    operator = people.enter(app, "links it")
    path = f"/links/{people.conversation_id}"
    choice = {"create": "", "customer_id": str(people.customer_id)}
    for sender, headers in OWN_FORMS.items():
        form = people.link_form(**choice, csrf_token=operator.current_token())
        assert operator.ask("POST", path, data=form, headers=headers).status_code == 303, sender
        form = people.link_form(confirm="1", csrf_token=operator.current_token())
        assert operator.ask("POST", f"{path}/unlink", data=form, headers=headers).status_code == 303, sender
    assert rows("SELECT count(*) FROM audit_events") == [(4 + 2 * len(OWN_FORMS),)]


@on_sqlite
@pytest.mark.parametrize("proxies", [0, 1])
def test_over_tls_only_pages_of_the_public_address_may_send_forms(
    settings: Settings, people: World, proxies: int
):
    app = create_app(replace(settings, public_url="https://console.example.org", trusted_proxies=proxies))
    app.config["SERVER_NAME"] = "console.example.org"  # which the test client then asks for
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Port": "443"}
    for said, status in UNDER_TLS:
        visitor = Visitor(Client(app, app.response_class), "", "/login")
        token = visitor.current_token()
        sent = {"email": people.emails["links it"], "password": PASSWORD, "csrf_token": token}
        answer = visitor.ask("POST", "/login", data=sent, headers=forwarded | said)
        assert answer.status_code == status, said
