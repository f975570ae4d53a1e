"""Two instructors, and the people who may see one, the other, or nothing: each at a browser, signed in."""

import re
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from flask import Flask
from flask.testing import FlaskCliRunner
from werkzeug.test import TestResponse

from testkit.factories import PASSWORD, Desk, desk, link_state, run, user
from testkit.pages import Client

VISITORS = (
    "signed out",
    "reads it",
    "reads another",
    "links it",
    "links another",
    "reads it, links another",
    "disabled",
)
# What they are, but for the two operators who are there from the start.
ROLES = {
    "reads it": [("anna", "instructor")],
    "reads another": [("bruno", "instructor")],
    "reads it, links another": [("anna", "instructor"), ("bruno", "operator")],
    "disabled": [("anna", "operator")],
}
OUTSIDERS = ("signed out", "reads another", "links another", "disabled")
# What a customer wrote to Anna.
CONFIDENTIAL = "a word for Anna alone"
_TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


@dataclass
class Visitor:
    """A visitor at a browser, with the address of a page that has a form.

    `token` and `cookies` are those of a visitor who keeps using what they got at sign-in.
    """

    http: Client
    email: str
    form_page: str
    token: str = ""
    cookies: dict[str, str] = field(default_factory=dict)

    def current_token(self) -> str:
        """Return the token that a form has to carry now."""
        return self.token or token_of(self.http.get(self.form_page))

    def ask(self, method: str, path: str, **options: Any) -> TestResponse:
        """Send a request."""
        for name, value in self.cookies.items():
            self.http.set_cookie(name, value)
        return self.http.open(path, method=method, **options)


@dataclass
class World:
    """Anna and Bruno with a conversation and a customer each, and all who may or may not see Anna's."""

    anna: Desk
    bruno: Desk
    conversation_id: UUID
    customer_id: UUID
    others_conversation_id: UUID
    others_customer_id: UUID
    emails: dict[str, str]

    def email(self, name: str) -> str:
        """Return a visitor's address; the first time, create the user."""
        if name not in self.emails:
            for whose, role in ROLES[name]:
                instructor_id = getattr(self, whose).instructor_id
                self.emails[name] = user(self.anna.cli, instructor_id, role, self.emails.get(name)).email
        return self.emails[name]

    def enter(self, app: Flask, name: str) -> Visitor:
        """Open a browser, and sign in where the visitor has an account."""
        http = Client(app, app.response_class)
        page = http.get("/login")
        if name == "signed out":
            return Visitor(http, "unknown@example.org", "/login")
        form = {"email": self.email(name), "password": PASSWORD, "csrf_token": token_of(page)}
        assert http.post("/login", data=form).status_code == 303
        visitor = Visitor(http, self.email(name), "/conversations")
        if name != "disabled":
            return visitor
        names = ("session", "__Host-session")
        cookies = {item: cookie.value for item in names if (cookie := http.get_cookie(item))}
        assert cookies
        return replace(visitor, token=visitor.current_token(), cookies=cookies)

    def link_form(self, **changes: object) -> dict[str, object]:
        """Return what a link form of Anna's conversation would send now, the token aside."""
        return {
            "reason": "said so on the phone",
            "create": "1",
            "seen_version": str(link_state(self.conversation_id).link_version),
            "operation_id": str(uuid4()),
            **changes,
        }


def token_of(page: TestResponse) -> str:
    """Return the token of a page's forms."""
    found = _TOKEN.search(page.text)
    assert found, page.text
    return found[1]


def world(cli: FlaskCliRunner) -> World:
    """Make the two instructors with their operators; the others come when they are asked for."""
    anna, bruno = desk(cli, "Anna Kofler"), desk(cli, "Bruno Pichler")
    return World(
        anna,
        bruno,
        conversation_id=anna.conversation("393331234567", text=CONFIDENTIAL),
        customer_id=anna.customer("393339999999"),
        others_conversation_id=bruno.conversation("393331234567"),
        others_customer_id=bruno.customer("393339999999"),
        emails={"links it": anna.operator.email, "links another": bruno.operator.email},
    )


def shut_out(cli: FlaskCliRunner, world: World) -> None:
    """Disable the one who is going to be, whose session lives on."""
    run(cli, "user", "disable", world.email("disabled"))
