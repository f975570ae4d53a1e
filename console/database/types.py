"""Column types for ids, moments and JSON: the same values in Python on both engines."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import CHAR, JSON, DateTime, Dialect, MetaData, String, Uuid
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator, TypeEngine

_CANONICAL_ID = re.compile("[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class Guid(TypeDecorator[UUID]):
    """A UUID: native on PostgreSQL, the hyphenated text that people and commands see on SQLite."""

    impl = Uuid
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(CHAR(36) if dialect.name == "sqlite" else Uuid())

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        return str(value) if value is not None and dialect.name == "sqlite" else value

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return (lambda text: None if text is None else UUID(text)) if dialect.name == "sqlite" else None


def read_id(text: str) -> UUID:
    """Read an id in its canonical form, in either case; raises ValueError for every other text."""
    return UUID(id_text(text))


def id_text(text: str) -> str:
    """Return the text of an id as databases write it; raises ValueError as `read_id` does."""
    if not _CANONICAL_ID.fullmatch(text):
        raise ValueError("an id has 32 hexadecimal digits in five groups")
    return text.lower()


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, aware in Python whatever the engine keeps; one without a zone is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs its time zone")
        return value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        if dialect.name == "sqlite":
            return lambda text: None if text is None else datetime.fromisoformat(f"{text}Z")
        return lambda moment: None if moment is None else moment.astimezone(UTC)


class Json(TypeDecorator[Any]):
    """JSON: text on SQLite, `jsonb` on PostgreSQL; None is the database's NULL."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        kind = postgresql.JSONB if dialect.name == "postgresql" else JSON
        return dialect.type_descriptor(kind(none_as_null=True))


class Base(DeclarativeBase):
    """The tables' common base; constraint names are the same on both engines."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {UUID: Guid, datetime: UtcDateTime, str: String}  # noqa: RUF012 (SQLAlchemy's own name)


def new_id() -> UUID:
    """Make an id: a UUID of version 7, which sorts by the time it was made."""
    return uuid_utils.compat.uuid7()


def now() -> datetime:
    """Return this moment in UTC."""
    return datetime.now(UTC)
