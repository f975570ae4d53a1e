"""Lies, each told by the console in one place: the judge is worth what it catches of them.

A lie alters what one of the console's functions or templates' filters returns, or what it is given.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from console.conversations import badges, display, queries, resolution
from console.conversations.badges import BadgeState
from console.conversations.queries import Page
from console.conversations.resolution import Outcome, Reason
from console.database import Scope, now
from console.ingestion import inbox, whatsapp
from console.ingestion.whatsapp import IncomingMessage
from console.linking import history, service
from console.linking import queries as linking
from console.linking import routes as linking_routes
from console.web import errors
from testkit.databases import rows
from verification.truth.run import Stage

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Lie:
    """Something false, the kinds of sentences that give it away, and how to make the console say it."""

    kinds: tuple[str, ...]
    tell: Callable[[Stage, Patch], None]


def swap(patch: Patch, original: Any, other: Any) -> None:
    """Put something in the place of a function of the console, wherever it was imported to."""
    for name, module in list(sys.modules.items()):
        if name.startswith("console"):
            for attribute, value in list(vars(module).items()):
                if value is original:
                    patch.setattr(module, attribute, other)


def altered(original: Any, alter: Callable[[Any], Any]) -> Callable[[Stage, Patch], None]:
    """Return what alters the results of a function."""
    return lambda _, patch: swap(patch, original, lambda *given, **named: alter(original(*given, **named)))


def filtered(name: str, alter: Callable[[Any], Any]) -> Callable[[Stage, Patch], None]:
    """Return what alters what a filter of the templates is given."""

    def tell(stage: Stage, patch: Patch) -> None:
        filters, original = stage.app.jinja_env.filters, stage.app.jinja_env.filters[name]
        patch.setitem(filters, name, lambda value, *rest: original(alter(value), *rest))

    return tell


def _dated_a_day_early(stage: Stage, patch: Patch) -> None:
    filters, dated = stage.app.jinja_env.filters, stage.app.jinja_env.filters["dated"]
    patch.setitem(filters, "dated", lambda then: (*dated(then)[:2], dated(then - DAY)[2]))


def parsed(alter: Callable[[IncomingMessage], IncomingMessage | None]) -> Callable[[Stage, Patch], None]:
    """Return what alters, or drops, each message that is read out of a payload."""

    def alter_all(items: list[Any]) -> list[Any]:
        read = [alter(item) if isinstance(item, IncomingMessage) else item for item in items]
        return [item for item in read if item] or [whatsapp.Ignored()]

    return altered(whatsapp.parse, alter_all)


def listed(alter: Callable[[list[Any]], list[Any]]) -> Callable[[Stage, Patch], None]:
    """Return what alters the rows of every list of conversations."""
    return altered(queries.inbox, lambda page: replace(page, rows=alter(page.rows)))


def threaded(alter: Callable[[list[Any]], list[Any]]) -> Callable[[Stage, Patch], None]:
    """Return what alters the messages of every conversation's page, newest first."""
    return altered(queries.messages, lambda page: replace(page, rows=alter(page.rows)))


def offered(alter: Callable[[Any], Any]) -> Callable[[Stage, Patch], None]:
    """Return what alters each customer that a search or a form offers."""

    def alter_all(found: Any) -> Any:
        if isinstance(found, list):
            return [alter(row) for row in found]
        return replace(found, rows=[alter(row) for row in found.rows])

    return altered(linking.customers, alter_all)


def viewed(alter: Callable[[Any], Any]) -> Callable[[Stage, Patch], None]:
    """Return what alters a conversation as the link form shows it."""

    def alter_view(found: Any) -> Any:
        return replace(found, view=alter(found.view)) if hasattr(found, "view") else found and alter(found)

    return altered(linking.work, alter_view)


def viewed_work(alter: Callable[[Any], Any]) -> Callable[[Stage, Patch], None]:
    """Return what alters everything that a link form's page is told of a conversation."""
    return altered(linking.work, lambda work: work and alter(work))


