"""Is a history linearizable, conversation by conversation, with the audit's sequence as the version order.

Event k of a conversation is the write that made version k. With that order given, a history is linearizable
if each write can be given a moment such that the moments rise with k, and each lies between those at
which its call was sent and acknowledged; and if every other answer is true at a moment of its own call: "it
is so already" while version `seen` stood, "it was changed" once a later version stood. Each of these
is a bound from below or above on the moment of one write, so one pass, earliest moments first, decides.

Besides, the events have to explain the row, and have to be what was asked for: each the effect of one
operation, over the version that its person saw. And positions have to be 1, 2, 3 … in the order in which
events become visible, so that a reader who goes on from its last position gets each event once.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from verification.faults.history import Answer, Call, Event, History, Link


def check(history: History) -> list[str]:
    """Return what is wrong with a history, a line each; nothing if it is linearizable."""
    calls, events = defaultdict(list), defaultdict(list)
    for call in history.calls:
        calls[call.conversation].append(call)
    for event in history.events:
        events[event.conversation].append(event)
    problems = [f"trail: {problem}" for problem in _positions(history)]
    for conversation in sorted({*calls, *events, *history.links}):
        trail = sorted(events[conversation], key=lambda event: event.sequence)
        link = history.links.get(conversation, Link())
        found = [*_fold(trail, link), *_match(trail, calls[conversation])]
        # Moments mean something only for a trail that is whole.
        found = found or list(_order(trail, calls[conversation]))
        problems += [f"{conversation}: {problem}" for problem in found]
    return problems


def _positions(history: History) -> Iterator[str]:
    """Check the positions, and what the reader of the trail got."""
    events = sorted(history.events, key=lambda event: event.position)
    if [event.position for event in events] != list(range(1, len(events) + 1)):
        yield "positions are missing or there twice"
    if history.followed is not None and history.followed != [event.operation for event in events]:
        yield "the reader missed an event, or got one twice or in another order"


def _fold(trail: Sequence[Event], link: Link) -> Iterator[str]:
    """Check that the events explain the row."""
    customer, position = None, 0
    for sequence, event in enumerate(trail, start=1):
        if event.sequence != sequence:
            yield f"event {sequence} is missing or there twice"
            return
        if event.previous != customer:
            yield f"event {sequence} replaces {event.previous}, but {customer} was there"
        if event.new == event.previous:
            yield f"event {sequence} changes nothing"
        if event.position <= position:
            yield f"event {sequence} is at position {event.position}, after position {position}"
        position = event.position
        customer = event.new
    if (customer, len(trail)) != (link.customer, link.version):
        yield f"the events lead to {customer} in version {len(trail)}, the row has {link}"


def _match(trail: Sequence[Event], calls: Sequence[Call]) -> Iterator[str]:
    """Check that each event is what an operation asked for, once, and each acknowledgement has its event."""
    asked = defaultdict(list)
    for call in calls:
        asked[call.operation].append(call)
    done = set()
    for event in trail:
        if event.operation in done:
            yield f"operation {event.operation} was done twice"
        done.add(event.operation)
        of_it = [call for call in asked[event.operation] if _is_effect(event, call)]
        if not asked[event.operation]:
            yield f"event {event.sequence} was never asked for"
        elif not of_it:
            yield f"event {event.sequence} is not what its operation asked for"
        elif all(call.answer in (Answer.STALE, Answer.REUSED, Answer.UNCHANGED) for call in of_it):
            yield f"event {event.sequence} was done, and every caller was told that it was not"
    for call in calls:
        if call.answer == Answer.DONE and not any(
            event.operation == call.operation and _is_effect(event, call) for event in trail
        ):
            yield f"operation {call.operation} was acknowledged, and has no event"


def _is_effect(event: Event, call: Call) -> bool:
    """Say whether an event is the effect of a call."""
    done = (event.new, event.actor, event.sequence, event.reason)
    return done == (call.wanted, call.actor, call.seen + 1, call.reason)


def _order(trail: Sequence[Event], calls: Sequence[Call]) -> Iterator[str]:
    """Check that every write and every answer can be given its moment."""
    moments = _Moments(trail)
    for call in calls:
        if problem := moments.bound(call):
            yield f"operation {call.operation} was told {problem}"
    for call in calls:
        moments.bound_next(call)
    if version := moments.impossible():
        yield f"event {version} can't have happened between the answers that say so"


class _Moments:
    """The bounds on the moment of each write, by the version that it made."""

    def __init__(self, trail: Sequence[Event]) -> None:
        self.trail = trail
        self.versions = {event.operation: event.sequence for event in trail}
        self.earliest = [-math.inf] + [math.inf] * len(trail)
        self.latest = [math.inf] * (len(trail) + 1)

    def bound(self, call: Call) -> str | None:
        """Take the bounds that a call sets on its own write and those it was told of; say what is untrue."""
        version = self.versions.get(call.operation)
        if version:
            self.earliest[version] = min(self.earliest[version], call.start)
            if call.answer == Answer.DONE:
                self._before(version, call.end)
        if call.shown is not None and call.shown <= len(self.trail):
            self._before(call.shown, call.end)
        if call.answer == Answer.STALE:
            if call.seen >= len(self.trail):
                return "of a change that never was"
            self._before(call.seen + 1, call.end)
        if call.answer == Answer.UNCHANGED:
            if call.seen > len(self.trail) or self._customer(call.seen) != call.wanted:
                return f"that {call.wanted} was there already"
            self._before(call.seen, call.end)
        return None

    def bound_next(self, call: Call) -> None:
        """Let the version that stood during a call be replaced only after that was sent.

        After every `bound`: there, a repeat brings the moment of a write forward, to its first call.
        """
        stood = call.seen if call.answer == Answer.UNCHANGED else call.shown
        if stood is not None and stood < len(self.trail):
            self.earliest[stood + 1] = max(self.earliest[stood + 1], call.start)

    def impossible(self) -> int | None:
        """Return the first version whose write fits no moment."""
        moment = -math.inf
        for version in range(1, len(self.trail) + 1):
            moment = max(moment, self.earliest[version])
            if moment > self.latest[version]:
                return version
        return None

    def _before(self, version: int, moment: float) -> None:
        self.latest[version] = min(self.latest[version], moment)

    def _customer(self, version: int) -> str | None:
        return self.trail[version - 1].new if version else None
