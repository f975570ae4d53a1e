"""How SQLite gets other constraints on a table: it builds the table anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.operations.base import BatchOperations

_INDEXES = (
    "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = :name"
    " ORDER BY rowid"
)
_TRIGGERS = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid"


@contextmanager
def rebuilt(table: str, **table_options: Any) -> Iterator[BatchOperations]:
    """Build an SQLite table anew with the changes made meanwhile.

    Triggers are dropped before and made again from their own text afterwards: those of the table would go
    with it, and those of other tables that name it would stop the change. Indexes are made again in the order
    that they had: Alembic's order differs from run to run, and SQLite chooses between equal indexes by it.
    """
    indexes = op.get_bind().execute(sa.text(_INDEXES), {"name": table}).all()
    triggers = op.get_bind().execute(sa.text(_TRIGGERS)).all()
    for name, _ in triggers:
        op.execute(f"DROP TRIGGER {name}")
    with op.batch_alter_table(table, recreate="always", table_kwargs=table_options) as changes:
        yield changes
    for name, statement in indexes:
        op.execute(f"DROP INDEX {name}")
        op.execute(sa.text(statement.replace(":", "\\:")))
    for _, statement in triggers:
        op.execute(sa.text(statement.replace(":", "\\:")))