def remembered(alter: Callable[[Any], Any]) -> Callable[[Stage, Patch], None]:
    """Return what alters the link history, newest first."""
    return altered(history.history, lambda events: events and alter(events))


def given(original: Any, **changes: Callable[[dict[str, Any]], Any]) -> Callable[[Stage, Patch], None]:
    """Return what alters the arguments that a function is called with."""

    def tell(_: Stage, patch: Patch) -> None:
        def told(*positional: Any, **named: Any) -> Any:
            altered_ones = {name: change(named) for name, change in changes.items() if name in named}
            return original(*positional, **{**named, **altered_ones})

        swap(patch, original, told)

    return tell


def _flip(row: Any) -> Any:
    return row._replace(direction="inbound" if row.direction == "outbound" else "outbound")


def _forget_field(name: str) -> Callable[[Stage, Patch], None]:
    def tell(_: Stage, patch: Patch) -> None:
        patch.setattr(whatsapp, "IGNORED_FIELDS", {*whatsapp.IGNORED_FIELDS, name})
        patch.setattr(whatsapp, "_holds_messages", lambda _: False)

    return tell


def _new_identifier(_: Stage, patch: Patch) -> None:
    def told(message: dict[str, Any]) -> str | None:
        system: dict[str, str] = message.get("system", {})
        return system.get("wa_id") or system.get("user_id")

    patch.setattr(whatsapp, "_previous_identifier", told)


def _store_repeats(_: Stage, patch: Patch) -> None:
    look_up, row = inbox.look_up, inbox._message_row
    swap(patch, look_up, lambda *of: [found._replace(message_id=None) for found in look_up(*of)])
    swap(patch, row, lambda *of: {**row(*of), "external_id": str(uuid4())})


def _link_by_itself(_: Stage, patch: Patch) -> None:
    add = inbox.add
    statement = text(
        "UPDATE conversations SET customer_id = (SELECT id FROM customers c WHERE"
        " c.instructor_id = conversations.instructor_id AND c.normalized_identifier = customer_identifier)"
        " WHERE customer_id IS NULL"
    )

    def told(connection: Any, arrivals: Any) -> None:
        add(connection, arrivals)
        connection.execute(statement)

    swap(patch, add, told)


def _other_instructor(stage: Stage, patch: Patch) -> None:
    first, *others = [UUID(instructor.id) for instructor in stage.world.truth.instructors]
    look_up = inbox.look_up

    def told(*of: Any) -> Any:
        found = look_up(*of)
        return [
            row._replace(instructor_id=others[0], conversation_id=None) if row.instructor_id == first else row
            for row in found
        ]

    swap(patch, look_up, told)


def _badge_of(reason_or_outcome: object, outcome: Outcome) -> Callable[[Stage, Patch], None]:
    def alter(found: list[Any]) -> list[Any]:
        return [
            row._replace(outcome=outcome, reason=None)
            if reason_or_outcome in (row.reason, row.outcome)
            else row
            for row in found
        ]

    return altered(resolution.resolve, alter)


def _say_saved(_: Stage, patch: Patch) -> None:
    change = service.change
    swap(patch, change, lambda request, scope: change(request, scope) if request.unlink else request.outcome)


def _say_removed(_: Stage, patch: Patch) -> None:
    change = service.change
    swap(patch, change, lambda request, scope: request.outcome if request.unlink else change(request, scope))


def _say_conflict(_: Stage, patch: Patch) -> None:
    change = service.change

    def told(request: service.LinkRequest, scope: Scope) -> Any:
        change(request, scope)
        raise service.LinkChanged

    swap(patch, change, told)


def requested(alter: Callable[[service.LinkRequest], service.LinkRequest]) -> Callable[[Stage, Patch], None]:
    """Return what alters what people ask for."""
    change = service.change
    return lambda _, patch: swap(patch, change, lambda request, scope: change(alter(request), scope))


def _over_what_is_there(request: service.LinkRequest) -> service.LinkRequest:
    ((there,),) = rows(f"SELECT link_version FROM conversations WHERE id = '{request.conversation_id}'")
    return replace(request, seen_version=there)


