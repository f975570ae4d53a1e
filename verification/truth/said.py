"""What pages say, by the kind of page or part."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment: for machines, in full, and as it reads."""

    at: datetime
    exact: str
    shown: str


@dataclass(frozen=True, slots=True)
class BadgeSaid:
    """A badge: its state, label and second line."""

    state: str
    label: str
    copy: str


@dataclass(frozen=True, slots=True)
class RowSaid:
    """A row of a list: whose conversation, its last message, when, and its badge."""

    id: str
    identifier: str
    preview: str
    when: Moment
    badge: BadgeSaid | None
    is_skipped: bool = False


@dataclass(frozen=True, slots=True)
class MessageSaid:
    """A message of a thread, and the day that it stands under. `side` is the bubble's."""

    author: str
    side: str
    kind: str
    body: str
    when: Moment
    day: str


@dataclass(frozen=True, slots=True)
class ListSaid:
    """A list of conversations."""

    rows: list[RowSaid]
    found: str
    older: str | None


@dataclass(frozen=True, slots=True)
class ThreadSaid:
    """A conversation."""

    identifier: str
    badge: BadgeSaid | None
    messages: list[MessageSaid]
    older: str | None
    says_first: bool


@dataclass(frozen=True, slots=True)
class ChoiceSaid:
    """A customer to choose."""

    id: str
    identifier: str
    note: str
    since: Moment | None


@dataclass(frozen=True, slots=True)
class EventSaid:
    """A line of the link history."""

    actor: str
    sentence: str
    identifiers: tuple[str, ...]
    when: Moment
    reason: str


@dataclass(frozen=True, slots=True)
class DialogSaid:
    """What a person is asked to confirm."""

    title: str
    before: str
    after: str
    consequence: str
    identifiers: tuple[str, ...]
    when: Moment | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StaleSaid:
    """What a conflict page compares: by heading, and who changed it."""

    sides: dict[str, str]
    changed: str
    when: Moment | None


@dataclass(frozen=True, slots=True)
class DeskSaid:
    """The linking desk: its rows, and how many conversations are left."""

    rows: list[RowSaid]
    left: str


@dataclass(frozen=True, slots=True)
class FormSaid:
    """The link form and everything around it."""

    identifier: str
    first_wrote: Moment | None
    flashes: list[str]
    notice: str
    linked_to: str | None
    choices: list[ChoiceSaid]
    found: str
    no_customer: str
    creatable: str | None
    events: list[EventSaid] | None
    older_events: int
    says_never_linked: bool
    dialog: DialogSaid | None
    stale: StaleSaid | None
    desk: DeskSaid
    talk: list[MessageSaid]
    linked_since: Moment | None = None
    statement: str = ""
    recent: tuple[str, ...] = ()
    forms: dict[str, dict[str, str]] = field(default_factory=dict)
