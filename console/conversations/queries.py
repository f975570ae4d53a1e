"""Conversations and messages as pages show them, selected straight into small immutable types.

A page has fifty rows, so rows are named tuples: a frozen dataclass takes three times as long to make.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    ScalarSelect,
    Select,
    String,
    and_,
    bindparam,
    cast,
    func,
    null,
    or_,
    select,
    tuple_,
)
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import InstrumentedAttribute, aliased

from console.conversations.cursors import Cursor
from console.conversations.resolution import Subject
from console.database import Guid, UtcDateTime, among, json_rows, not_searched, numbered
from console.identifiers import MAX_TERM, search_term
from console.models import Conversation, Message

log = structlog.get_logger()

PAGE_SIZE = 50
"""Rows of one page of a list."""
_PREVIEW_CHARACTERS = 160

_LITERALLY = str.maketrans({character: f"/{character}" for character in "/%_"})

Shown = TypeVar("Shown")


@dataclass(frozen=True, slots=True)
class Page(Generic[Shown]):
    """One page of a list, and the cursor of the next if there is one."""

    rows: list[Shown]
    next: Cursor | None


class ConversationRow(NamedTuple):
    """A conversation in a list, with its last message cut short; ids as text."""

    id: str
    channel: str
    customer_identifier: str | None
    customer_id: str | None
    last_message_at: datetime
    kind: str | None
    body: str | None
    direction: str | None
    instructor_id: str
    link_known: bool

    @property
    def subject(self) -> Subject:
        """Return what resolution looks at."""
        identifier = self.customer_identifier
        return Subject(
            self.id, self.instructor_id, self.channel, identifier, self.customer_id, self.link_known
        )


class ConversationHead(NamedTuple):
    """A conversation as its own page names it."""

    id: UUID
    instructor_id: UUID
    channel: str
    customer_identifier: str | None
    customer_id: UUID | None
    status: str
    link_known: bool

    @property
    def subject(self) -> Subject:
        """Return what resolution looks at."""
        linked = str(self.customer_id) if self.customer_id else None
        asked = (str(self.id), str(self.instructor_id), self.channel, self.customer_identifier, linked)
        return Subject(*asked, self.link_known)


class MessageRow(NamedTuple):
    """One message of a thread."""

    id: UUID
    direction: str
    kind: str
    body: str | None
    sent_at: datetime


def inbox(
    connection: Connection,
    *,
    instructor_id: UUID,
    q: str = "",
    before: Cursor | None = None,
    with_link: bool,
    linked: bool | None = None,
    size: int = PAGE_SIZE,
) -> Page[ConversationRow]:
    """Return a page of one instructor's conversations, newest message first, in one statement.

    `q` keeps those whose identifier contains it; `linked` those with, or without, a customer.
    Without `with_link` the columns of linking are not touched, and need not exist.
    """
    # Identifiers are kept as they came, so they may contain the typed text with its separators. PostgreSQL
    # takes no NUL in a text.
    as_typed = q.strip().replace("\0", "")[:MAX_TERM]
    terms = dict.fromkeys((search_term(q), as_typed)) if is_search(q) else {}
    sought = {f"term_{place}": containing(term) for place, term in enumerate(terms)}
    build = partial(_inbox, linked=linked, terms=tuple(sought), older=before is not None, size=size)
    asked = {"instructor_id": instructor_id, **sought, **_below(before)}
    rows, link_known = _read(connection, build, asked, with_link=with_link)
    shown = [ConversationRow._make((*row, link_known)) for row in rows]
    return _page(shown, lambda row: Cursor(row.last_message_at, UUID(row.id)), size)


def is_search(q: str) -> bool:
    """Return whether there is anything to search for in what was typed; separators alone are no search."""
    return bool(search_term(q))


def _read(
    connection: Connection, build: Callable[..., Executable], asked: dict[str, Any], *, with_link: bool
) -> tuple[Sequence[Any], bool]:
    """Run the statement that `build` gives; return its rows, and whether they have the links.

    Where the link can't be read, as before its migration, that is logged and the rest is read without it:
    the badge then says what it says after a failed lookup (CM-2.1).
    """
    try:
        return connection.execute(build(with_link=with_link), asked).all(), with_link
    except (ProgrammingError, OperationalError) as error:
        # PostgreSQL has a SQLSTATE for a missing column, SQLite only a text.
        missing = getattr(error.orig, "sqlstate", None) == "42703" or "no such column" in str(error.orig)
        if not with_link or not missing:
            raise
        connection.rollback()
        log.error("link_not_read", kind=type(error.orig).__name__)
        return connection.execute(build(with_link=False), asked).all(), False


def containing(text: str) -> str:
    """Return the LIKE pattern, escaped with a slash, that matches every text with this one in it."""
    return f"%{text.translate(_LITERALLY)}%"


@cache
def _inbox(
    *, with_link: bool, linked: bool | None, terms: tuple[str, ...], older: bool, size: int
) -> Executable:
    statement = select(
        Conversation.id,
        Conversation.instructor_id,
        Conversation.channel,
        Conversation.customer_identifier,
        (Conversation.customer_id if with_link else null()).label("customer_id"),
        Conversation.last_message_at,
        newest_message(bindparam("instructor_id")).label("newest"),
    ).where(Conversation.instructor_id == bindparam("instructor_id"))
    if linked is not None:
        statement = statement.where(
            Conversation.customer_id.is_not(None) if linked else Conversation.customer_id.is_(None)
        )
    if terms:
        statement = statement.where(
            or_(*(Conversation.customer_identifier.ilike(bindparam(term), escape="/") for term in terms))
        )
    found = _keyset(
        statement, Conversation.last_message_at, Conversation.id, older=older, size=size
    ).subquery()

    columns = {
        **{name: cast(found.c[name], String) for name in ("id", "instructor_id", "customer_id")},
        **{name: found.c[name] for name in ("channel", "customer_identifier", "last_message_at")},
        "kind": Message.kind,
        "body": func.substr(Message.body, 1, _PREVIEW_CHARACTERS),
        "direction": Message.direction,
    }
    return (
        select(*(columns[name] for name in ConversationRow._fields if name in columns))
        .select_from(found)
        .outerjoin(
            Message, and_(Message.id == found.c.newest, Message.instructor_id == bindparam("instructor_id"))
        )
        .order_by(found.c.last_message_at.desc(), found.c.id.desc())
    )


def newest_message(instructor_id: ColumnElement[UUID]) -> ScalarSelect[UUID]:
    """Return the id of a conversation's newest message, as a column of a limited select from conversations.

    All of these are of one instructor. Join the message to that select and not inside it: behind row-level
    security PostgreSQL searches no index for a value that the join still has to compute.
    """
    message = aliased(Message)
    return (
        select(message.id)
        .where(message.conversation_id == Conversation.id, message.instructor_id == instructor_id)
        .order_by(message.sent_at.desc(), message.id.desc())
        .limit(1)
        .correlate(Conversation)
        .scalar_subquery()
    )


def first_message_at() -> ScalarSelect[datetime]:
    """Return when a conversation's first message was sent, as a column of a select from conversations.

    A statement of the channel's own (kind `system`) does not count. NULL where there is no message.
    """
    message = aliased(Message)
    return (
        select(func.min(message.sent_at))
        .where(
            message.conversation_id == Conversation.id,
            message.instructor_id == Conversation.instructor_id,
            message.kind != "system",
        )
        .correlate(Conversation)
        .scalar_subquery()
    )


def conversation(
    connection: Connection, *, conversation_id: UUID, instructor_ids: Sequence[UUID], with_link: bool
) -> ConversationHead | None:
    """Return one conversation of these instructors, None for every other."""
    asked = {"conversation_id": conversation_id, **numbered("instructor", instructor_ids)}
    build = partial(_conversation, len(instructor_ids))
    rows, link_known = _read(connection, build, asked, with_link=with_link)
    return ConversationHead._make((*rows[0], link_known)) if rows else None


@cache
def _conversation(instructors: int, *, with_link: bool) -> Executable:
    return select(*_columns(ConversationHead, with_link=with_link)).where(
        Conversation.id == bindparam("conversation_id"),
        among(Conversation.instructor_id.expression, "instructor", instructors),
    )


def _columns(row: type[ConversationHead | Subject], *, with_link: bool) -> Iterator[ColumnElement[Any]]:
    """Give the columns that a row's fields name, in their order; whether links are known comes last."""
    for name in row._fields:
        if name == "customer_id" and not with_link:
            yield null()
        elif name != "link_known":
            yield getattr(Conversation, name)