def _confirmed(request: service.LinkRequest) -> service.LinkRequest:
    return request if request.unlink else replace(request, confirmed=True)


def _later(original: Any, **by: Any) -> Any:
    return original._replace(**{name: getattr(original, name) + more for name, more in by.items()})


HOUR, DAY = timedelta(hours=1), timedelta(days=1)
_LIST = (
    "conversation",
    "listed",
    "lost",
    "messages",
    "newest",
    "older",
    "order",
    "preview",
    "rows",
    "sent at",
    "twice",
)

LIES: dict[str, Lie] = {
    # What WhatsApp sends
    "an echo is the customer's": Lie(
        ("conversation", *_LIST),
        lambda _, patch: patch.setattr(whatsapp, "_is_from_account", lambda *_: False),
    ),
    "every message is the customer's": Lie(
        ("preview", "author"), parsed(lambda item: replace(item, direction="inbound"))
    ),
    "phone echoes are dropped": Lie(_LIST, _forget_field("smb_message_echoes")),
    "standby is dropped": Lie(_LIST, _forget_field("standby")),
    "a statement opens a conversation under the new number": Lie(_LIST, _new_identifier),
    "a statement is the customer's": Lie(
        ("preview", "author"),
        parsed(lambda item: replace(item, kind="text") if item.kind == "system" else item),
    ),
    "a statement is reworded": Lie(
        ("preview", "words"),
        parsed(lambda item: replace(item, body="A number has changed") if item.kind == "system" else item),
    ),
    "a repeat is stored again": Lie(_LIST, _store_repeats),
    "photos are dropped": Lie(_LIST, parsed(lambda item: None if item.kind == "image" else item)),
    "words are cut short": Lie(
        ("preview", "words"), parsed(lambda item: replace(item, body=(item.body or "")[:5]))
    ),
    "messages are dated a second late": Lie(
        ("newest", "order", "sent at"),
        parsed(lambda item: replace(item, sent_at=item.sent_at + timedelta(seconds=1))),
    ),
    "a message is another instructor's": Lie(("conversation", "instructor", *_LIST), _other_instructor),
    "ingestion links": Lie(("badge", "linked", "linked to", *_LIST), _link_by_itself),
    # Badges
    "a match is a known customer": Lie(("badge",), _badge_of(Outcome.MATCH, Outcome.LINKED)),
    "a failed lookup is a match": Lie(("badge",), _badge_of(Reason.LOOKUP_FAILED, Outcome.MATCH)),
    "a linked conversation is new": Lie(("badge",), _badge_of(Outcome.LINKED, Outcome.MATCH)),
    "no customer matches": Lie(
        ("badge copy",),
        lambda _, patch: patch.setitem(
            badges._SHOWN, Outcome.NONE, (BadgeState.UNLINKED, "Unlinked", "No customer on record matches")
        ),
    ),
    # When
    "a day too late": Lie(("day",), filtered("day", lambda then: then + DAY)),
    "an hour too late": Lie(("newest in full", "sent in full"), filtered("moment", lambda then: then + HOUR)),
    "a date too early": Lie(("first wrote day", "customer since day"), _dated_a_day_early),
    "customer since tomorrow": Lie(("customer since",), offered(lambda row: _later(row, created_at=DAY))),
    "times are another zone's": Lie(
        ("loaded at", "newest in full", "ago", "sent in full", "clock", "day"),
        lambda _, patch: patch.setattr(display.Clock, "local", lambda _, then: then.astimezone(UTC)),
    ),
    "first wrote when the row was made": Lie(
        ("first wrote",),
        viewed(lambda view: replace(view, first_message_at=now())),
    ),
    # Lists and counts
    "one more was found": Lie(
        ("found", "customers found"), filtered("length", lambda found: [*found, "one more"])
    ),
    "one more is left": Lie(("left",), viewed_work(lambda work: replace(work, left=work.left + 1))),
    "a search for nothing is a search": Lie(
        ("title", "nothing", "found", "rows"),
        lambda _, patch: swap(patch, queries.is_search, bool),
    ),
    "the zone is another": Lie(
        ("zone",), lambda stage, patch: patch.setitem(stage.app.jinja_env.globals, "time_zone", "UTC")
    ),
    "the list was loaded an hour ago": Lie(
        ("loaded at",),
        lambda stage, patch: patch.setitem(stage.app.jinja_env.globals, "now", lambda: now() - HOUR),
    ),
    "the list is upside down": Lie(("order",), listed(lambda rows: rows[::-1])),
    "a row is missing": Lie(("rows", "order"), listed(lambda rows: rows[1:])),
    "a row is there twice": Lie(("rows", "twice", "order"), listed(lambda rows: rows[:1] + rows)),
    "the last message is another's": Lie(
        ("preview",),
        listed(lambda rows: [row._replace(body=rows[0].body, kind=rows[0].kind) for row in rows]),
    ),
    "the last message is by the other": Lie(("preview",), listed(lambda rows: [_flip(row) for row in rows])),
    "a search finds everything": Lie(
        ("rows", "listed", "found", "order"), given(queries.inbox, q=lambda _: "")
    ),
    "nothing is left": Lie(
        ("rows", "nothing", "skipped", "choose"),
        given(queries.inbox, linked=lambda named: None if named["linked"] is None else True),
    ),
    "a customer has one conversation more": Lie(
        ("customer's links",),
        offered(lambda row: _later(row, conversations=1)),
    ),
    # Conversations
    "authors are swapped": Lie(("author", "side"), threaded(lambda rows: [_flip(row) for row in rows])),
    "a message is missing": Lie(("messages", "sent at"), threaded(lambda rows: rows[:1] + rows[2:])),
    "a message is there twice": Lie(("messages", "sent at"), threaded(lambda rows: rows[:1] + rows)),
    "words are another message's": Lie(
        ("words", "kind"), threaded(lambda rows: [row._replace(body=rows[0].body) for row in rows])
    ),
    "there is nothing older": Lie(
        ("older", "rows"), altered(queries._page, lambda page: Page(page.rows, None))
    ),
    # Links
    "it says linked, and isn't": Lie(("left", "linked to", "changes", "never linked"), _say_saved),
    "it says removed, and isn't": Lie(("linked to", "changes", "done"), _say_removed),
    "it says nothing was saved, and it was": Lie(("nothing saved", "silence", "answer"), _say_conflict),
    "a stale form overwrites": Lie(
        ("answer", "changes", "linked to", "done", "conflict told", "nothing saved"),
        requested(_over_what_is_there),
    ),
    "unconfirmed writes are done": Lie(("changes", "linked to", "dialog", "done"), requested(_confirmed)),
    "the history names another": Lie(
        ("who linked", "changed by"),
        altered(linking.labels, lambda labels: replace(labels, users=dict.fromkeys(labels.users, "No one"))),
    ),
    "WhatsApp says nothing beside the link": Lie(
        ("statement",), viewed_work(lambda work: replace(work, statement=None))
    ),
    "another's reasons are offered": Lie(
        ("recent reason",),
        lambda _, patch: swap(
            patch, linking_routes._own_reasons, lambda events: [event.reason for event in events]
        ),
    ),
    "nothing was saved, though that is not known": Lie(
        ("unsure",),
        lambda _, patch: patch.setattr(errors, "_PERHAPS_SAVED", "Nothing was saved."),
    ),
    "the history forgets": Lie(
        ("changes", "history away", "changed at"),
        remembered(lambda events: events[1:]),
    ),
    "the history has another reason": Lie(
        ("reason", "changed because"),
        remembered(lambda events: [replace(event, reason="because") for event in events]),
    ),
    "linked to another": Lie(
        ("linked to", "linked now", "Now"),
        viewed(
            lambda view: replace(view, linked_identifier="390000000000") if view.linked_identifier else view
        ),
    ),
    "silence since yesterday": Lie(
        ("last message",),
        altered(inbox.last_messages, lambda found: {channel: at - DAY for channel, at in found.items()}),
    ),
}
