"""How moments, identifiers and kinds of message read to a person. Decides nothing."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import groupby
from urllib.parse import urlencode

from flask import Flask

from console.conversations.queries import ConversationHead, ConversationRow, MessageRow
from console.database import now, write_id
from console.identifiers import groups

LONGEST_IDENTIFIER = 20

_KINDS = {
    "audio": "Audio",
    "button": "Reply",
    "contacts": "Contact card",
    "document": "Document",
    "edit": "Edited message",
    "image": "Photo",
    "interactive": "Reply",
    "location": "Location",
    "order": "Order",
    "reaction": "Reaction",
    "revoke": "Deleted message",
    "sticker": "Sticker",
    "system": "System message",
    "unsupported": "Unsupported message",
    "video": "Video",
    "voice": "Voice message",
}
_CHANNELS = {"whatsapp": "WhatsApp"}
# strftime would take a fifth of a list's time.
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def init_app(app: Flask) -> None:
    """Give the templates these filters."""
    filters = (
        query,
        kind_name,
        channel_name,
        identifier_groups,
        short_identifier,
        ago,
        moment,
        date,
        day,
        by_day,
        isoformat,
        ids,
    )
    app.jinja_env.filters.update({one.__name__: one for one in filters})


def kind_name(kind: str) -> str:
    """Name a kind of message; one we have no name for is shown as it is called."""
    return _KINDS.get(kind, kind.capitalize())


def channel_name(channel: str) -> str:
    """Name a channel."""
    return _CHANNELS.get(channel, channel)


def identifier_groups(identifier: str) -> tuple[str, ...]:
    """Split an identifier for the eye; copied, the parts are one again."""
    return groups(identifier)


def short_identifier(identifier: str) -> tuple[str, ...]:
    """Split an identifier for the eye, a long one cut in the middle."""
    shown = groups(identifier)
    if sum(map(len, shown)) > LONGEST_IDENTIFIER:
        return (f"{identifier[:13]}…{identifier[-4:]}",)
    return shown


def ago(then: datetime, at: datetime | None = None) -> str:
    """Say how long ago, as short as a list allows: 2 min, 3 h, yesterday, Sat, 3 Nov, 3 Nov 2025."""
    today = at or now()
    days = today.toordinal() - then.toordinal()
    if days < 7:
        seconds = (today - then).total_seconds()
        if 0 <= seconds < 60:
            return "now"
        if 0 <= seconds < 3600:
            return f"{int(seconds / 60)} min"
        if days == 0 and seconds > 0:
            return f"{int(seconds / 3600)} h"
        if days == 1:
            return "yesterday"
        if days > 1:
            return _WEEKDAYS[then.weekday()]
    return f"{then.day} {_MONTHS[then.month]}" if then.year == today.year else date(then)


def moment(then: datetime) -> str:
    """Say exactly when: 24 Nov 2026, 09:14 UTC."""
    return f"{date(then)}, {then.hour:02}:{then.minute:02} UTC"


def date(then: datetime) -> str:
    """Say on which day: 24 Nov 2026."""
    return f"{then.day} {_MONTHS[then.month]} {then.year}"


def day(then: datetime, at: datetime | None = None) -> str:
    """Name a day: Tuesday 24 November, with the year unless it is this one."""
    named = f"{then:%A} {then.day} {then:%B}"
    return named if then.year == (at or now()).year else f"{named} {then.year}"


def by_day(messages: list[MessageRow]) -> list[tuple[datetime, list[MessageRow]]]:
    """Put messages, newest first, into days, oldest first."""
    days = groupby(reversed(messages), key=lambda message: message.sent_at.astimezone(UTC).date())
    return [(sent[0].sent_at, sent) for sent in (list(group) for _, group in days)]


def query(fields: Mapping[str, object]) -> str:
    """Write the fields that say something as an address's query, with its question mark."""
    said = urlencode({name: value for name, value in fields.items() if value is not None})
    return f"?{said}" if said else ""


def ids(conversations: Iterable[ConversationRow | ConversationHead]) -> str:
    """Write the ids of conversations as an address's query, without its question mark."""
    return "id=" + "&id=".join([write_id(one.id) for one in conversations])


def isoformat(then: datetime) -> str:
    """Write a moment of UTC for machines."""
    return f"{then.isoformat()[:19]}Z"
