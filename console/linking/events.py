"""The lines of the audit trail (CM-2.5): events, and tombstones in the place of erased ones."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

UNREADABLE = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
"""The errors that reading an invalid line raises."""
_DIGEST_CHARACTERS = 64
_ERASED = '{"erased": '


class EventName(StrEnum):
    """What happened to a conversation's link."""

    LINKED = "conversation.customer_linked"
    RELINKED = "conversation.customer_relinked"
    UNLINKED = "conversation.customer_unlinked"

    @property
    def change(self) -> str:
        """Return what was done, in one word."""
        return self.removeprefix("conversation.customer_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One link write, in the order its JSON line has."""

    event_id: UUID
    event_name: EventName
    conversation_id: UUID
    instructor_id: UUID
    sequence: int
    actor_type: str = "human"
    actor_id: UUID
    timestamp: datetime
    previous_customer_id: UUID | None
    new_customer_id: UUID | None
    reason: str
    context: dict[str, Any]

    @property
    def customer_ids(self) -> list[UUID]:
        """Return the customers that the event names."""
        return [id_ for id_ in (self.previous_customer_id, self.new_customer_id) if id_]

    def to_json(self) -> str:
        """Return the event as one JSON object on one line, in ASCII, so nothing in it ends the line."""
        return json.dumps({name: _plain(getattr(self, name)) for name in Event.__dataclass_fields__})

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Event":
        """Read an event; one of UNREADABLE for anything else."""
        return cls(
            event_id=UUID(fields["event_id"]),
            event_name=EventName(fields["event_name"]),
            conversation_id=UUID(fields["conversation_id"]),
            instructor_id=UUID(fields["instructor_id"]),
            sequence=int(fields["sequence"]),
            actor_type=fields["actor_type"],
            actor_id=UUID(fields["actor_id"]),
            timestamp=datetime.fromisoformat(fields["timestamp"]),
            previous_customer_id=_id(fields["previous_customer_id"]),
            new_customer_id=_id(fields["new_customer_id"]),
            reason=fields["reason"],
            context=fields["context"],
        )


@dataclass(frozen=True, slots=True)
class Tombstone:
    """An event that was erased, and the SHA-256 that its line had, in lower-case hex."""

    actor_id: ClassVar[None] = None
    customer_ids: ClassVar[tuple[UUID, ...]] = ()

    erased: datetime
    conversation_id: UUID
    sequence: int
    sha256: str

    def to_json(self) -> str:
        """Return the tombstone as one JSON object on one line."""
        fields = {
            "erased": rfc3339(self.erased),
            "conversation_id": str(self.conversation_id),
            "sequence": self.sequence,
            "sha256": self.sha256,
        }
        return json.dumps(fields)


def read(line: str) -> Event | Tombstone:
    """Read a line of the trail; one of UNREADABLE for anything else."""
    return read_tombstone(line) or Event.from_dict(json.loads(line))


def read_tombstone(line: str) -> Tombstone | None:
    """Read a tombstone; None for anything that differs by a character from what `to_json` writes."""
    if not line.startswith(_ERASED):
        return None
    try:
        fields = json.loads(line)
        tombstone = Tombstone(
            datetime.fromisoformat(fields["erased"]),
            UUID(fields["conversation_id"]),
            int(fields["sequence"]),
            bytes.fromhex(fields["sha256"]).hex(),
        )
        is_whole = len(tombstone.sha256) == _DIGEST_CHARACTERS and tombstone.to_json() == line
    except UNREADABLE:
        return None
    return tombstone if is_whole else None


def rfc3339(moment: datetime) -> str:
    """Write a moment as lines of the trail do: in UTC, with microseconds."""
    return f"{moment.astimezone(UTC).isoformat(timespec='microseconds').removesuffix('+00:00')}Z"


def line_digest(line: str) -> str:
    """Return the SHA-256 of a line of the trail; for a tombstone that of the line that it replaced."""
    tombstone = read_tombstone(line)
    return tombstone.sha256 if tombstone else hashlib.sha256(line.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    return str(value) if isinstance(value, UUID) else value


def _id(value: str | None) -> UUID | None:
    return None if value is None else UUID(value)
