"""Changes a payload as JSON: a value put elsewhere, taken out, doubled, or made another type's."""

import json
import random
from typing import Any

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1e308, 10**18, "", "0", "x", "messages", "\0", "\ud800", [], {}, [[]]),
    *("1790000000", 1790000000, "253370764800", "text", "edit", "image", "IT.1", "393331234567", "y" * 256),
)
_KEYS = (
    *(
        "entry",
        "changes",
        "value",
        "field",
        "messages",
        "statuses",
        "contacts",
        "metadata",
        "phone_number_id",
    ),
    *("from", "id", "type", "timestamp", "text", "body", "caption", "image", "edit", "message", "group_id"),
    *("user_id", "from_user_id", "wa_id", "button", "interactive", "button_reply", "list_reply", "title"),
)


def mutate(data: bytes, seed: int) -> bytes | None:
    """Return a payload with one thing in it changed; None if it is not JSON."""
    chance = random.Random(seed)
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        return None
    holders = [item for item in _holders(whole) if item]
    if not holders:
        return None
    holder = chance.choice(holders)
    place = chance.choice(list(holder)) if isinstance(holder, dict) else chance.randrange(len(holder))
    change = chance.randrange(5)
    if change == 0:
        del holder[place]
    elif change == 1:
        holder[place] = chance.choice(_VALUES)
    elif change == 2:
        holder[place] = [holder[place], holder[place]]
    elif isinstance(holder, dict):
        holder[chance.choice(_KEYS)] = holder[place] if change == 3 else chance.choice(_VALUES)
    else:
        holder.append(holder[place] if change == 3 else chance.choice(_VALUES))
    return json.dumps(whole).encode()


def _holders(value: Any) -> list[Any]:
    found, open_ = [], [value]
    while open_:
        given = open_.pop()
        if isinstance(given, dict | list):
            found.append(given)
            open_ += given.values() if isinstance(given, dict) else given
    return found
