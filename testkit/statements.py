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

    def note(*call: Any) -> None:
        seen.append(call[2])

    engines = list(db.engines.values())
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


def without_control(statements: Iterable[str]) -> list[str]:
    """Leave out what only begins a transaction and says for whom."""
    return [statement for statement in statements if not statement.startswith(("BEGIN", "SET LOCAL"))]


PARTITIONS = (
    "SELECT child.relname, parent.relname FROM pg_inherits"
    " JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent"
)
"""Reads each partition, and each index of a partition, with the table or index that it is a part of."""
