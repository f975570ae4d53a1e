"""The badge (CM-2.4): one of three neutral states, drawn from a resolution alone."""

from collections import Counter as Tally
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


_STATES = {Outcome.LINKED: BadgeState.KNOWN, Outcome.MATCH: BadgeState.NEW, Outcome.NONE: BadgeState.UNLINKED}
_WORDS = {
    BadgeState.KNOWN: ("Known customer", "Linked to a customer on record"),
    BadgeState.NEW: ("New customer", "On record, not linked to this conversation"),
    BadgeState.UNLINKED: ("Unlinked", "Customer not resolved"),
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
    drawn = [_badge(resolution) for resolution in resolve(connection, subjects)]
    for state, count in Tally(badge.state for badge in drawn).items():
        _drawn_of[state].inc(count)
    return drawn


def _badge(resolution: Resolution) -> Badge:
    state = _STATES[resolution.outcome]
    return Badge(resolution.conversation_id, state, *_WORDS[state], resolution)
