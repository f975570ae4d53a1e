"""Reads webhook payloads of the WhatsApp Cloud API. Pure and total: bytes in, what they hold out."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn

LONGEST_NAME = 255
"""Characters in an identifier, a message id, a kind: over what WhatsApp sends, under what an index takes."""

UNKNOWN_KIND = "unknown"
NOT_JSON = "not JSON"

_END_OF_TIME = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())
_EPOCH_SECONDS = re.compile(r"[0-9]{1,12}")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
"""NUL and lone surrogates, which JSON can spell and a database can't keep."""

_BODY_PATHS: dict[str, tuple[tuple[str, ...], ...]] = {
    "text": (("text", "body"),),
    "button": (("button", "text"),),
    "interactive": (("interactive", "button_reply", "title"), ("interactive", "list_reply", "title")),
    **{media: ((media, "caption"),) for media in ("image", "video", "document", "audio", "voice", "sticker")},
}

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """One message from a customer, as it is to be stored."""

    phone_number_id: str
    identifier: str
    external_id: str
    kind: str
    body: str | None
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something that is or may be a message, and why it can't be stored. The reason quotes nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something known to be no message: a status, a change of another field, an empty payload."""


Item = IncomingMessage | Rejection | Ignored


class _Unstorable(Exception):
    """A message can't be stored; the text is the reason."""


class _Contacts:
    """The people a change tells of, to find who sent a message that has no number."""

    def __init__(self, contacts: object) -> None:
        known = [one for one in contacts if isinstance(one, dict)] if isinstance(contacts, list) else []
        self._by_user_id = {one["user_id"]: one for one in known if isinstance(one.get("user_id"), str)}
        # Of several contacts none is picked by its place: no customer is better than the wrong customer.
        self._only = known[0] if len(known) == 1 else None

    def of(self, user_id: str | None) -> JsonObject | None:
        """Return the sender's contact; an only contact is it, unless the two name different users."""
        if user_id in self._by_user_id:
            return self._by_user_id[user_id]
        return self._only if user_id is None or _name(self._only, "user_id") is None else None


def parse(raw: bytes) -> list[Item]:
    """Read one payload: one item at least, in the order sent. What isn't understood is a Rejection."""
    try:
        payload = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return [Rejection(NOT_JSON)]
    if not isinstance(payload, dict):
        return [Rejection("not a JSON object")]
    return list(_each(payload, "entry", lambda entry: _each(entry, "changes", _change))) or [Ignored()]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _each(holder: JsonObject, key: str, read: Callable[[JsonObject], Iterator[Item]]) -> Iterator[Item]:
    """Read every object in the list under `key`; what isn't an object is rejected, the others still read."""
    members = holder.get(key)
    if not isinstance(members, list):
        yield Rejection(f"no list of {key}")
        return
    for member in members:
        if isinstance(member, dict):
            yield from read(member)
        else:
            yield Rejection(f"not an object in {key}")


def _change(change: JsonObject) -> Iterator[Item]:
    field, value = change.get("field", "messages"), change.get("value")
    if not isinstance(field, str):
        yield Rejection("no field in a change")
    elif field != "messages":
        yield Ignored()
    elif not isinstance(value, dict):
        yield Rejection("no value in a change")
    else:
        yield from _messages_change(value)


def _messages_change(value: JsonObject) -> Iterator[Item]:
    messages, statuses = value.get("messages"), value.get("statuses")
    if messages is None and statuses is None:
        yield Ignored()
    if isinstance(statuses, list):
        yield from (Ignored() for _ in statuses)
    elif statuses is not None:
        yield Rejection("no list of statuses")
    if messages is not None:
        read = partial(_message, value.get("metadata"), _Contacts(value.get("contacts")))
        yield from _each(value, "messages", read)


def _message(metadata: object, contacts: _Contacts, message: JsonObject) -> Iterator[Item]:
    try:
        if _name(message, "group_id"):
            raise _Unstorable("group message")
        kind = _name(message, "type") or UNKNOWN_KIND
        yield IncomingMessage(
            phone_number_id=_required(_name(metadata, "phone_number_id"), "phone_number_id"),
            identifier=_required(_identifier(message, contacts), "identifier"),
            external_id=_required(_name(message, "id"), "message id"),
            kind=kind,
            body=_body(message, kind),
            sent_at=_sent_at(message.get("timestamp")),
        )
    except _Unstorable as reason:
        yield Rejection(str(reason))


def _identifier(message: JsonObject, contacts: _Contacts) -> str | None:
    if sender := _name(message, "from"):
        return sender
    user_id = _name(message, "from_user_id") or _name(message, "user_id")
    contact = contacts.of(user_id)
    return _name(contact, "wa_id") or user_id or _name(contact, "user_id")


def _name(holder: object, key: str) -> str | None:
    """Return the text under `key`, None where there is none; raise _Unstorable for what no column takes."""
    value = holder.get(key) if isinstance(holder, dict) else None
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > LONGEST_NAME or _UNSTORABLE.search(value):
        raise _Unstorable(f"bad {key}")
    return value


def _required(value: str | None, what: str) -> str:
    if value is None:
        raise _Unstorable(f"no {what}")
    return value


def _sent_at(timestamp: object) -> datetime:
    if isinstance(timestamp, str) and _EPOCH_SECONDS.fullmatch(timestamp):
        timestamp = int(timestamp)
    if type(timestamp) is not int or not 0 < timestamp < _END_OF_TIME:
        raise _Unstorable("bad timestamp")
    return datetime.fromtimestamp(timestamp, UTC)


def _body(message: JsonObject, kind: str | None) -> str | None:
    """Return the text that the person wrote or chose; what no database keeps in it becomes U+FFFD."""
    if kind == "edit":
        message = _follow(message, ("edit", "message"))
        kind = _name(message, "type")
    for *path, last in _BODY_PATHS.get(kind or "", ()):
        body = _follow(message, path).get(last)
        if isinstance(body, str):
            return _UNSTORABLE.sub("\ufffd", body)
        if body is not None:
            raise _Unstorable(f"bad {last}")
    return None


def _follow(holder: JsonObject, path: Iterable[str]) -> JsonObject:
    """Return the object at the end of `path`, an empty one where the path ends early."""
    for key in path:
        holder = holder.get(key, {})
        if not isinstance(holder, dict):
            raise _Unstorable(f"bad {key}")
    return holder