def messages(
    connection: Connection, *, conversation_id: UUID, instructor_id: UUID, before: Cursor | None = None
) -> Page[MessageRow]:
    """Return the newest messages of an instructor's conversation below the cursor, newest first."""
    asked = {"conversation_id": conversation_id, "instructor_id": instructor_id, **_below(before)}
    rows = connection.execute(_messages(older=before is not None), asked).all()
    return _page([MessageRow._make(row) for row in rows], lambda row: Cursor(row.sent_at, row.id))


@cache
def _messages(*, older: bool) -> Executable:
    statement = select(*(getattr(Message, name) for name in MessageRow._fields)).where(
        Message.conversation_id == bindparam("conversation_id"),
        Message.instructor_id == bindparam("instructor_id"),
    )
    return _keyset(statement, Message.sent_at, Message.id, older=older)


def subjects(
    connection: Connection, *, conversation_ids: Sequence[str], instructor_ids: Sequence[UUID] | None = None
) -> list[Subject]:
    """Return what resolution looks at, in the order asked, of the conversations of these instructors.

    None stands for every instructor: for commands, not for pages.
    """
    asked: dict[str, Any] = {"rows": json.dumps([[conversation_id] for conversation_id in conversation_ids])}
    count = None
    if instructor_ids is not None:
        asked |= numbered("instructor", instructor_ids)
        count = len(instructor_ids)
    build = partial(_subjects, connection.dialect.name, count)
    read, link_known = _read(connection, build, asked, with_link=True)
    found = {row[0]: Subject._make((*row, link_known)) for row in read}
    return [
        found[conversation_id]
        for conversation_id in dict.fromkeys(conversation_ids)
        if conversation_id in found
    ]


