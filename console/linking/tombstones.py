"""What stands in an erased event's place (CM-2.5, "Erasure"), and the digest of a line of the trail."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar
from uuid import UUID

_MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"
_DIGEST_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Tombstone:
    """An event that was erased, and the SHA-256 that its line had, in lower-case hex. It names nobody."""

    actor_id: ClassVar[None] = None
    customer_ids: ClassVar[tuple[UUID, ...]] = ()

    erased: datetime
    conversation_id: UUID
    sequence: int
    sha256: str

    def to_json(self) -> str:
        """Return the tombstone as one JSON object on one line."""
        return json.dumps(
            {
                "erased": self.erased.strftime(_MOMENT),
                "conversation_id": str(self.conversation_id),
                "sequence": self.sequence,
                "sha256": self.sha256,
            }
        )


def read_tombstone(line: str) -> Tombstone | None:
    """Read a tombstone; None for anything else, be it one character away from what `to_json` writes."""
    try:
        fields = json.loads(line)
        tombstone = Tombstone(
            datetime.strptime(fields["erased"], _MOMENT).replace(tzinfo=UTC),
            UUID(fields["conversation_id"]),
            int(fields["sequence"]),
            bytes.fromhex(fields["sha256"]).hex(),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    is_whole = len(tombstone.sha256) == _DIGEST_CHARACTERS and tombstone.to_json() == line
    return tombstone if is_whole else None


def line_digest(line: str) -> str:
    """Return the SHA-256 of a line of the trail; for a tombstone that of the line that stood in its place."""
    tombstone = read_tombstone(line)
    return tombstone.sha256 if tombstone else hashlib.sha256(line.encode()).hexdigest()
