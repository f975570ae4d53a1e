"""Takes a kept payload apart: one person's parts, and the rest."""

import json
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any

from console.person.identity import Person

# Who sent a message, and who gets it.
_PARTIES = ("from", "from_user_id", "user_id", "to", "to_user_id", "recipient")
# Keys under which digits are no person's number: the account's own number, and moments.
_NO_IDENTIFIERS = ("metadata", "time", "timestamp")
_NOTHING = object()


def take_apart(payload: str, person: Person, elsewhere: Container[str]) -> tuple[list[Any], str | None]:
    """Return the parts of a kept payload that are a person's, and the payload without them.

    The rest is None where nothing of anyone else's is left. `elsewhere` has other instructors' accounts,
    whose messages are never this person's. A payload that can't be read can't be taken apart: where it names
    the person all of it is theirs, and its one part is None, because it may hold others' messages as well.
    """
    parts = _Parts(person, elsewhere)
    try:
        rest = parts.split(json.loads(payload))
    except (ValueError, RecursionError):
        return ([None], None) if person.is_named_in(payload) else ([], payload)
    if not parts.theirs:
        return [], payload
    return parts.theirs, None if rest is _NOTHING else json.dumps(rest)


@dataclass
class _Parts:
    person: Person
    elsewhere: Container[str]
    theirs: list[Any] = field(default_factory=list)

    def split(self, value: Any, aliases: frozenset[str] = frozenset()) -> Any:
        """Move what is the person's to `theirs`; return the rest, _NOTHING where none is left.

        `aliases` has what else the person is called in this part of the payload.
        """
        if isinstance(value, list):
            items = [rest for item in value if (rest := self.split(item, aliases)) is not _NOTHING]
            return items if items or not value else _NOTHING
        if self._is_theirs(value, aliases):
            self.theirs.append(value)
            return _NOTHING
        if not isinstance(value, dict) or self._is_elsewhere(value) or _is_message(value):
            return value
        aliases |= self._aliases(value.get("contacts"))
        members = {
            key: member if key in _NO_IDENTIFIERS else self.split(member, aliases)
            for key, member in value.items()
        }
        rest = {key: member for key, member in members.items() if member is not _NOTHING}
        return rest if len(rest) == len(members) or _holds_items(rest) else _NOTHING

    def _is_elsewhere(self, value: dict[str, Any]) -> bool:
        metadata = value.get("metadata")
        return isinstance(metadata, dict) and str(metadata.get("phone_number_id")) in self.elsewhere

    def _is_theirs(self, value: Any, aliases: frozenset[str]) -> bool:
        if isinstance(value, dict) and _is_message(value):
            parties = _parties(value)
            if parties or not isinstance(value.get("system"), dict):
                return any(self.person.has(party) or party in aliases for party in parties or [""])
            value = value["system"]  # its text names them
        return any(map(self.person.is_named_in, self._texts(value)))

    def _texts(self, value: Any) -> Iterator[str]:
        """Give the texts in a value, except those in its lists."""
        if isinstance(value, str | int):
            yield str(value)
        elif isinstance(value, dict) and not self._is_elsewhere(value):
            for key, member in value.items():
                if key not in _NO_IDENTIFIERS:
                    yield key
                    yield from self._texts(member)

    def _aliases(self, contacts: Any) -> frozenset[str]:
        """Return what the contacts call the person, and "" where theirs is the only contact.

        A message that names no one belongs to the only contact.
        """
        if not isinstance(contacts, list):
            return frozenset()
        known = [item for item in contacts if isinstance(item, dict) and self._is_theirs(item, frozenset())]
        names = {str(item[key]) for item in known for key in ("wa_id", "user_id") if item.get(key)}
        return frozenset(names | ({""} if known and len(contacts) == 1 else set()))


def _is_message(value: dict[str, Any]) -> bool:
    return {"type", "timestamp"} <= value.keys() or not value.keys().isdisjoint(("from", "to"))


def _parties(message: dict[str, Any]) -> list[str]:
    request = message.get("message")  # in standby an echo holds the request that sent it
    named = {**(request if isinstance(request, dict) else {}), **message}
    return [str(named[key]) for key in _PARTIES if named.get(key)]


def _holds_items(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_items, value.values()))
    return isinstance(value, list) and bool(value)
