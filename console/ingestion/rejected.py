"""Payloads that could not be stored: listed, shown and, once a person has decided, dismissed."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update

from console.database import ingesting, now
from console.models import RejectedPayload
from console.text import MAX_NAME, is_name, reason_fault

PayloadRow = Row[*tuple[Any, ...]]

_PAGE_SIZE = 500

_KEPT = (
    RejectedPayload.id,
    RejectedPayload.received_at,
    RejectedPayload.reason,
    RejectedPayload.dismissed_at,
    RejectedPayload.dismissed_by,
    RejectedPayload.dismissed_reason,
)


class NotDismissed(Exception):
    """Nothing was dismissed; the message says why."""


def listed(*, dismissed: bool) -> Iterator[PayloadRow]:
    """Give the payloads that wait, or those that were dismissed, oldest first and without their text."""
    moment = RejectedPayload.dismissed_at
    statement = select(*_KEPT).where(moment.is_not(None) if dismissed else moment.is_(None))
    after = UUID(int=0)
    while True:
        page = statement.where(RejectedPayload.id > after).order_by(RejectedPayload.id).limit(_PAGE_SIZE)
        with ingesting() as connection:
            rows = connection.execute(page).all()
        yield from rows
        if len(rows) < _PAGE_SIZE:
            return
        after = rows[-1].id


def find(payload_id: UUID) -> PayloadRow | None:
    """Return one payload with its text, None where there is none."""
    statement = select(*_KEPT, RejectedPayload.payload).where(RejectedPayload.id == payload_id)
    with ingesting() as connection:
        return connection.execute(statement).one_or_none()


def dismiss(payload_ids: Sequence[UUID], *, by: str, reason: str) -> None:
    """Keep these payloads from being tried again; all of them, or none. Raises NotDismissed."""
    if fault := reason_fault(reason):
        raise NotDismissed(fault)
    if not is_name(by):
        raise NotDismissed(f"--by takes a name: one line of at most {MAX_NAME} characters, all printable")
    decision = {"dismissed_at": now(), "dismissed_by": by, "dismissed_reason": reason}
    with ingesting() as connection:
        for payload_id in dict.fromkeys(payload_ids):
            waiting = update(RejectedPayload).where(
                RejectedPayload.id == payload_id, RejectedPayload.dismissed_at.is_(None)
            )
            if connection.execute(waiting.values(decision)).rowcount == 0:
                raise NotDismissed(f"no payload waits under the id {payload_id}: nothing was dismissed")
