"""The badge (CM-2.4): one of three neutral states, drawn from a resolution alone."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from prometheus_client import Counter
from sqlalchemy import Connection

from console.conversations.resolution import Outcome, Resolution, Subject, resolve


class BadgeState(StrEnum):
    """What the badge says."""

    KNOWN = "known"
    NEW = "new"
    UNLINKED = "unlinked"


_SHOWN = {
    Outcome.LINKED: (BadgeState.KNOWN, "Known customer", "Linked to a customer on record"),
    Outcome.MATCH: (BadgeState.NEW, "New customer", "On record, not linked to this conversation"),
    Outcome.NONE: (BadgeState.UNLINKED, "Unlinked", "Customer not resolved"),
}

_drawn = Counter("console_badges", "Badges drawn, on a page or for one.", ["state"])
_drawn_of = {state: _drawn.labels(state) for state in BadgeState}


class Badge(NamedTuple):
    """What is shown of a resolution, and the resolution it is drawn from."""

    conversation_id: str
    state: BadgeState
    label: str
    copy: str
    basis: Resolution


def badges(connection: Connection, subjects: Sequence[Subject]) -> list[Badge]:
    """Return the badge of each conversation, in the order given."""
    resolved = resolve(connection, subjects)
    drawn = [Badge(found.conversation_id, *_SHOWN[found.outcome], found) for found in resolved]
    states = [badge.state for badge in drawn]
    for state, counted in _drawn_of.items():
        if count := states.count(state):
            counted.inc(count)
    return drawn
