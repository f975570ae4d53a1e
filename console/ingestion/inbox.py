"""Ingestion's statements on accounts, conversations and messages.

Every statement names the columns that it uses, all of 0001_inbox, so it is the same at every later migration.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    String,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute

from console.database import ingesting, json_rows, new_id, now
from console.ingestion.whatsapp import IncomingMessage
from console.models import ChannelAccount, Conversation, Message

CHANNEL = "whatsapp"
"""The channel of every account."""


class Existing(NamedTuple):
    """What is stored for a message: its account's instructor, its open conversation, the message itself."""

    instructor_id: UUID | None
    conversation_id: UUID | None
    message_id: UUID | None


# A message that isn't stored yet, with what is stored for it: at least the instructor.
Arrival = tuple[IncomingMessage, Existing]


def look_up(connection: Connection, messages: Sequence[IncomingMessage]) -> list[Existing]:
    """Return what there is for each message, in their order: one statement, however many they are."""
    if not messages:
        return []
    given = json.dumps(
        [
            (place, item.phone_number_id, item.identifier, item.external_id)
            for place, item in enumerate(messages)
        ]
    )
    rows = connection.execute(_lookup(connection.dialect.name), {"rows": given})
    found = {int(place): Existing(*ids) for place, *ids in rows}
    return [found[place] for place in range(len(messages))]


def instructors(connection: Connection, accounts: Sequence[str]) -> Sequence[UUID]:
    """Return the instructors of these accounts, each once."""
    known = select(ChannelAccount.instructor_id).distinct()
    named = known.where(ChannelAccount.channel == CHANNEL, ChannelAccount.account_id.in_(accounts))
    return connection.scalars(named).all()


def add(connection: Connection, arrivals: Sequence[Arrival]) -> None:
    """Insert messages, and the conversations they lack; bring the other conversations up to date.

    Raises IntegrityError if another process has inserted one of them since they were looked up.
    """
    threads: defaultdict[tuple[UUID | None, str], list[Arrival]] = defaultdict(list)
    for message, found in arrivals:
        threads[found.instructor_id, message.identifier].append((message, found))
    moment = now()
    opened, messages, continued = [], [], []
    for thread, members in threads.items():
        newest = max(message.sent_at for message, _ in members)
        conversation_id = members[0][1].conversation_id
        if conversation_id:
            row = {"continued": conversation_id, "instructor": thread[0], "moment": moment, "newest": newest}
            continued.append(row)
        else:
            conversation_id = new_id()
            opened.append(_conversation_row(conversation_id, *thread, moment, newest))
        messages += [_message_row(conversation_id, *arrival) for arrival in members]
    _execute(connection, _INSERT_CONVERSATION, opened, "instructor_id", "customer_identifier")
    _execute(connection, _INSERT_MESSAGE, messages, "external_id")
    _execute(connection, _CONTINUE_CONVERSATION, continued, "continued")


def last_messages() -> dict[str, datetime]:
    """Return when each channel's newest message was sent; one that is dated after this moment doesn't count.

    A channel that never brought a message is left out. One row of an index is read for each account. Raises
    SQLAlchemyError when the database fails.
    """
    accounts = select(ChannelAccount.channel, ChannelAccount.instructor_id).distinct().subquery()
    newest = (
        select(Conversation.last_message_at)
        .where(
            Conversation.instructor_id == accounts.c.instructor_id,
            Conversation.channel == accounts.c.channel,
            Conversation.last_message_at <= now(),
        )
        .order_by(Conversation.last_message_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    by_channel = select(accounts.c.channel, func.max(newest)).group_by(accounts.c.channel)
    with ingesting() as connection:
        return {channel: moment for channel, moment in connection.execute(by_channel) if moment}


def _execute(connection: Connection, statement: Executable, rows: list[dict[str, Any]], *order: str) -> None:
    if rows:
        # All processes use one order, so that no two of them wait for each other.
        rows = sorted(rows, key=itemgetter(*order))
        # A single row is cheaper than a list of one.
        connection.execute(statement, rows if len(rows) > 1 else rows[0])


def _conversation_row(
    conversation_id: UUID, instructor_id: UUID | None, identifier: str, moment: datetime, newest: datetime
) -> dict[str, Any]:
    return {
        "id": conversation_id,
        "instructor_id": instructor_id,
        "channel": CHANNEL,
        "customer_identifier": identifier,
        "status": "open",
        "created_at": moment,
        "updated_at": moment,
        "last_message_at": newest,
    }


def _message_row(conversation_id: UUID, message: IncomingMessage, found: Existing) -> dict[str, Any]:
    return {
        "id": new_id(),
        "conversation_id": conversation_id,
        "instructor_id": found.instructor_id,
        "channel": CHANNEL,
        "direction": message.direction,
        "external_id": message.external_id,
        "kind": message.kind,
        "body": message.body,
        "sent_at": message.sent_at,
    }


@cache
def _lookup(dialect: str) -> Executable:
    # With sub-selects and the status written out, the planner can only use the three unique indexes,
    # whatever sizes of the tables it assumes.
    given, (place, account, identifier, external_id) = json_rows(dialect, *[String()] * 4)

    def found(column: InstrumentedAttribute[UUID], *where: ColumnElement[bool]) -> ColumnElement[UUID]:
        return select(column).where(*where).correlate(given).scalar_subquery()

    instructor_id = found(
        ChannelAccount.instructor_id, ChannelAccount.channel == CHANNEL, ChannelAccount.account_id == account
    )
    conversation_id = found(
        Conversation.id,
        Conversation.instructor_id == instructor_id,
        Conversation.channel == CHANNEL,
        Conversation.customer_identifier == identifier,
        Conversation.status == literal_column("'open'"),
    )
    message_id = found(
        Message.id,
        Message.channel == CHANNEL,
        Message.external_id == external_id,
        Message.instructor_id == instructor_id,
    )
    return select(place, instructor_id, conversation_id, message_id).select_from(given)


_NEWEST = bindparam("newest", type_=Conversation.last_message_at.type)

_INSERT_CONVERSATION = insert(Conversation)
_INSERT_MESSAGE = insert(Message)
_CONTINUE_CONVERSATION = (
    update(Conversation)
    .where(Conversation.id == bindparam("continued"), Conversation.instructor_id == bindparam("instructor"))
    .values(
        updated_at=bindparam("moment"),
        last_message_at=case(
            (Conversation.last_message_at < _NEWEST, _NEWEST), else_=Conversation.last_message_at
        ),
    )
)
