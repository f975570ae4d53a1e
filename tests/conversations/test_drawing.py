"""Rows and badges as lists draw them: the same once, another as soon as anything in them is another."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from flask import Flask

from console.conversations.badges import Badge, State
from console.conversations.drawing import draw_badges, draw_rows
from console.conversations.queries import ConversationRow
from console.conversations.resolution import Outcome, Resolution
from tests.pages import Browser

LONG_AGO = datetime(2020, 11, 24, 9, 14, tzinfo=UTC)
ROW = ConversationRow(uuid4(), "whatsapp", "393331234567", None, LONG_AGO, "text", "Hi", "inbound", uuid4())


def badge(state: State, label: str, conversation_id: UUID = ROW.id) -> Badge:
    return Badge(conversation_id, state, label, "Copy", Resolution(conversation_id, Outcome.NONE))


def row(given: ConversationRow = ROW, *, with_badge: bool = True, badge: Badge | None = None) -> str:
    badges = {} if badge is None else {given.id: badge}
    return draw_rows([given], "/conversations", "?q=39", with_badge, badges)


@pytest.fixture(autouse=True)
def _templates(app: Flask) -> None:
    """Draw in the app's context, which the fixture holds open."""


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        (ROW._replace(id=UUID(int=1)), "row-00000000-0000-0000-0000-000000000001"),
        (ROW._replace(customer_identifier="4915112345678"), "<span>2345678</span>"),
        (ROW._replace(customer_identifier=None), "No identifier"),
        (ROW._replace(body="See you at nine"), "See you at nine"),
        (ROW._replace(kind="image"), "Photo"),
        (ROW._replace(kind=None), "No messages"),
        (ROW._replace(direction="outbound"), "You:"),
        (ROW._replace(last_message_at=datetime(2019, 1, 2, 3, 4, tzinfo=UTC)), "2 Jan 2019"),
    ],
)
def test_a_row_that_changed_is_drawn_anew(changed: ConversationRow, shown: str):
    before = row()
    assert shown not in before
    assert shown in row(changed)
    assert row() == before


def test_a_row_has_its_badge_the_place_for_it_or_neither():
    new = badge(State.NEW, "New customer")
    assert 'data-state="new"' in row(badge=new)
    assert 'data-state="known"' in row(badge=badge(State.KNOWN, "Known customer"))
    assert f'<span class="badge" id="badge-{ROW.id}"></span>' in row()
    assert "badge" not in row(with_badge=False)


def test_rows_and_badges_keep_their_order_and_belong_to_their_conversation():
    others = [ROW._replace(id=uuid4()) for _ in range(3)]
    drawn = draw_rows(others, "/conversations", "", True, {})
    places = [drawn.index(f'id="row-{one.id}"') for one in others]
    assert places == sorted(places)
    badges = [badge(state, state.title(), one.id) for state, one in zip(State, others, strict=True)]
    shown = Browser.parse(draw_badges(badges)).select(".badge")
    assert [(one["id"], one["data-state"]) for one in shown] == [
        (f"badge-{one.conversation_id}", one.state) for one in badges
    ]


def test_what_was_written_is_escaped_each_time():
    hostile = ROW._replace(body="<script>alert(1)</script>", customer_identifier='"><b>')
    for _ in range(2):
        drawn = row(hostile)
        assert "<script>" not in drawn
        assert '"><b>' not in drawn
        assert "&lt;script&gt;" in drawn
