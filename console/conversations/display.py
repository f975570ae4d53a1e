"""How moments, identifiers and kinds of message read to a person. Decides nothing."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import cache, lru_cache
from itertools import groupby
from typing import NamedTuple
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

from flask import Flask
from markupsafe import Markup, escape

from console.conversations.queries import ConversationHead, ConversationRow, MessageRow
from console.database import now
from console.identifiers import groups, split_country_code
from console.text import is_visible

_MAX_UNCUT = 16
"""Characters of an ungrouped identifier that a list shows whole; of a longer one it may hide the middle."""
_TAIL = 6

# A web address in a message, without the punctuation that ends the sentence around it.
_ADDRESS = re.compile(r"(https?://[^\s<>\"]*[^\s<>\"'.,:;!?)\]}»”’])", re.IGNORECASE)

_UNRESERVED = re.compile("[A-Za-z0-9._~-]*")

_KINDS = {
    "audio": "Audio",
    "button": "Reply",
    "contacts": "Contact card",
    "document": "Document",
    "edit": "Edited a message",
    "image": "Photo",
    "location": "Location",
    "order": "Order",
    "reaction": "Reaction",
    "request_welcome": "Opened the chat",
    "revoke": "Deleted a message",
    "sticker": "Sticker",
    "system": "System message",
    "text": "No visible text",
    "unsupported": "Unsupported message",
    "video": "Video",
    "voice": "Voice message",
}
_CHANNELS = {"whatsapp": "WhatsApp"}
# strftime takes more than twice as long as these names.
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def init_app(app: Flask, zone: ZoneInfo) -> None:
    """Give the templates these filters, and the name of the zone that they show moments in."""
    clock = Clock(zone)
    app.jinja_env.globals["now"] = now
    of_identifiers = (identifier_groups, listed_identifier, short_identifier, ids)
    of_messages = (channel_name, kind_name, seen, with_links)
    of_moments = (isoformat, clock.listed, clock.moment, clock.dated, clock.time, clock.day, clock.by_day)
    for shown in (query, *of_identifiers, *of_messages, *of_moments):
        app.jinja_env.filters[shown.__name__] = shown
    app.jinja_env.globals["time_zone"] = zone.key


def kind_name(kind: str) -> str:
    """Name a kind of message; a kind without a name here is shown as it is.

    A text is named only where there is nothing of it to read.
    """
    return _KINDS.get(kind, kind.capitalize())


def preview(row: ConversationRow, author: str) -> tuple[str | None, str | None, str]:
    """Return a last message's author unless that is the customer, its kind unless it is a text, and its text.

    `author` is who the instructor's messages are shown to be by.
    """
    if row.kind is None:
        return None, None, "No messages"
    if row.kind == "system":
        return channel_name(row.channel), None, row.body or kind_name(row.kind)
    by = author if row.direction == "outbound" else None
    said = seen(row.body)
    return by, None if row.kind == "text" and said else kind_name(row.kind), said


def seen(body: str | None) -> str:
    """Return a message's text; nothing where no character of it can be seen."""
    return body if body and is_visible(body) else ""


def channel_name(channel: str) -> str:
    """Name a channel."""
    return _CHANNELS.get(channel, channel)


def identifier_groups(identifier: str) -> tuple[str, ...]:
    """Split a phone number as its country writes it, and everything else as `groups` does.

    For display only: the library's answers change between releases, so nothing may be decided from them.
    """
    country_code, national = split_country_code(identifier) or ("", "")
    for number in _formats(country_code) if national else ():
        if found := number.match(national):
            parts = found.groups()
            if "".join(parts) == national:
                return (f"+{country_code}", *parts)
            break
    return groups(identifier)


@cache
def _formats(country_code: str) -> list[re.Pattern[str]]:
    """Return a country's kinds of number as patterns, whose groups are those of its international format.

    The library's own format_number looks all of this up for each number, which takes several times as long.
    """
    # Slow to import, and most commands show no number.
    from phonenumbers import PhoneMetadata, region_code_for_country_code

    code = int(country_code)
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region_code_for_country_code(code))
    formats = (metadata.intl_number_format or metadata.number_format) if metadata else []
    return [
        re.compile(f"(?={(each.leading_digits_pattern or [''])[-1]})(?:{each.pattern})\\Z")
        for each in formats
        if each.pattern and each.format
    ]


def listed_identifier(identifier: str | None) -> tuple[Sequence[str], bool]:
    """Split an identifier for a list, and say whether its first part may be cut.

    A long identifier that is no number is split before its last characters, which stay visible, because they
    differ most. An empty tuple stands for no identifier.
    """
    if not (identifier or "").strip():
        return (), False
    parts = identifier_groups(str(identifier))
    if len(parts) == 1 and len(parts[0]) > _MAX_UNCUT:
        return (parts[0][:-_TAIL], parts[0][-_TAIL:]), True
    return parts, False


def with_links(body: str) -> Markup:
    """Escape a message, and make its web addresses (http and https only) links that send no referrer."""
    link = Markup('<a href="{0}" rel="noopener noreferrer nofollow" target="_blank">{0}</a>')
    return Markup().join(
        link.format(part) if place % 2 else escape(part) for place, part in enumerate(_ADDRESS.split(body))
    )


