"""What is true: who wrote what to whom and when, and what people have linked."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

CUSTOMER, INSTRUCTOR, WHATSAPP = "customer", "instructor", "whatsapp"


@dataclass(frozen=True, slots=True)
class Message:
    """One message, and who wrote it."""

    external_id: str
    author: str
    kind: str
    body: str | None
    sent_at: datetime


@dataclass(eq=False, slots=True)
class Customer:
    """A customer that an operator put on record for one instructor."""

    identifier: str
    created_at: datetime
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a link, made by a person."""

    actor: str
    at: datetime
    previous: Customer | None
    new: Customer | None
    reason: str
    created: bool


@dataclass(eq=False, slots=True)
class Thread:
    """A conversation: everything between one instructor and one identifier.

    `normalized` is what the identifier is on record as, None where it can't be on record.
    """

    instructor: "Instructor"
    identifier: str
    normalized: str | None
    messages: list[Message] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    id: str | None = None

    @property
    def link(self) -> Customer | None:
        """Return the customer that this conversation is linked to."""
        return self.changes[-1].new if self.changes else None

    @property
    def newest(self) -> datetime:
        """Return when the newest message was sent."""
        return self.messages[-1].sent_at

    @property
    def state(self) -> str:
        """Return the state of the badge while lookups work."""
        if self.link:
            return "known"
        return "new" if self.normalized in self.instructor.customers else "unlinked"

    def store(self, message: Message) -> None:
        """Take a message into its place in time; of the same second, the last that came is the last."""
        place = len(self.messages)
        while place and self.messages[place - 1].sent_at > message.sent_at:
            place -= 1
        self.messages.insert(place, message)

    def newest_candidates(self) -> list[Message]:
        """Return the messages of the newest second: any of them may count as the last."""
        return [message for message in self.messages[-20:] if message.sent_at == self.newest]


@dataclass(eq=False, slots=True)
class User:
    """Someone who signs in."""

    name: str
    email: str
    password: str
    operator_of: "list[Instructor]"
    reads: "list[Instructor]"


@dataclass(eq=False, slots=True)
class Instructor:
    """An instructor with a WhatsApp number."""

    name: str
    account: str
    number: str
    id: str = ""
    threads: dict[str, Thread] = field(default_factory=dict)
    customers: dict[str, Customer] = field(default_factory=dict)

    def linked_to(self, customer: Customer) -> int:
        """Return how many conversations are linked to a customer."""
        return sum(thread.link is customer for thread in self.threads.values())


@dataclass(eq=False)
class Truth:
    """Everything that is true at this moment."""

    instructors: list[Instructor] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    stored: set[str] = field(default_factory=set)
    # What is out of order at this moment.
    lookups_fail: bool = False
    trail_fails: bool = False
    messages_fail: bool = False

    def receive(
        self, instructor: Instructor, identifier: str, normalized: str | None, message: Message
    ) -> None:
        """Take in a message that the console has acknowledged, once."""
        if message.external_id in self.stored:
            return
        self.stored.add(message.external_id)
        thread = instructor.threads.get(identifier)
        if thread is None:
            thread = instructor.threads[identifier] = Thread(instructor, identifier, normalized)
        thread.store(message)

    def threads(self) -> Iterator[Thread]:
        """Yield every conversation."""
        for instructor in self.instructors:
            yield from instructor.threads.values()
