"""The world that browser tests open: three instructors and what customers wrote to them."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from flask.testing import FlaskCliRunner
from sqlalchemy import select

from console.database import command_scope, reading
from console.models import Conversation
from testkit.factories import Desk, Person, channel, instructor, link_state, run, user

KNOWN, NEW, UNLINKED = "+39 333 123 4567", "447700900123", "40404"
USER_ID = "US.13491208655302741918"
HEBREW = "972501234567"
THREAD = "4366412345678"
LONG = "x" * 255
LINK = "https://example.org/slopes?day=1"
OTHER_CUSTOMER = "447700900456"

NUMBER = "390474000000"
"""The accounts' own number."""

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
FILLERS = 55
THREAD_MESSAGES = 120


@dataclass(frozen=True)
class World:
    """Who there is. Anna has conversations of every kind, Luca has two, Emma none."""

    anna: UUID
    luca: UUID
    emma: UUID
    operator: Person
    colleague: Person
    instructor: Person
    conversations: dict[str, UUID]
    customer_ids: dict[str, UUID]

    def desk(self, cli: FlaskCliRunner) -> Desk:
        """Return Anna's desk, through which tests change what another operator would."""
        return Desk(cli, self.anna, "", self.operator)


def seed(cli: FlaskCliRunner) -> World:
    """Let every person join, write and be linked, through the commands and services that do it for real."""
    anna, luca, emma = (instructor(cli, name) for name in ("Anna Kofler", "Luca Moser", "Emma Pichler"))
    operator = user(cli, anna, "operator", "operator@example.org")
    for other in (luca, emma):
        user(cli, other, "operator", operator.email)
    colleague = user(cli, anna, "operator", "colleague@example.org")
    reader = user(cli, anna, "instructor", "anna@example.org")
    to_anna, to_luca = channel(cli, anna), channel(cli, luca)
    run(cli, "ingest", "-", stdin="\n".join([*_to_anna(to_anna), *_to_luca(to_luca)]))
    world = World(anna, luca, emma, operator, colleague, reader, _conversations(anna), {})
    desk = world.desk(cli)
    for sender in (KNOWN, NEW, OTHER_CUSTOMER):
        desk.link(world.conversations[sender])
        customer_id = link_state(world.conversations[sender]).customer_id
        assert customer_id
        world.customer_ids[sender] = customer_id
    for sender in (NEW, OTHER_CUSTOMER):
        desk.unlink(world.conversations[sender])
    return world


def _conversations(instructor_id: UUID) -> dict[str, UUID]:
    wanted = select(Conversation.customer_identifier, Conversation.id).where(
        Conversation.instructor_id == instructor_id
    )
    with reading(command_scope()) as connection:
        return {str(sender): conversation_id for sender, conversation_id in connection.execute(wanted)}


def _to_anna(account: str) -> list[str]:
    """Return what was written to Anna, oldest first: the fillers, then the conversations with a name here."""
    lines = [
        _line(account, f"49151000000{number:02}", START + timedelta(minutes=number), text=f"Hello {number}")
        for number in range(FILLERS)
    ]
    for number in range(THREAD_MESSAGES):
        lines.append(_line(account, THREAD, START + timedelta(days=1, hours=number), text=f"Line {number}"))
    lines += _chat(account)
    newest = START + timedelta(days=10)
    said: list[tuple[str, dict[str, Any]]] = [
        (THREAD, {"kind": "image", "image": {"caption": "the slope I mean"}}),
        (THREAD, {"kind": "location", "location": {}}),
        (LONG, {"text": "y" * 3000}),
        (HEBREW, {"text": "שלום, אפשר להזיז את השיעור?"}),
        (OTHER_CUSTOMER, {"text": "Do you rent boards?"}),
        (USER_ID, {"kind": "voice", "voice": {}}),
        (UNLINKED, {"text": "Your code is 553 221"}),
        (NEW, {"text": "See you at the chairlift at 9:30"}),
        (KNOWN, {"text": "Ciao! Sabato mattina hai ancora posto?"}),
    ]
    for place, (sender, content) in enumerate(said):
        lines.append(_line(account, sender, newest + timedelta(minutes=place), **content))
    return lines


def _chat(account: str) -> list[str]:
    """Return an exchange of both sides: two texts of one minute, a link, and one that shows nothing."""
    noon = START + timedelta(days=9, hours=3)
    said: list[tuple[int, dict[str, Any]]] = [
        (0, {"text": "Hello"}),
        (20, {"text": "Are you there?"}),
        (70, {"text": f"I am, see {LINK}.", "sent": True}),
        (300, {"text": "\u200b\u2060 \ufe0f"}),
    ]
    return [
        _line(account, OTHER_CUSTOMER, noon + timedelta(seconds=seconds), **content)
        for seconds, content in said
    ]


def _to_luca(account: str) -> list[str]:
    return [_line(account, sender, START, text="Ciao Luca") for sender in ("393339990001", "393339990002")]


def _line(
    account: str, customer: str, at: datetime, *, kind: str = "text", sent: bool = False, **content: Any
) -> str:
    body = {"text": {"body": content.pop("text", "")}} if kind == "text" else content
    message = {
        **({"from": NUMBER, "to": customer} if sent else {"from": customer}),
        "id": f"wamid.{uuid4().hex}",
        "timestamp": str(int(at.timestamp())),
        "type": kind,
        **body,
    }
    metadata = {"phone_number_id": account, "display_phone_number": NUMBER}
    value = {"metadata": metadata, "messages": [message]}
    return json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]})
