"""WhatsApp, as the world sees it: it batches, repeats, reorders, delays, and sends unknown shapes."""

import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from verification.truth.truth import CUSTOMER, INSTRUCTOR, WHATSAPP, Instructor, Message

SECRET = "the app's secret"

FIELD_OF_LIST = {"messages": "messages", "standby": "standby", "smb_message_echoes": "message_echoes"}


@dataclass(frozen=True, slots=True)
class Sent:
    """A message on its way: how WhatsApp words it, and what is true of it."""

    instructor: Instructor
    identifier: str
    normalized: str | None
    message: Message
    field: str
    wire: dict[str, Any]
    contact: dict[str, Any] | None = None


def customer_message(
    instructor: Instructor,
    message: Message,
    *,
    number: str | None,
    user_id: str | None,
    name: str,
    standby: bool,
) -> Sent:
    """Word what a customer wrote. Without a number the user id names them."""
    wire = (
        _wire(message) | ({"from": number} if number else {}) | ({"from_user_id": user_id} if user_id else {})
    )
    contact: dict[str, Any] = {"profile": {"name": name}}
    contact |= ({"wa_id": number} if number else {}) | ({"user_id": user_id} if user_id else {})
    identifier = number or user_id or ""
    field = "standby" if standby else "messages"
    return Sent(instructor, identifier, _on_record_as(identifier), message, field, wire, contact)


def echo(instructor: Instructor, message: Message, *, to: str, way: str) -> Sent:
    """Word what an instructor wrote: on the phone, in another program, or by an automatic agent."""
    recipient = {"to": to} if to[:1].isdigit() else {"to_user_id": to}
    wire = _wire(message) | {"from": instructor.number} | recipient
    if way == "agent":
        inner = {
            key: part for key, part in wire.items() if key not in ("id", "timestamp", "from", "to_user_id")
        }
        wire = {
            "id": wire["id"],
            "timestamp": wire["timestamp"],
            "message": inner if "to" in inner else inner | {"recipient": to},
        }
    field = {"phone": "smb_message_echoes", "program": "messages", "agent": "standby"}[way]
    return Sent(instructor, to, _on_record_as(to), message, field, wire)


def statement(instructor: Instructor, message: Message, *, old: str, new: str) -> Sent:
    """Word WhatsApp's own statement that a number or user id has changed."""
    is_number = old[:1].isdigit()
    system = {
        "body": message.body,
        "type": "user_changed_number" if is_number else "user_changed_user_id",
        **({"wa_id": new} if is_number else {"user_id": new, "previous_user_id": old}),
    }
    wire = {**_wire(message), "system": system} | ({"from": old} if is_number else {})
    return Sent(instructor, old, _on_record_as(old), message, "messages", wire)


def _on_record_as(identifier: str) -> str | None:
    """Return what an identifier of this world is on record as: it has numbers, user ids, and short codes."""
    return identifier if len(identifier) >= 8 else None


def _wire(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "id": message.external_id,
        "timestamp": str(int(message.sent_at.timestamp())),
        "type": message.kind,
    }
    if message.kind == "text":
        wire["text"] = {"body": message.body}
    elif message.kind == "button":
        wire["button"] = {"text": message.body, "payload": "p"}
    elif message.kind == "interactive":
        wire["interactive"] = {"type": "list_reply", "list_reply": {"id": "r", "title": message.body}}
    elif message.author != WHATSAPP:
        wire[message.kind] = {"id": "3"} | ({"caption": message.body} if message.body is not None else {})
    return wire


def payload(sent: Sequence[Sent], *, noise: Sequence[dict[str, Any]] = ()) -> bytes:
    """Put messages into one payload: a change for each account and field, and the noise."""
    changes: list[dict[str, Any]] = []
    for instructor, field in dict.fromkeys((request.instructor, request.field) for request in sent):
        these = [request for request in sent if (request.instructor, request.field) == (instructor, field)]
        changes += _changes(instructor, field, these)
    entry = {"id": "200000000000001", "changes": [*changes, *noise]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def _changes(instructor: Instructor, field: str, sent: Sequence[Sent]) -> list[dict[str, Any]]:
    around = {
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": f"+{instructor.number[:2]} {instructor.number[2:]}",
            "phone_number_id": instructor.account,
        },
    }
    contacts = [request.contact for request in sent if request.contact]
    if field != "standby":
        held = {FIELD_OF_LIST[field]: [request.wire for request in sent]}
        return [{"field": field, "value": {**around, **({"contacts": contacts} if contacts else {}), **held}}]
    written = [request.wire for request in sent if request.message.author == CUSTOMER]
    echoed = [request.wire for request in sent if request.message.author == INSTRUCTOR]
    parts = [{"contacts": contacts, "messages": written}] if written else []
    parts += [{"message_echoes": echoed}] if echoed else []
    return [{"field": field, "value": {**around, "standby": part}} for part in parts]


def noise(rng: Random, instructor: Instructor, number: int) -> dict[str, Any]:
    """Return a change that holds no message that a page shows: a status, or something kept or ignored."""
    metadata = {"display_phone_number": instructor.number, "phone_number_id": instructor.account}
    stray = {"from": "447700900999", "id": f"wamid.stray.{number}", "timestamp": "1767225600", "type": "text"}
    status = {"id": f"wamid.status.{number}", "status": "read", "timestamp": "1767225600"}
    choices: list[Callable[[], dict[str, Any]]] = [
        lambda: {"field": "messages", "value": {"metadata": metadata, "statuses": [status]}},
        lambda: {"field": "standby", "value": {"metadata": metadata, "standby": {"statuses": [status]}}},
        lambda: {"field": "account_update", "value": {"event": "VERIFIED_ACCOUNT"}},
        lambda: {"field": "history", "value": {"metadata": metadata, "history": [{"threads": [stray]}]}},
        lambda: {"field": f"new_{number}", "value": {"messages": [stray]}},
        lambda: {
            "field": "messages",
            "value": {"metadata": metadata, "messages": [{**stray, "group_id": "g"}]},
        },
        lambda: {
            "field": "messages",
            "value": {"metadata": {**metadata, "phone_number_id": "9"}, "messages": [stray]},
        },
        lambda: {
            "field": "messages",
            "value": {"metadata": metadata, "messages": ["?", stray | {"timestamp": "x"}]},
        },
    ]
    return rng.choice(choices)()


def signature(raw: bytes) -> str:
    """Sign a payload as WhatsApp does."""
    return "sha256=" + hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()
