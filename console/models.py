"""The tables. What each column means to callers is in the interface; who may write it, in docs/design/.

Every key of a table that grows has `instructor_id` in it, so that the table can be partitioned by it. The
exception is `link_operations` (docs/decisions/0026).
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CHAR,
    BigInteger,
    CheckConstraint,
    FetchedValue,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from console.database import Base, Json, new_id, now

_INBOX_ORDER = ["instructor_id", "last_message_at", "id"]
_POSITION = BigInteger().with_variant(Integer, "sqlite")


def _partial_index(name: str, columns: list[str], where: str, *, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


class Instructor(Base):
    """An instructor gives lessons; every conversation belongs to exactly one."""

    __tablename__ = "instructors"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class User(Base):
    """A person who signs in. The e-mail address is stored in lower case.

    A session belongs to an epoch, and ends when the user's is a later one (docs/decisions/0020).
    """

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    password_hash: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    session_epoch: Mapped[int] = mapped_column(server_default="0")


class Membership(Base):
    """What a user may do for one instructor."""

    __tablename__ = "memberships"
    __table_args__ = (CheckConstraint("role IN ('instructor', 'operator')", name="role"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    instructor_id: Mapped[UUID] = mapped_column(ForeignKey("instructors.id"), primary_key=True)
    role: Mapped[str]


class ChannelAccount(Base):
    """Which instructor an account of a channel belongs to (WhatsApp: a phone_number_id)."""

    __tablename__ = "channel_accounts"

    channel: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(primary_key=True)
    instructor_id: Mapped[UUID] = mapped_column(ForeignKey("instructors.id"))


class Conversation(Base):
    """A thread with one identifier on one channel; at most one is open for each."""

    __tablename__ = "conversations"
    __table_args__ = (
        CheckConstraint("status IN ('open', 'closed')", name="status"),
        _partial_index(
            "uq_conversations_open",
            ["instructor_id", "channel", "customer_identifier"],
            "status = 'open'",
            unique=True,
        ),
        Index("ix_conversations_inbox", *_INBOX_ORDER),
        # A link can't leave its instructor, even by raw SQL (CM-2.3).
        ForeignKeyConstraint(["instructor_id", "customer_id"], ["customers.instructor_id", "customers.id"]),
        _partial_index(
            "ix_conversations_customer", ["instructor_id", "customer_id"], "customer_id IS NOT NULL"
        ),
        _partial_index("ix_conversations_unlinked", _INBOX_ORDER, "customer_id IS NULL"),
        _partial_index("ix_conversations_linked", _INBOX_ORDER, "customer_id IS NOT NULL"),
        Index(
            "uq_conversations_link_operation_id_instructor_id",
            "link_operation_id",
            "instructor_id",
            unique=True,
        ),
        _partial_index("ix_conversations_audit_outbox", ["id"], "audit_outbox IS NOT NULL"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    instructor_id: Mapped[UUID] = mapped_column(ForeignKey("instructors.id"), primary_key=True)
    channel: Mapped[str]
    customer_identifier: Mapped[str | None]
    status: Mapped[str] = mapped_column(default="open")
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    last_message_at: Mapped[datetime] = mapped_column(default=now)
    customer_id: Mapped[UUID | None]
    link_version: Mapped[int] = mapped_column(server_default="0")
    # Only the release before link_operations writes it; it goes with the next one (docs/decisions/0012).
    link_operation_id: Mapped[UUID | None]
    audit_outbox: Mapped[list[dict[str, Any]] | None] = mapped_column(Json)


class Message(Base):
    """One message, stored once for each instructor, channel and external id."""

    __tablename__ = "messages"
    __table_args__ = (
        CheckConstraint("direction IN ('inbound', 'outbound')", name="direction"),
        UniqueConstraint("channel", "external_id", "instructor_id"),
        ForeignKeyConstraint(
            ["conversation_id", "instructor_id"], ["conversations.id", "conversations.instructor_id"]
        ),
        Index("ix_messages_newest", "conversation_id", "sent_at", "id", "instructor_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    conversation_id: Mapped[UUID]
    instructor_id: Mapped[UUID] = mapped_column(ForeignKey("instructors.id"), primary_key=True)
    channel: Mapped[str] = mapped_column(server_default="whatsapp")
    direction: Mapped[str]
    external_id: Mapped[str]
    kind: Mapped[str]
    body: Mapped[str | None]
    sent_at: Mapped[datetime]


class RejectedPayload(Base):
    """A payload that could not be stored in full, kept whole until it can, or until it is dismissed."""

    __tablename__ = "rejected_payloads"
    __table_args__ = (UniqueConstraint("digest", "instructor_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    received_at: Mapped[datetime] = mapped_column(default=now)
    reason: Mapped[str]
    payload: Mapped[str]
    digest: Mapped[str] = mapped_column(CHAR(64))
    dismissed_at: Mapped[datetime | None]
    dismissed_by: Mapped[str | None]
    dismissed_reason: Mapped[str | None]
    # Nil where the payload's instructor is unknown, or where it has several.
    instructor_id: Mapped[UUID] = mapped_column(primary_key=True, server_default=str(UUID(int=0)))


class Customer(Base):
    """A person an instructor knows, by one identifier on one channel (CM-1). The key never changes."""

    __tablename__ = "customers"
    __table_args__ = (
        UniqueConstraint("instructor_id", "channel", "normalized_identifier"),
        # What the composite foreign key of a link points at.
        Index("uq_customers_instructor_id_id", "instructor_id", "id", unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    instructor_id: Mapped[UUID] = mapped_column(ForeignKey("instructors.id"), primary_key=True)
    channel: Mapped[str]
    normalized_identifier: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class LinkOperation(Base):
    """An operation id and the one content it belongs to (CM-2.3): the SHA-256 of what was asked for.

    There is no digest where the release before this table wrote the link, or the conversation was erased.
    """

    __tablename__ = "link_operations"

    operation_id: Mapped[UUID] = mapped_column(primary_key=True)
    instructor_id: Mapped[UUID]
    conversation_id: Mapped[UUID]
    digest: Mapped[str | None] = mapped_column(CHAR(64))


class AuditEvent(Base):
    """One event of the audit trail (CM-2.5), as its JSON line. The database refuses changes to it."""

    __tablename__ = "audit_events"
    __table_args__ = (
        UniqueConstraint("event_id", "instructor_id"),
        UniqueConstraint("conversation_id", "sequence", "instructor_id"),
    )

    # On SQLite this column alone is the key: it is the row's number.
    position: Mapped[int] = mapped_column(_POSITION, primary_key=True, server_default=FetchedValue())
    event_id: Mapped[UUID]
    conversation_id: Mapped[UUID]
    instructor_id: Mapped[UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int]
    event: Mapped[str]


class AuditCounter(Base):
    """The position of the trail's last event, in one row: a trigger raises it with each event."""

    __tablename__ = "audit_counter"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(_POSITION)
