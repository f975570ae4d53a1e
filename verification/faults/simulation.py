"""A link store in memory that many use at once: right, or with a bug that the checker has to catch."""

import random
from dataclasses import replace

from verification.faults.history import Answer, Call, Event, History, Link

CUSTOMERS = ("a", "b", "c", None)
LOST_ANSWERS = 0.1


class Store:
    """One conversation's link, as CM-2.3 has it."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.chance = chance
        self.versions = [Link()]
        self.operation: str | None = None
        self.events: list[Event] = []

    @property
    def link(self) -> Link:
        """Return what the row holds."""
        return self.versions[-1]

    def strikes(self) -> bool:
        """Say whether the bug shows this time."""
        return self.chance.random() < 0.2

    def change(self, call: Call) -> Answer:
        """Do what was asked, if it is to be done."""
        if call.operation == self.operation:
            return self.repeat(call)
        if call.seen != self.link.version:
            return self.stale(call)
        if call.wanted == self.link.customer:
            return Answer.UNCHANGED
        self.write(call)
        return Answer.DONE

    def repeat(self, call: Call) -> Answer:
        """Answer what was done already."""
        same = (call.wanted, call.seen + 1) == (self.link.customer, self.link.version)
        return Answer.DONE if same else Answer.REUSED

    def stale(self, _call: Call) -> Answer:
        """Refuse what was asked over another version."""
        return Answer.STALE

    def write(self, call: Call) -> None:
        """Change the row and add the event."""
        event = self.event(call)
        self.versions.append(Link(call.wanted, event.sequence))
        self.operation = call.operation
        self.events.append(event)

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
        )


class LostUpdate(Store):
    """Acknowledges what it doesn't do."""

    def write(self, call: Call) -> None:
        if not self.strikes():
            super().write(call)


class LostEvent(Store):
    """Changes the row without an event."""

    def write(self, call: Call) -> None:
        super().write(call)
        if self.strikes():
            self.events.pop()


class StaleOverwrite(Store):
    """Writes over what the person didn't see."""

    def stale(self, call: Call) -> Answer:
        if call.wanted == self.link.customer or not self.strikes():
            return Answer.STALE
        self.write(call)
        return Answer.DONE


class DuplicateEvent(Store):
    """Moves an event twice."""

    def write(self, call: Call) -> None:
        super().write(call)
        if self.strikes():
            self.events.append(self.events[-1])


class SecondEffect(Store):
    """Does a repeat again, and acknowledges both."""

    def repeat(self, call: Call) -> Answer:
        if self.strikes():
            self.write(replace(call, wanted="d"))
            self.write(call)
        return Answer.DONE


class Gap(Store):
    """Skips a number."""

    def write(self, call: Call) -> None:
        super().write(call)
        if self.strikes():
            self.versions.append(replace(self.link, version=self.link.version + 1))
            self.events[-1] = replace(self.events[-1], sequence=self.link.version)


class Phantom(Store):
    """Does what nobody asked for."""

    def write(self, call: Call) -> None:
        super().write(call)
        if self.strikes():
            super().write(replace(call, operation=f"phantom {self.link.version}", wanted="d"))


class WrongPrevious(Store):
    """Notes another customer as the one that was there."""

    def write(self, call: Call) -> None:
        super().write(call)
        if self.strikes():
            self.events[-1] = replace(self.events[-1], previous="d")


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

    def write(self, call: Call) -> None:
        super().write(call)
        if self.strikes():
            self.events[-1] = replace(self.events[-1], conversation=f"not {self.name}")


class OtherActor(Store):
    """Notes somebody else as who did it."""

    def event(self, call: Call) -> Event:
        return replace(super().event(call), actor="somebody else" if self.strikes() else call.actor)


class Reordered(Store):
    """Numbers two writes the wrong way round."""

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
    """Says that somebody changed the link, and does what was asked."""

    def change(self, call: Call) -> Answer:
        answer = super().change(call)
        return Answer.STALE if answer == Answer.DONE and self.strikes() else answer


class OldRead(Store):
    """Answers from a copy that lags behind: it is so already, in a version long replaced."""

    def stale(self, call: Call) -> Answer:
        customer = self.versions[call.seen].customer if call.seen < len(self.versions) else "d"
        return Answer.UNCHANGED if customer == call.wanted and self.strikes() else Answer.STALE


class FalseAlarm(Store):
    """Says that somebody changed the link, when nobody has."""

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
    Reordered,
    RefusedButDone,
    OldRead,
    FalseAlarm,
)


def simulate(kind: type[Store], seed: int, *, calls: int = 400, conversations: int = 3) -> History:
    """Let many call at once: calls overlap, answers get lost, people repeat and come late."""
    chance = random.Random(seed)
    stores = [kind(f"conversation {number}", chance) for number in range(conversations)]
    history = History()
    for number in range(calls):
        history.calls.append(_call(number, chance.choice(stores), chance, history.calls))
    for store in stores:
        history.events += store.events
        history.links[store.name] = store.link
    return history


def _call(number: int, store: Store, chance: random.Random, earlier: list[Call]) -> Call:
    """Make a call that takes effect at moment `number`, some time after it was sent and before its answer."""
    own = [call for call in earlier[-30:] if call.conversation == store.name]
    start, end = number - chance.uniform(0, 20), number + chance.uniform(0, 20)
    if own and chance.random() < 0.2:
        asked = replace(chance.choice(own[-3:]), start=start, end=end, shown=None)
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
