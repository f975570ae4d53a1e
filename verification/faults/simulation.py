"""A link store in memory that many use at once: right, or with a bug that the checker has to catch."""

import random
from collections.abc import Iterable
from dataclasses import replace

from verification.faults.history import Answer, Call, Event, History, Link

CUSTOMERS = ("a", "b", "c", None)
LOST_ANSWERS = 0.1
READS = 0.3
"""How often the reader of the trail looks, by calls."""

Content = tuple[str, str, str | None, str, int]


class Database:
    """What all conversations share: operation ids and their content, positions, a reader of the trail."""

    def __init__(self) -> None:
        self.contents: dict[str, Content] = {}
        self.position = 0
        self.followed: list[Event] = []

    def follow(self, visible: Iterable[Event]) -> None:
        """Let the reader continue from its last position."""
        last = self.followed[-1].position if self.followed else 0
        self.followed += sorted(
            (event for event in visible if event.position > last), key=lambda event: event.position
        )


class Store:
    """One conversation's link, as CM-2.3 has it. Now and then the trail fails, and the event waits."""

    trail_failures = 0.1

    def __init__(self, name: str, chance: random.Random, database: Database) -> None:
        self.name = name
        self.chance = chance
        self.database = database
        self.versions = [Link()]
        self.events: list[Event] = []
        self.outbox: list[Event] = []

    @property
    def link(self) -> Link:
        """Return what the row holds."""
        return self.versions[-1]

    def strikes(self) -> bool:
        """Say whether the bug shows this time."""
        return self.chance.random() < 0.2

    def change(self, call: Call) -> Answer:
        """Do what was asked, if it is to be done."""
        if call.operation in self.database.contents:
            return self.repeat(call)
        if call.seen != self.link.version:
            return self.stale(call)
        if call.wanted == self.link.customer:
            return Answer.UNCHANGED
        self.write(call)
        return Answer.DONE

    def repeat(self, call: Call) -> Answer:
        """Answer what was done already."""
        return Answer.DONE if self.database.contents[call.operation] == content(call) else Answer.REUSED

    def stale(self, _call: Call) -> Answer:
        """Refuse what was asked over another version."""
        return Answer.STALE

    def write(self, call: Call) -> None:
        """Change the row and record the event."""
        event = self.event(call)
        self.versions.append(Link(call.wanted, event.sequence))
        self.database.contents[call.operation] = content(call)
        if self.chance.random() < self.trail_failures:
            self.wait(event)
        else:
            self.move(event)

    def wait(self, event: Event) -> None:
        """Keep the event in the row, as the trail failed."""
        self.outbox.append(event)

    def move(self, *new: Event) -> None:
        """Put what waits into the trail, and new events after it."""
        events, self.outbox = [*self.outbox, *new], []
        for event in events:
            self.record(event)

    def record(self, event: Event) -> None:
        """Put an event into the trail."""
        self.database.position += 1
        self.events.append(replace(event, position=self.database.position))

    def event(self, call: Call) -> Event:
        """Return the event of a write that is about to be."""
        return Event(
            conversation=self.name,
            operation=call.operation,
            actor=call.actor,
            reason=call.reason,
            sequence=self.link.version + 1,
            previous=self.link.customer,
            new=call.wanted,
            position=0,
        )


def content(call: Call) -> Content:
    """Return what an operation id belongs to (CM-2.3)."""
    return call.actor, call.conversation, call.wanted, call.reason, call.seen


class LostUpdate(Store):
    """Acknowledges what it doesn't do."""

    def write(self, call: Call) -> None:
        if not self.strikes():
            super().write(call)


class LostEvent(Store):
    """Changes the row without an event."""

    def record(self, event: Event) -> None:
        if not self.strikes():
            super().record(event)


class StaleOverwrite(Store):
    """Writes over what the person didn't see."""

    def stale(self, call: Call) -> Answer:
        if call.wanted == self.link.customer or not self.strikes():
            return Answer.STALE
        self.write(call)
        return Answer.DONE


class DuplicateEvent(Store):
    """Records an event twice."""

    def record(self, event: Event) -> None:
        super().record(event)
        if self.strikes():
            super().record(event)


class SecondEffect(Store):
    """Does a repeat again, and acknowledges both."""

    def repeat(self, call: Call) -> Answer:
        if self.strikes():
            self.write(replace(call, wanted="d"))
            self.write(call)
        return Answer.DONE


class Gap(Store):
    """Skips a number."""

    def event(self, call: Call) -> Event:
        event = super().event(call)
        return replace(event, sequence=event.sequence + 1) if self.strikes() else event


class Phantom(Store):
    """Does what was never asked for."""

    def write(self, call: Call) -> None:
        super().write(call)
        if self.strikes():
            super().write(replace(call, operation=f"phantom {self.link.version}", wanted="d"))


class WrongPrevious(Store):
    """Notes another customer as the one that was there."""

    def record(self, event: Event) -> None:
        super().record(replace(event, previous="d") if self.strikes() else event)


class UnlinkIgnored(Store):
    """Acknowledges and notes an unlink, and leaves the customer."""

    def write(self, call: Call) -> None:
        before = self.link.customer
        super().write(call)
        if call.wanted is None and self.strikes():
            self.versions[-1] = replace(self.link, customer=before)


class OtherCustomer(Store):
    """Links to another customer than was asked for, in the row and in the event."""

    def write(self, call: Call) -> None:
        super().write(replace(call, wanted="d") if self.link.customer != "d" and self.strikes() else call)


