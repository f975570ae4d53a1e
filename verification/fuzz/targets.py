"""What has to hold for any bytes at all. Each target raises where it doesn't."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from console.identifiers import MAX_TERM, groups, normalize_identifier, search_term
from console.ingestion.whatsapp import MAX_NAME_CHARACTERS, Ignored, IncomingMessage, Rejection, parse
from testkit.identifiers import read_by_character

_PHONE_NUMBER = re.compile(r"[1-9][0-9]{7,14}")
_USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")


def identifiers(data: bytes) -> None:
    """Normalise a text: one of the two kinds or not valid, as the slow reading says, and the same again."""
    raw = data.decode("utf-8", "surrogateescape")
    found = normalize_identifier(raw)
    assert found == read_by_character(raw)
    assert found is None or _PHONE_NUMBER.fullmatch(found) or _USER_ID.fullmatch(found)
    assert found is None or normalize_identifier(found) == found
    assert found is None or "".join(groups(raw)) in (found, f"+{found}", raw)
    assert len(search_term(raw).encode()) <= 4 * MAX_TERM  # which it would not be with a lone surrogate


def payloads(data: bytes) -> None:
    """Read a payload: what is in it is all there, and can be stored."""
    items = parse(data)
    assert items
    assert all(isinstance(item, IncomingMessage | Rejection | Ignored) for item in items)
    accounted = [item for item in items if not isinstance(item, Ignored)]
    assert len(accounted) >= sum(1 for _ in _messages(data))
    for item in accounted:
        if isinstance(item, IncomingMessage):
            _check_storable(item)
        else:
            assert item.reason.isascii()
            assert item.reason.isprintable()


def _check_storable(item: IncomingMessage) -> None:
    for name in (item.phone_number_id, item.identifier, item.external_id, item.kind):
        assert 0 < len(name) <= MAX_NAME_CHARACTERS
    for text in (item.phone_number_id, item.identifier, item.external_id, item.kind, item.body or ""):
        assert "\0" not in text
        text.encode()
    assert datetime(1970, 1, 1, tzinfo=UTC) < item.sent_at < datetime(9999, 1, 1, tzinfo=UTC)


def _messages(data: bytes) -> Iterator[Any]:
    """Yield everything in the place of a message, wherever a payload has one."""
    try:
        payload = json.loads(data.decode("utf-8-sig"), parse_constant=int)  # which refuses NaN
    except (ValueError, RecursionError):
        return
    for entry in _members(payload, "entry"):
        for change in _members(entry, "changes"):
            field = change.get("field", "messages") if isinstance(change, dict) else None
            if field in ("messages", "standby", "smb_message_echoes"):
                yield from _members(change.get("value"), "messages")
            if field in ("standby", "smb_message_echoes"):
                yield from _members(change.get("value"), "message_echoes")


def _members(holder: Any, key: str) -> list[Any]:
    found = holder.get(key) if isinstance(holder, dict) else None
    return found if isinstance(found, list) else []


TARGETS: dict[str, Callable[[bytes], None]] = {"identifiers": identifiers, "payloads": payloads}
