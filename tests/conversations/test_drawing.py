"""Rows and badges as lists draw them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask, render_template

from console.conversations.badges import Badge, BadgeState
from console.conversations.queries import ConversationRow, Page
from console.conversations.resolution import Outcome, Resolution
from console.permissions import ActorMembership, Role
from testkit.pages import Browser

LONG_AGO = datetime(2020, 11, 24, 9, 14, tzinfo=UTC)
ROW = ConversationRow(
    str(uuid4()), "whatsapp", "393331234567", None, LONG_AGO, "text", "Hi", "inbound", str(uuid4()), True
)


@pytest.fixture(autouse=True)
def _templates(app: Flask) -> Any:
    """Draw in a request of the app's."""
    with app.test_request_context():
        yield


def badge(state: BadgeState, label: str, conversation_id: str = ROW.id) -> Badge:
    return Badge(conversation_id, state, label, "Copy", Resolution(conversation_id, Outcome.NONE))


def rows(
    *given: ConversationRow,
    with_badge: bool = True,
    badges: list[Badge] | None = None,
) -> str:
    return render_template(
        "conversations/_rows.html",
        instructor=ActorMembership(UUID(ROW.instructor_id), "Anna Kofler", Role.INSTRUCTOR),
        page=Page(list(given or [ROW]), None),
        with_badge=with_badge,
        badges={badge.conversation_id: badge for badge in badges or []},
        q="",
        before=None,
    )


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        (ROW._replace(id=str(UUID(int=1))), "row-00000000-0000-0000-0000-000000000001"),
        (ROW._replace(customer_identifier="4915112345678"), "<span>2345678</span>"),
        (ROW._replace(customer_identifier=None), "No identifier"),
        (ROW._replace(body="See you at nine"), "See you at nine"),
        (ROW._replace(kind="image"), "Photo"),
        (ROW._replace(kind=None), "No messages"),
        (ROW._replace(direction="outbound"), "<bdi>Anna Kofler:</bdi> Hi"),
        (ROW._replace(kind="system", body="The number changed."), "<bdi>WhatsApp:</bdi> The number changed."),
        (ROW._replace(kind="system", body=None), "<bdi>WhatsApp:</bdi> System message"),
        (ROW._replace(last_message_at=datetime(2019, 1, 2, 3, 4, tzinfo=UTC)), "2 Jan 2019"),
    ],
)
def test_a_row_shows_what_is_in_it(changed: ConversationRow, shown: str):
    assert shown not in rows()
    assert shown in rows(changed)


def test_a_row_has_its_badge_the_place_for_it_or_neither():
    assert 'data-state="new"' in rows(badges=[badge(BadgeState.NEW, "New customer")])
    assert 'data-state="known"' in rows(badges=[badge(BadgeState.KNOWN, "Known customer")])
    assert f'<span class="badge" id="badge-{ROW.id}"></span>' in rows()
    assert "badge" not in rows(with_badge=False)


def test_rows_and_badges_keep_their_order_and_belong_to_their_conversation():
    others = [ROW._replace(id=str(uuid4())) for _ in range(3)]
    drawn = rows(*others)
    places = [drawn.index(f'id="row-{row.id}"') for row in others]
    assert places == sorted(places)
    badges = [badge(state, state.title(), row.id) for state, row in zip(BadgeState, others, strict=True)]
    shown = Browser.parse(render_template("conversations/_badges.html", badges=badges)).select(".badge")
    assert [(item["id"], item["data-state"]) for item in shown] == [
        (f"badge-{badge.conversation_id}", badge.state) for badge in badges
    ]


def test_text_is_escaped():
    drawn = rows(ROW._replace(body="<script>alert(1)</script>", customer_identifier='"><b>'))
    assert "<script>" not in drawn
    assert '"><b>' not in drawn
    assert "&lt;script&gt;" in drawn