class OtherConversation(Store):
    """Notes a write as another conversation's."""

    def record(self, event: Event) -> None:
        super().record(replace(event, conversation=f"not {self.name}") if self.strikes() else event)


class ReusedOperation(Store):
    """Remembers the last operation id only; the event of an older one is refused, as its id is taken."""

    def change(self, call: Call) -> Answer:
        last = self.events[-1].operation if self.events else None
        if call.operation != last and call.seen == self.link.version and call.wanted != self.link.customer:
            self.write(call)
            return Answer.DONE
        return super().change(call)

    def write(self, call: Call) -> None:
        taken = call.operation in self.database.contents
        super().write(call)
        if taken and self.events[-1].operation == call.operation:
            self.events.pop()


class DroppedEvent(Store):
    """Drops the event where the savepoint fails."""

    def wait(self, event: Event) -> None:
        """Keep nothing."""


class LaterEventFirst(Store):
    """Gives a new event its position before those that wait."""

    def move(self, *new: Event) -> None:
        for event in new:
            self.record(event)
        super().move()


class VisibleLate(Store):
    """Gives an event its position before it can be seen."""

    trail_failures = 0.0

    def move(self, *new: Event) -> None:
        self.events += self.outbox
        self.outbox = []
        super().move(*new)
        if new and self.strikes():
            self.outbox.append(self.events.pop())


class OtherActor(Store):
    """Notes another person as who did it."""

    def event(self, call: Call) -> Event:
        return replace(super().event(call), actor="another operator" if self.strikes() else call.actor)


class Reordered(Store):
    """Numbers two writes the wrong way round."""

    trail_failures = 0.0

    def write(self, call: Call) -> None:
        super().write(call)
        if len(self.events) > 1 and self.strikes():
            former, latter = self.events[-2:]
            self.events[-2:] = [
                replace(latter, sequence=former.sequence, previous=former.previous),
                replace(former, sequence=latter.sequence, previous=latter.new),
            ]
            self.versions[-1] = replace(self.link, customer=former.new)


class RefusedButDone(Store):
    """Says that the link was changed, and does what was asked."""

    def change(self, call: Call) -> Answer:
        answer = super().change(call)
        return Answer.STALE if answer == Answer.DONE and self.strikes() else answer


class OldRead(Store):
    """Answers from a copy that lags behind: it is so already, in a version long replaced."""

    def stale(self, call: Call) -> Answer:
        customer = self.versions[call.seen].customer if call.seen < len(self.versions) else "d"
        return Answer.UNCHANGED if customer == call.wanted and self.strikes() else Answer.STALE


class FalseAlarm(Store):
    """Says that the link was changed when it was not."""

    def change(self, call: Call) -> Answer:
        return Answer.STALE if call.seen == self.link.version and self.strikes() else super().change(call)


BUGS: tuple[type[Store], ...] = (
    LostUpdate,
    LostEvent,
    StaleOverwrite,
    DuplicateEvent,
    SecondEffect,
    Gap,
    Phantom,
    WrongPrevious,
    UnlinkIgnored,
    OtherCustomer,
    OtherConversation,
    OtherActor,
    ReusedOperation,
    DroppedEvent,
    LaterEventFirst,
    VisibleLate,
    Reordered,
    RefusedButDone,
    OldRead,
    FalseAlarm,
)


def simulate(kind: type[Store], seed: int, *, calls: int = 400, conversations: int = 3) -> History:
    """Let many call at once: calls overlap, answers get lost, people repeat, reuse a form, and come late."""
    chance, database = random.Random(seed), Database()
    stores = [kind(f"conversation {number}", chance, database) for number in range(conversations)]
    history = History()
    for number in range(calls):
        history.calls.append(_call(number, chance.choice(stores), chance, history.calls))
        if chance.random() < READS:
            database.follow(event for store in stores for event in store.events)
    for store in stores:
        store.move()
        history.events += store.events
        history.links[store.name] = store.link
    database.follow(history.events)
    history.followed = [event.operation for event in database.followed]
    return history


def _call(number: int, store: Store, chance: random.Random, earlier: list[Call]) -> Call:
    """Make a call that takes effect at moment `number`, some time after it was sent and before its answer."""
    own = [call for call in earlier[-30:] if call.conversation == store.name]
    start, end = number - chance.uniform(0, 20), number + chance.uniform(0, 20)
    if own and chance.random() < 0.2:
        asked = replace(chance.choice(own[-3:]), start=start, end=end, shown=None)
    elif earlier and chance.random() < 0.1:
        reused = replace(chance.choice(earlier), conversation=store.name, wanted=chance.choice(CUSTOMERS))
        asked = replace(reused, seen=store.link.version, start=start, end=end, shown=None)
    else:
        late = chance.choice([0, 0, 0, 0, 1, 2])
        asked = Call(
            conversation=store.name,
            operation=f"operation {number}",
            actor=f"operator {chance.randrange(5)}",
            reason="a reason",
            wanted=chance.choice(CUSTOMERS),
            seen=max(0, store.link.version - late),
            start=start,
            end=end,
            answer=Answer.NONE,
        )
    answer = store.change(asked)
    shown = store.link.version if answer in (Answer.STALE, Answer.REUSED) else None
    lost = chance.random() < LOST_ANSWERS
    return replace(asked, answer=Answer.NONE if lost else answer, shown=None if lost else shown)
