"""The floor: a WSGI function with the raw driver and string formatting, and nothing else.

It shows the same fifty rows with last message and state, as two answers: the list, then the badges. It knows
no session, no permission, no other page, and escapes nothing but text.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from console.identifiers import normalize_identifier

_LIST = """
SELECT c.id, c.customer_identifier, c.last_message_at, substr(m.body, 1, 160)
FROM (SELECT id, customer_identifier, last_message_at FROM conversations WHERE instructor_id = ?
      AND (last_message_at, id) < (?, ?) ORDER BY last_message_at DESC, id DESC LIMIT 50) c
LEFT JOIN messages m ON m.id = (
  SELECT id FROM messages WHERE conversation_id = c.id ORDER BY sent_at DESC, id DESC LIMIT 1)
ORDER BY c.last_message_at DESC, c.id DESC
"""
_SUBJECTS = """
SELECT c.id, instructor_id, customer_identifier, customer_id FROM json_each(?) k
CROSS JOIN conversations c ON c.id = k.value
"""
_CUSTOMERS = """
SELECT k.value FROM json_each(?) k CROSS JOIN customers ON instructor_id = ? AND channel = 'whatsapp'
AND normalized_identifier = k.value
"""
_ROW = '<li id="row-%s"><a href="/conversations/%s">%s</a><span>%s</span><time>%s</time></li>\n'
_BADGE = '<span class="badge" id="badge-%s" data-state="%s">%s</span>\n'
_PAGE = "<!DOCTYPE html><html><head><title>Conversations</title></head><body><ul>\n%s</ul></body></html>"
_LABELS = {"known": "Known customer", "new": "New customer", "unlinked": "Unlinked"}

StartResponse = Callable[[str, list[tuple[str, str]]], object]


def application(database: Path) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    """Return the WSGI function on an SQLite file."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        query = parse_qs(environ["QUERY_STRING"])
        if environ["PATH_INFO"] == "/badges":
            body = _badges(connection, query["id"])
        else:
            body = _list(connection, [query[name][0] for name in ("instructor", "moment", "id")])
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [body.encode()]

    return answer


def _list(connection: sqlite3.Connection, asked: list[str]) -> str:
    rows = connection.execute(_LIST, asked)
    return _PAGE % "".join(
        _ROW % (id_, id_, escape(identifier or ""), escape(body or ""), moment)
        for id_, identifier, moment, body in rows
    )


def _badges(connection: sqlite3.Connection, ids: list[str]) -> str:
    subjects = {row[0]: row for row in connection.execute(_SUBJECTS, [json.dumps(ids)])}
    keys = {
        id_: normalize_identifier(identifier or "")
        for id_, _, identifier, linked in subjects.values()
        if not linked
    }
    instructor_id = next(iter(subjects.values()))[1]
    matched = connection.execute(_CUSTOMERS, [json.dumps(list(keys.values())), instructor_id])
    known = {identifier for (identifier,) in matched}
    states = {id_: ("new" if keys[id_] in known else "unlinked") if id_ in keys else "known" for id_ in ids}
    return "".join(_BADGE % (id_, state, _LABELS[state]) for id_, state in states.items())
