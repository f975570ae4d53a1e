"""Another tenant's id and an unknown id get the same answer to the byte, by the same statements."""

import re
from typing import Any
from uuid import UUID, uuid4

from flask import Flask

from testkit.statements import statements
from tests.security.visitors import Visitor, World

# Every way to name something by its id, as Anna's operator. {id} is the id, {own} Anna's own conversation;
# of a change, what is unlike a form that would be carried out.
CASES: list[tuple[str, str, dict[str, str] | None]] = [
    ("conversation", "GET /conversations/{id}", None),
    ("conversation", "HEAD /conversations/{id}", None),
    ("conversation", "GET /conversations/{id}/messages", None),
    ("conversation", "GET /badges?id={id}", None),
    ("conversation", "GET /badges?id={own}&id={id}", None),
    ("conversation", "GET /links/{id}", None),
    ("conversation", "GET /links/{id}/customers?q=393", None),
    ("conversation", "POST /links/{id}", {}),
    ("conversation", "POST /links/{id}", {"seen_version": ""}),
    ("conversation", "POST /links/{id}", {"reason": ""}),
    ("conversation", "POST /links/{id}/unlink", {"confirm": "1"}),
    ("instructor", "GET /conversations?instructor={id}", None),
    ("instructor", "GET /conversations/rows?instructor={id}", None),
    ("instructor", "GET /links?instructor={id}", None),
    ("customer", "GET /links/{own}/customers?q=1&customer_id={id}", None),
    ("customer", "POST /links/{own}", {"create": "", "customer_id": "{id}"}),
]

# What no two answers share, whatever was asked.
_OWN = re.compile(r'(name="(?:csrf_token|operation_id)"\s+value=")[^"]*')
_OWN_HEADERS = {"Date", "X-Request-Id"}


def answer(visitor: Visitor, asked: str, form: dict[str, Any] | None) -> tuple[Any, ...]:
    """Return all that an answer says, what is its own aside, and the statements behind it."""
    method, path = asked.split()
    sent = {} if form is None else {"data": {**form, "csrf_token": visitor.current_token()}}
    with statements() as seen:
        came = visitor.ask(method, path, **sent)
    headers = [(name, value) for name, value in came.headers if name not in _OWN_HEADERS]
    return came.status_code, headers, _OWN.sub(r"\1", came.text), seen


def test_another_instructors_id_is_answered_like_an_unknown_one(app: Flask, people: World):
    operator = people.enter(app, "links it")
    of_others = {
        "conversation": people.others_conversation_id,
        "instructor": people.bruno.instructor_id,
        "customer": people.others_customer_id,
    }

    def ask_for(id_: UUID, asked: str, changes: dict[str, str] | None) -> tuple[Any, ...]:
        ids = {"id": id_, "own": people.conversation_id}
        form = changes and {name: value.format(**ids) for name, value in changes.items()}
        return answer(operator, asked.format(**ids), None if form is None else people.link_form(**form))

    for kind, asked, changes in CASES:
        ask_for(of_others[kind], asked, changes)  # the first time may fill a cache
        theirs, nothings = (
            ask_for(conversation_id, asked, changes) for conversation_id in (of_others[kind], uuid4())
        )
        assert theirs == nothings, asked
        assert theirs[0] in (200, 404, 422), asked
        assert str(of_others[kind]) not in theirs[2], asked


def test_every_address_with_an_id_is_among_them(app: Flask):
    rules = {rule.rule for rule in app.url_map.iter_rules() if "<id:" in rule.rule}
    paths = {asked.split()[1].split("?")[0] for _, asked, _ in CASES}
    assert {rule.replace("<id:conversation_id>", "{id}") for rule in rules} <= paths


def test_not_found_pages_are_the_same_whatever_was_not_found(app: Flask, people: World):
    operator = people.enter(app, "links it")
    paths = (f"conversations/{people.others_conversation_id}", "nothing", "links/garbage", "static/no.css")
    answers = [answer(operator, f"GET /{path}", None) for path in paths]
    assert {status for status, *_ in answers} == {404}
    assert len({body for _, _, body, _ in answers}) == 1