def short_identifier(identifier: str) -> str:
    """Cut a long identifier in the middle, where nothing but text can be shown."""
    return f"{identifier[:12]}…{identifier[-_TAIL:]}" if len(identifier) > 24 else identifier


class Listed(NamedTuple):
    """A conversation as a list shows it, ready for the template."""

    id: str
    parts: Sequence[str]
    """The identifier's, see `listed_identifier`."""
    cut: bool
    by: str | None
    """Who wrote the last message, unless it was the customer."""
    kind: str | None
    """The last message's kind, unless it is a text."""
    said: str
    ago: str
    moment: str
    iso: str


class Clock:
    """Says moments and days in one time zone; its public methods are filters."""

    def __init__(self, zone: tzinfo) -> None:
        self.zone = zone

    def local(self, then: datetime) -> datetime:
        """Return a moment in this zone: every moment that a page shows passes here."""
        return then.astimezone(self.zone)

    def listed(self, rows: Iterable[ConversationRow], author: str) -> Iterator[Listed]:
        """Prepare the rows of a list; `author` is who the instructor's messages are by."""
        at = now()
        today = self.local(at)
        for row in rows:
            parts, cut = listed_identifier(row.customer_identifier)
            by, kind, said = preview(row, author)
            there = self.local(row.last_message_at)
            since = ago((at - row.last_message_at).total_seconds(), there, today)
            moment = f"{_date(there)}, {_time(there)}"
            yield Listed(row.id, parts, cut, by, kind, said, since, moment, isoformat(row.last_message_at))

    def moment(self, then: datetime) -> str:
        """Say exactly when: 24 Nov 2026, 09:14."""
        there = self.local(then)
        return f"{_date(there)}, {_time(there)}"

    def dated(self, then: datetime) -> tuple[str, str, str]:
        """Say a moment for machines, exactly, and its day alone, for a `time` element."""
        there = self.local(then)
        date = _date(there)
        return isoformat(then), f"{date}, {_time(there)}", date

    def time(self, then: datetime) -> str:
        """Say at what time of the day: 09:14, with the offset in an hour that the clocks repeat."""
        return _time(self.local(then))

    def day(self, then: datetime, at: datetime | None = None) -> str:
        """Name a day: Tuesday 24 November, with the year unless it is this one."""
        there = self.local(then)
        named = f"{there:%A} {there.day} {there:%B}"
        return named if there.year == self.local(at or now()).year else f"{named} {there.year}"

    def by_day(self, messages: Sequence[MessageRow]) -> list[tuple[datetime, list[MessageRow]]]:
        """Put messages, newest first, into days, oldest first, each with a moment of its day."""
        days = groupby(reversed(messages), key=lambda message: self.local(message.sent_at).date())
        return [(sent[0].sent_at, sent) for sent in (list(group) for _, group in days)]


def ago(seconds: float, there: datetime, today: datetime) -> str:
    """Say how long ago, as short as a list allows: 2 min, 3 h, yesterday, Sat, 3 Nov, 3 Nov 2025."""
    days = today.toordinal() - there.toordinal()
    if days < 7:
        if 0 <= seconds < 60:
            return "now"
        if 0 <= seconds < 3600:
            return f"{int(seconds / 60)} min"
        if days == 0 and seconds > 0:
            return f"{int(seconds / 3600)} h"
        if days == 1:
            return "yesterday"
        if days > 1:
            return _WEEKDAYS[there.weekday()]
    return f"{there.day} {_MONTHS[there.month]}" if there.year == today.year else _date(there)


def _date(there: datetime) -> str:
    return f"{there.day} {_MONTHS[there.month]} {there.year}"


def _time(there: datetime) -> str:
    shown = f"{there.hour:02}:{there.minute:02}"
    if not _clocks_change(there.tzinfo, there.toordinal()):
        return shown
    if there.utcoffset() == there.replace(fold=1 - there.fold).utcoffset():
        return shown
    offset = f"{there:%z}"
    return f"{shown} (UTC{offset[:3]}:{offset[3:5]})"


@lru_cache(maxsize=1024)
def _clocks_change(zone: tzinfo | None, day: int) -> bool:
    """Say whether the clocks are changed on a day, so that an hour of it may come twice."""
    start = datetime.fromordinal(day).replace(tzinfo=zone)
    return start.utcoffset() != start.replace(hour=23, minute=59, second=59, fold=1).utcoffset()


def query(fields: Mapping[str, object]) -> str:
    """Write the fields that are not None as an address's query, with its question mark."""
    said = [f"{name}={_quoted(str(value))}" for name, value in fields.items() if value is not None]
    return f"?{'&'.join(said)}" if said else ""


def _quoted(text: str) -> str:
    # Most values are ids and cursors, which are written as they are.
    return text if _UNRESERVED.fullmatch(text) else quote_plus(text)


def ids(conversations: Iterable[ConversationRow | ConversationHead]) -> str:
    """Write the ids of conversations as an address's query, without its question mark."""
    return "id=" + "&id=".join([str(shown.id) for shown in conversations])


def isoformat(then: datetime) -> str:
    """Write a moment of UTC for machines."""
    return f"{then.date().isoformat()}T{then.time().isoformat('seconds')}Z"
