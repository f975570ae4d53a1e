"""Keyset cursors: where a page of a list ends, as one opaque word of an address."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from console.database import read_id


@dataclass(frozen=True, slots=True)
class Cursor:
    """The moment and id of the last row of a page; the next page starts below it."""

    moment: datetime
    id: UUID

    def __str__(self) -> str:
        return urlsafe_b64encode(f"{self.moment.isoformat()} {self.id}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read a cursor out of an address; ValueError for anything else."""
        moment, _, row_id = urlsafe_b64decode(f"{text}==".encode()).decode().partition(" ")
        given = datetime.fromisoformat(moment)
        if given.tzinfo is None:
            raise ValueError("a moment needs its time zone")
        try:
            return cls(given.astimezone(UTC), read_id(row_id))
        except OverflowError:
            raise ValueError("a moment before or after all others") from None
