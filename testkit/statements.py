"""What SQL the console sends; read by the benchmark too, which has no pytest."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from console.database import db


@contextmanager
def statements() -> Iterator[list[str]]:
    """Note every statement that reaches any of the app's databases, in order."""
    seen: list[str] = []

    def note(_connection: object, cursor: Any, statement: str, *_rest: object) -> None:
        sent_along = getattr(cursor.connection, "unsent", ())
        seen.extend([*(each.decode() for _, each, _ in sent_along), statement])

    engines = list(db.engines.values())
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


def without_control(statements: Iterable[str]) -> list[str]:
    """Leave out what only begins a transaction or a savepoint, and says for whom and how long."""
    control = ("BEGIN", "SAVEPOINT", "SET LOCAL")
    return [statement for statement in statements if not statement.startswith(control)]


PARTITIONS = (
    "SELECT child.relname, parent.relname FROM pg_inherits"
    " JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent"
)
"""Reads each partition, and each index of a partition, with the table or index that it is a part of."""
