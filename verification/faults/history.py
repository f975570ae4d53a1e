"""What was asked and answered, and what the database holds in the end: the checker's input."""

from dataclasses import dataclass, field
from enum import StrEnum


class Answer(StrEnum):
    """What a call was told."""

    DONE = "done"
    UNCHANGED = "unchanged"
    STALE = "stale"
    REUSED = "reused"
    UNAVAILABLE = "unavailable"
    """The database failed: whether it was done is not known."""
    NONE = "none"
    """No answer came: whether it was done, or will be, is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to change a link, with the moments at which it was sent and answered, in seconds."""

    conversation: str
    operation: str
    actor: str
    reason: str
    wanted: str | None
    """A customer, or None to unlink."""
    seen: int
    """The version of the link that the person saw."""
    start: float
    end: float
    answer: Answer
    shown: int | None = None
    """The version on the page that came with a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of the audit trail."""

    conversation: str
    operation: str
    actor: str
    reason: str
    sequence: int
    previous: str | None
    new: str | None
    position: int


@dataclass(frozen=True, slots=True)
class Link:
    """What a conversation's row holds."""

    customer: str | None = None
    version: int = 0


@dataclass
class History:
    """All of it."""

    calls: list[Call] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    links: dict[str, Link] = field(default_factory=dict)
    followed: list[str] | None = None
    """What a reader of the trail got, if there was one, who went on from its last position each time."""
