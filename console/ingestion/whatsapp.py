"""Reads webhook payloads of the WhatsApp Cloud API. Pure and total: any bytes give a list of items."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn

MAX_NAME_CHARACTERS = 255
"""The limit for an identifier, a message id or a kind. WhatsApp sends less; an index takes more."""

_UNKNOWN_KIND = "unknown"
NOT_JSON = "not JSON"
"""Why a payload that cannot be read is rejected."""

IGNORED_FIELDS = {
    "account_alerts",  # limits, profile photo and official status of the business's own numbers
    "account_review_update",  # the outcome of Meta's review of the business account
    "account_settings_update",  # settings of the business's own numbers
    "account_update",  # state, violations, partners and prices of the business account
    "business_capability_update",  # how many messages and numbers the business account may have
    "flows",  # state and error rates of the business's own forms
    "message_template_components_update",  # the text of the business's own templates
    "message_template_quality_update",  # the quality score of the business's own templates
    "message_template_status_update",  # the approval of the business's own templates
    "partner_solutions",  # state of an agreement between the business's providers
    "payment_configuration_update",  # state of the business's own payment configuration
    "phone_number_name_update",  # the approval of the business's own display name
    "phone_number_quality_update",  # the throughput of the business's own numbers
    "security",  # changes of the PIN of the business's own numbers
    "template_category_update",  # the category of the business's own templates
}
"""The fields known to carry no message and no statement about a person.

Every field that is neither ignored nor read is kept whole.
"""

_END_OF_TIME = 253370764800  # the first second of 9999
_NO_DIGITS = re.compile(r"[^0-9]")
_EPOCH_SECONDS = re.compile(r"[0-9]{1,12}")
# NUL and lone surrogates, which JSON can spell and a database can't keep.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")

_BODY_PATHS: dict[str, tuple[tuple[str, ...], ...]] = {
    "text": (("text", "body"),),
    "button": (("button", "text"),),
    "interactive": (("interactive", "button_reply", "title"), ("interactive", "list_reply", "title")),
    "system": (("system", "body"),),
    **{media: ((media, "caption"),) for media in ("image", "video", "document", "audio", "voice", "sticker")},
}

_MESSAGE_LISTS = ("messages", "message_echoes")
# By field that is read: the lists in its value.
_LISTS = {
    "messages": ("statuses", "messages"),
    "standby": ("statuses", *_MESSAGE_LISTS),
    "smb_message_echoes": ("statuses", *_MESSAGE_LISTS),
}

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """One message, as it is to be stored in the conversation with `identifier`.

    `direction` is `outbound` for what the instructor wrote. A message of the kind `system` is WhatsApp's own
    statement about the identifier, and inbound.
    """

    phone_number_id: str
    identifier: str
    external_id: str
    kind: str
    body: str | None
    sent_at: datetime
    direction: str = "inbound"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something that is or may be a message, and why it can't be stored. The reason quotes nothing.

    The account is that of the change that it was in, if the change names one.
    """

    reason: str
    phone_number_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something known to be no message: a status, a change of an ignored field, an empty payload."""


Item = IncomingMessage | Rejection | Ignored


class _Unstorable(Exception):
    """A message can't be stored; the text is the reason."""


def parse(raw: bytes) -> list[Item]:
    """Read one payload: one item at least, in the order sent. What isn't understood is a Rejection."""
    try:
        payload = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return [Rejection(NOT_JSON)]
    if not isinstance(payload, dict):
        return [Rejection("not a JSON object")]
    return list(_level(payload, "entry", lambda entry: _level(entry, "changes", _change))) or [Ignored()]


def _refuse(_constant: str) -> NoReturn:
    raise ValueError


def _level(holder: JsonObject, key: str, read: Callable[[JsonObject], Iterator[Item]]) -> Iterator[Item]:
    yield from _each(holder, key, read)
    if _is_unexpected(holder, key):
        yield Rejection("unexpected part of a payload")


def _is_unexpected(holder: JsonObject, *known: str) -> bool:
    """Return whether there is a list or an object in an unknown place: it may hold messages."""
    return any(part and isinstance(part, dict | list) for key, part in holder.items() if key not in known)


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
    if _is_unexpected(change, "value"):
        yield Rejection("unexpected part of a change")
    if not isinstance(field, str):
        yield Rejection("no field in a change")
    elif field in IGNORED_FIELDS:
        yield Rejection("unexpected messages") if _holds_messages(value) else Ignored()
    elif field not in _LISTS:
        yield Rejection("field not read")
    elif not isinstance(value, dict):
        yield Rejection("no value in a change")
    else:
        yield from _value(field, value)


def _holds_messages(value: object) -> bool:
    parts = [value]
    for part in parts:  # the list grows meanwhile
        if isinstance(part, dict):
            if any(part.get(key) for key in _MESSAGE_LISTS):
                return True
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return False