@cache
def _subjects(dialect: str, instructors: int | None, *, with_link: bool) -> Executable:
    given, (conversation_id,) = json_rows(dialect, Guid())
    columns = (cast(column, String) for column in _columns(Subject, with_link=with_link))
    found = select(*columns).select_from(given).join(Conversation, Conversation.id == conversation_id)
    if instructors is None:
        return found
    return found.where(among(not_searched(dialect, Conversation.instructor_id), "instructor", instructors))


def _keyset(
    statement: Select[*tuple[Any, ...]],
    moment: InstrumentedAttribute[datetime],
    row_id: InstrumentedAttribute[UUID],
    *,
    older: bool,
    size: int = PAGE_SIZE,
) -> Select[*tuple[Any, ...]]:
    """Order by moment and id, newest first, and keep one page (below the cursor) and one row more."""
    if older:
        last = tuple_(bindparam("last_moment", type_=UtcDateTime), bindparam("last_id", type_=Guid))
        statement = statement.where(tuple_(moment, row_id) < last)
    return statement.order_by(moment.desc(), row_id.desc()).limit(size + 1)


def _below(cursor: Cursor | None) -> dict[str, Any]:
    return {"last_moment": cursor.moment, "last_id": cursor.id} if cursor else {}


def _page(rows: list[Shown], cursor_of: Callable[[Shown], Cursor], size: int = PAGE_SIZE) -> Page[Shown]:
    shown = rows[:size]
    return Page(shown, cursor_of(shown[-1]) if len(rows) > size else None)
