"""Pieces that lists repeat, drawn by their templates and kept as they were drawn (docs/decisions/0082).

A piece depends on what its macro is given and on nothing else, so the same piece is drawn once for everybody.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from uuid import UUID

from flask import Flask, get_template_attribute
from markupsafe import Markup

from console.conversations.badges import Badge
from console.conversations.display import ago
from console.conversations.queries import ConversationRow
from console.database import now

MOST_KEPT = 10_000
"""How many pieces a process keeps: a badge takes 300 bytes, a row up to 2 kB."""


def init_app(app: Flask) -> None:
    """Give the templates these filters."""
    app.jinja_env.filters.update(draw_rows=draw_rows, draw_badges=draw_badges)


def draw_rows(
    rows: Sequence[ConversationRow], home: str, way_back: str, with_badge: bool, badges: Mapping[UUID, Badge]
) -> Markup:
    """Draw a list's rows, each with its badge, with the place for one, or without."""
    at = now()
    return _together(
        _row(row, ago(row.last_message_at, at), home, way_back, with_badge, badges.get(row.id))
        for row in rows
    )


def draw_badges(badges: Sequence[Badge]) -> Markup:
    """Draw badges, one after another."""
    return _together(_badge(one.conversation_id, one.state, one.label, one.copy) for one in badges)


@lru_cache(MOST_KEPT)
def _row(*given: object) -> Markup:
    return _macro("conversations/_row.html", "row")(*given)


@lru_cache(MOST_KEPT)
def _badge(*given: object) -> Markup:
    return _macro("conversations/_badge.html", "badge")(*given)


def _macro(template: str, name: str) -> Callable[..., Markup]:
    macro: Callable[..., Markup] = get_template_attribute(template, name)
    return macro


def _together(pieces: Iterable[Markup]) -> Markup:
    return Markup("".join(pieces))  # noqa: S704 (each was escaped as it was drawn)