def _value(field: str, value: JsonObject) -> Iterator[Item]:
    nested = value.get("standby")
    if field == "standby" and isinstance(nested, dict) and not nested.keys() & value.keys():
        value = {**value, **nested, "standby": None}
    lists, contacts = _LISTS[field], value.get("contacts")
    read = partial(_message, value.get("metadata"), contacts)
    found: list[Item] = []
    for key in lists:
        if value.get(key) is not None:
            is_echo = key == "message_echoes" or field == "smb_message_echoes"
            found += _each(value, key, _status if key == "statuses" else partial(read, is_echo=is_echo))
    if _is_unexpected(value, "metadata", "errors", "contacts", *lists):
        found.append(Rejection("unexpected part of a change"))
    metadata = value.get("metadata")
    account = metadata.get("phone_number_id") if isinstance(metadata, dict) else None
    for item in found or [Rejection("contacts without messages") if contacts else Ignored()]:
        yield (
            replace(item, phone_number_id=account)
            if isinstance(item, Rejection) and isinstance(account, str) and not _UNSTORABLE.search(account)
            else item
        )


def _status(_: JsonObject) -> Iterator[Item]:
    yield Ignored()


def _message(metadata: object, contacts: object, message: JsonObject, *, is_echo: bool) -> Iterator[Item]:
    if is_echo and isinstance(message.get("message"), dict):
        # In standby an echo holds the request that sent it.
        message = {**message["message"], **message}
    try:
        if _name(message, "group_id") or message.get("recipient_type") == "group":
            raise _Unstorable("group message")
        kind = _name(message, "type") or _UNKNOWN_KIND
        is_echo = is_echo or _is_from_account(message, metadata)
        yield IncomingMessage(
            phone_number_id=_required(_name(metadata, "phone_number_id"), "phone_number_id"),
            identifier=_recipient(message) if is_echo else _identifier(message, kind, contacts),
            external_id=_required(_name(message, "id"), "message id"),
            kind=kind,
            body=_body(message, kind),
            sent_at=_sent_at(message.get("timestamp")),
            direction="outbound" if is_echo else "inbound",
        )
    except _Unstorable as reason:
        yield Rejection(str(reason))


def _is_from_account(message: JsonObject, metadata: object) -> bool:
    """Return whether the account's own number wrote a message: then it is the instructor's."""
    own = _digits(metadata.get("display_phone_number")) if isinstance(metadata, dict) else None
    return own is not None and own == _digits(message.get("from"))


def _digits(number: object) -> str | None:
    """Return a phone number's digits; None for anything else, a user id among them."""
    text = str(number) if isinstance(number, str | int) else ""
    return None if any(map(str.isalpha, text)) else _NO_DIGITS.sub("", text) or None


def _recipient(message: JsonObject) -> str:
    """Return whom an echo is to: a number as `from` writes it, in digits alone, or a user id."""
    recipients = (_name(message, key) for key in ("to", "to_user_id", "recipient"))
    recipient = _required(next(filter(None, recipients), None), "recipient")
    return _digits(recipient) or recipient


def _identifier(message: JsonObject, kind: str, contacts: object) -> str:
    if kind == "system":
        return _required(_previous_identifier(message), "identifier")
    user_id = _name(message, "from_user_id") or _name(message, "user_id")
    if sender := _name(message, "from"):
        return sender
    contact = _contact(contacts, user_id)
    return _required(_name(contact, "wa_id") or user_id or _name(contact, "user_id"), "identifier")


def _contact(contacts: object, user_id: str | None) -> JsonObject | None:
    """Return the sender's contact: the one with this user id, or an only one that names no other user."""
    known = [each for each in contacts if isinstance(each, dict)] if isinstance(contacts, list) else []
    named = [each for each in known if user_id is not None and each.get("user_id") == user_id]
    # Of several contacts none is picked by its place: no customer is better than the wrong customer.
    only = known[0] if len(known) == 1 else None
    return named[-1] if named else only if user_id is None or _name(only, "user_id") is None else None


def _previous_identifier(message: JsonObject) -> str | None:
    """Return the identifier that WhatsApp speaks of, never the one that it says is new."""
    system = _follow(message, ("system",))
    new = {_name(system, "wa_id"), _name(system, "user_id"), None}
    named = (_name(message, "from"), _name(system, "previous_user_id"))
    return next((identifier for identifier in named if identifier not in new), None)


def _name(holder: object, key: str) -> str | None:
    """Return the text under `key`, None where there is none; raise _Unstorable for what no column takes."""
    value = holder.get(key) if isinstance(holder, dict) else None
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > MAX_NAME_CHARACTERS or _UNSTORABLE.search(value):
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
