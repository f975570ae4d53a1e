"""How SQLite gets other constraints on a table: it builds the table anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.operations.base import BatchOperations

_TRIGGERS = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid"


@contextmanager
def rebuilt(table: str, **table_options: Any) -> Iterator[BatchOperations]:
    """Build an SQLite table anew with the changes made meanwhile.

    Triggers are dropped before and made again from their own text afterwards: those of the table would go
    with it, and those of other tables that name it would stop the change.
    """
    triggers = op.get_bind().execute(sa.text(_TRIGGERS)).all()
    for name, _ in triggers:
        op.execute(f"DROP TRIGGER {name}")
    with op.batch_alter_table(table, recreate="always", table_kwargs=table_options) as changes:
        yield changes
    for _, statement in triggers:
        op.execute(sa.text(statement.replace(":", "\\:")))
