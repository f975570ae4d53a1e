"""Stores what webhook payloads hold: one transaction a payload, each message once, nothing lost."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from console.database import ingesting, missing_columns, new_id, now
from console.ingestion import inbox
from console.ingestion.inbox import Arrival, add, look_up
from console.ingestion.whatsapp import NOT_JSON, Ignored, IncomingMessage, Item, Rejection, parse
from console.models import RejectedPayload

UNKNOWN_ACCOUNT = "unknown account"
"""Why a message of an account without an instructor is rejected."""

_ATTEMPTS = 100
MAX_COUNTED = 1000
"""How many payloads are counted: the answer has to be quick, however many wait."""

_items = Counter(
    "console_ingested", "Messages and other items of payloads, by what became of them.", ["result"]
)
RESULTS = ("stored", "repeated", "ignored", "rejected")
"""What can become of an item: the numbers of Counts."""
_items_that_were = {name: _items.labels(name) for name in RESULTS}
_rejected = Counter(
    "console_rejected_payloads", "Payloads of which something was rejected, and why.", ["reason"]
)

T = TypeVar("T")


class NotStored(Exception):
    """The database failed and nothing of the payload is stored: send it again. The text says why."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of payloads: messages stored, or stored before; things ignored, or rejected and why."""

    stored: int = 0
    repeated: int = 0
    ignored: int = 0
    rejected: int = 0
    reasons: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.reasons)


def ingest_payload(raw: bytes) -> Counts:
    """Store every message of a payload that isn't stored yet; keep the payload whole if one can't be.

    Raises NotStored when the database fails.
    """
    counts = _in_transaction(partial(_ingest, raw, parse(raw)))
    for name, counter in _items_that_were.items():
        if number := getattr(counts, name):
            counter.inc(number)
    for reason in counts.reasons:
        _rejected.labels(reason).inc()
    return counts


def retry_rejected() -> Iterator[tuple[UUID, Counts]]:
    """Ingest each rejected payload again, in a transaction each; those that are stored in full now go.

    Raises NotStored when the database fails.
    """
    after = UUID(int=0)
    while retried := _in_transaction(partial(_retry_next, after)):
        yield retried
        after = retried[0]


def waiting_payloads() -> int:
    """Return how many rejected payloads wait, MAX_COUNTED at most. Raises SQLAlchemyError."""
    kept = (
        select(RejectedPayload.id).where(RejectedPayload.dismissed_at.is_(None)).limit(MAX_COUNTED).subquery()
    )
    with ingesting() as connection:
        return connection.execute(select(func.count()).select_from(kept)).scalar_one()


def _in_transaction(work: Callable[[Connection], T]) -> T:
    for _ in range(_ATTEMPTS):
        try:
            with ingesting() as connection:
                return work(connection)
        except IntegrityError:
            continue  # Another process inserted one of these rows first; the next attempt sees it.
        except SQLAlchemyError as error:
            raise NotStored(_cause(error)) from error
    raise NotStored("other processes kept writing the same rows")


def _cause(error: SQLAlchemyError) -> str:
    # The text of an error about the data may quote the data.
    if isinstance(error, OperationalError | ProgrammingError):
        return str(error.orig).splitlines()[0]
    return type(error.orig if isinstance(error, DBAPIError) else error).__name__


def _ingest(raw: bytes, items: list[Item], connection: Connection) -> Counts:
    counts = _store(connection, items)
    if counts.rejected:
        _keep(connection, raw, items, counts.reason)
    return counts


def _store(connection: Connection, items: list[Item]) -> Counts:
    reasons = [item.reason for item in items if isinstance(item, Rejection)]
    messages = [item for item in items if isinstance(item, IncomingMessage)]
    repeated = 0
    new: dict[tuple[UUID, str], Arrival] = {}
    for message, found in zip(messages, look_up(connection, messages), strict=True):
        if found.instructor_id is None:
            reasons.append(UNKNOWN_ACCOUNT)
        elif found.message_id or (found.instructor_id, message.external_id) in new:
            repeated += 1
        else:
            new[found.instructor_id, message.external_id] = message, found
    add(connection, list(new.values()))
    return Counts(
        stored=len(new),
        repeated=repeated,
        ignored=sum(isinstance(item, Ignored) for item in items),
        rejected=len(reasons),
        reasons=tuple(dict.fromkeys(reasons)),
    )


def _keep(connection: Connection, raw: bytes, items: list[Item], reason: str) -> None:
    digest = hashlib.sha256(raw).hexdigest()
    if connection.execute(select(RejectedPayload.id).where(RejectedPayload.digest == digest)).first():
        return
    # Bytes that are not UTF-8, and NUL, which a database doesn't keep as text, are spelled out.
    payload = raw.decode("utf-8", "backslashreplace").replace("\0", r"\x00")
    row = {"id": new_id(), "received_at": now(), "reason": reason, "payload": payload, "digest": digest}
    # The table has no instructor_id before 0014_rejected_payload_keys.
    if not _is_missing(connection, "instructor_id") and (whose := _whose(connection, items)):
        row["instructor_id"] = whose
    connection.execute(insert(RejectedPayload).inline(), row)


def _whose(connection: Connection, items: list[Item]) -> UUID | None:
    """Return the one instructor of a payload's known accounts; None where there are none, or several."""
    accounts = {item.phone_number_id for item in items if isinstance(item, IncomingMessage | Rejection)}
    whose = inbox.instructors(connection, [account for account in accounts if account])
    return whose[0] if len(whose) == 1 else None


def _is_missing(connection: Connection, column: str) -> bool:
    return f"rejected_payloads.{column}" in missing_columns(connection)


def _not_dismissed(connection: Connection) -> list[ColumnElement[bool]]:
    """Return what keeps dismissed payloads out; nothing can be dismissed before 0006_dismissals."""
    missing = _is_missing(connection, "dismissed_at")
    return [] if missing else [RejectedPayload.dismissed_at.is_(None)]


def _retry_next(after: UUID, connection: Connection) -> tuple[UUID, Counts] | None:
    waiting = select(RejectedPayload.id).where(RejectedPayload.id > after, *_not_dismissed(connection))
    payload_id = connection.scalar(waiting.order_by(RejectedPayload.id).limit(1))
    if payload_id is None:
        return None
    columns = (RejectedPayload.id, RejectedPayload.payload, RejectedPayload.digest)
    # Locked, so that what is erased meanwhile is not stored again.
    kept = select(*columns).where(RejectedPayload.id == payload_id).with_for_update()
    row = connection.execute(kept).one_or_none()
    if row is None:
        return payload_id, Counts()
    raw = row.payload.encode()
    as_sent = hashlib.sha256(raw).hexdigest() == row.digest
    # A payload with something spelled out is not what was sent, and stays rejected.
    counts = _store(connection, parse(raw) if as_sent else [Rejection(NOT_JSON)])
    this_row = RejectedPayload.id == row.id
    if counts.rejected:
        connection.execute(update(RejectedPayload).where(this_row).values(reason=counts.reason))
    else:
        connection.execute(delete(RejectedPayload).where(this_row))
    return row.id, counts
