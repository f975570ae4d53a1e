"""How what is true in the world reads on a page."""

import re
from collections.abc import Sequence
from datetime import datetime

from verification.truth.said import MessageSaid
from verification.truth.truth import (
    CUSTOMER,
    INSTRUCTOR,
    WHATSAPP,
    Change,
    Customer,
    Instructor,
    Message,
    Thread,
)

PAGE, QUEUE = 50, 25
MAX_CUSTOMERS = 20

BADGES = {
    "known": ("Known customer", "Linked to a customer on record"),
    "new": ("New customer", "On record, not linked to this conversation"),
    "unlinked": ("Unlinked", "Customer not resolved"),
}
SIDES = {CUSTOMER: "inbound", INSTRUCTOR: "outbound", WHATSAPP: "system"}
KINDS = {
    "audio": "Audio",
    "button": "Reply",
    "document": "Document",
    "image": "Photo",
    "interactive": "Interactive",
    "location": "Location",
    "sticker": "Sticker",
    "text": "No visible text",
    "video": "Video",
}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WRITTEN = ("linked", "relinked", "unlinked")

_DONE = (
    (re.compile(r"Linked\."), ("linked", "relinked")),
    (re.compile(r"Link removed\."), ("unlinked",)),
    (re.compile(r"Nothing to change: it is so already\."), ("unchanged",)),
    (re.compile(r"The change to (?P<thread>.+) was saved\."), ("linked", "relinked", "unlinked")),
    (re.compile(r"Linked (?P<thread>.+) to (?P<new>.+)\."), ("linked",)),
    (re.compile(r"Replaced (?P<old>.+) with (?P<new>.+)\."), ("relinked",)),
    (re.compile(r"Removed the link to (?P<old>.+)\."), ("unlinked",)),
    (re.compile(r"Already linked to (?P<now>.+)\. Nothing was changed\."), ("unchanged",)),
)


def is_done(flash: str, outcome: str, thread: Thread, change: Change | None) -> bool:
    """Return whether a sentence is what a write with this outcome has to be answered with."""
    true = {
        "thread": thread.identifier,
        "now": thread.link.identifier if thread.link else None,
        "new": change.new.identifier if change and change.new else None,
        "old": change.previous.identifier if change and change.previous else None,
    }
    for pattern, outcomes in _DONE:
        if found := pattern.fullmatch(flash):
            named = {name: re.sub(r"\s", "", said) for name, said in found.groupdict().items()}
            return outcome in outcomes and all(said == shown(true[name]) for name, said in named.items())
    return False


def sought(term: str) -> str:
    """Return what a search looks for: without separators, and without a leading + or 00."""
    if re.search("[A-Za-z]", term):
        return term.strip()
    return re.sub(r"^(?:\+|00)", "", re.sub(r"[ ./()-]", "", term))


def shown(identifier: str | None) -> str:
    """Return an identifier as a page shows it, without the spaces between groups."""
    if identifier and identifier.isdigit() and len(identifier) >= 8:
        return f"+{identifier}"
    return identifier or ""


def plain(text: str | None) -> str:
    """Return a text as it reads on a page: white space is one space."""
    return " ".join((text or "").split())


def previewed(message: Message, author: str) -> str:
    """Return a message as the last of a conversation reads in a list; `author` is the instructor's name."""
    body = plain(message.body)
    if message.author == WHATSAPP:
        return f"WhatsApp: {body}"
    is_text = message.kind == "text" and body
    words = body if is_text else " · ".join(filter(None, (KINDS[message.kind], body)))
    return f"{author}: {words}" if message.author == INSTRUCTOR else words


def changed(change: Change) -> tuple[str, ...]:
    """Return the identifiers that a line of the history names, in its order."""
    named: tuple[Customer | None, ...] = (change.previous, change.new)
    return tuple(shown(item.identifier) for item in named if item)


def by_newest(instructor: Instructor, term: str = "") -> list[Thread]:
    """Return an instructor's conversations with this in their identifier, newest message first."""
    term = sought(term)
    found = [thread for thread in instructor.threads.values() if term.lower() in thread.identifier.lower()]
    return sorted(found, key=lambda item: item.newest, reverse=True)


def is_shown_as(thread: Thread, told: str) -> bool:
    """Return whether a list may show a conversation's identifier like this."""
    head, _, tail = told.partition("…")
    true = shown(thread.identifier)
    return true.startswith(head) and true.endswith(tail) if tail else true == told


def around(messages: Sequence[Message], expected: Message, at: datetime) -> list[Message]:
    """Return the messages of the second at which a message is said to be sent."""
    if expected.sent_at != at:
        return []
    place = messages.index(expected)
    near = messages[max(0, place - 12) : place + 13]
    return [item for item in near if item.sent_at == at]


def says_it(told: MessageSaid, message: Message) -> bool:
    """Return whether a bubble shows this message."""
    kind = "" if message.kind == "text" and message.body else KINDS.get(message.kind, "")
    is_kind = message.author == WHATSAPP or told.kind == kind
    return told.side == SIDES[message.author] and told.body == plain(message.body) and is_kind
