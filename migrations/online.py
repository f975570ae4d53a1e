"""How a revision runs on a PostgreSQL that is in use: no session waits for it, and it can be run again.

Revisions are written in Alembic's plain operations. SQLite runs those as they stand, in one transaction.
For PostgreSQL, `Online` gives each a form that blocks no other session, and each statement a transaction:

- What needs a strong lock gets it within LOCK_WAIT or lets go and tries again, so that sessions behind it
  in the queue go on. Such a statement changes the catalog only, never rows.
- What reads every row (indexes, the validation of constraints) runs under locks that let all others write.
- Each statement passes over what is there already: a revision that was stopped half-way is run again.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from alembic import op
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Constraint,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import AddConstraint

log = logging.getLogger("alembic.runtime.migration")

LOCK_WAIT = "50ms"
"""How long others may wait because a strong lock is waited for."""
MAX_STRONG_LOCK = "2s"
"""What rewrites a table under a strong lock, against its review, is cancelled after this."""
ATTEMPTS = 200
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 2.0
ADVISORY_LOCK = 0x6D696772617465
MAX_WAIT_FOR_OTHERS_SECONDS = 5
"""How long a migration waits for its lock where a role holds it that is neither its own nor a superuser."""
HOLDER = f"""
    SELECT held.pid, role.rolname AS name, rolsuper OR rolname = current_user AS migrates
    FROM pg_locks held JOIN pg_stat_activity USING (pid) JOIN pg_roles role ON role.oid = usesysid
    WHERE locktype = 'advisory' AND granted AND held.database = (
        SELECT oid FROM pg_database WHERE datname = current_database()
    ) AND (classid::bigint << 32 | objid::bigint) = {ADVISORY_LOCK} AND objsubid = 1 LIMIT 1
"""

UP, DOWN = "an upgrade is under way", "a downgrade is under way"


def take_turn(connection: Connection) -> None:
    """Wait until no other migration of this database is under way; hold off others to the session's end.

    Raises CommandError where the lock is held by a role that runs no migrations.
    """
    deadline = time.monotonic() + MAX_WAIT_FOR_OTHERS_SECONDS
    told = None
    # Asked for again and again: a session that waits inside a statement holds a snapshot, for the end of
    # which CREATE INDEX CONCURRENTLY of the migration under way would wait in turn.
    while not connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK})").scalar():
        holder = connection.exec_driver_sql(HOLDER).one_or_none()
        if holder and not holder.migrates and time.monotonic() > deadline:
            raise CommandError(
                f"process {holder.pid} ({holder.name}) holds the lock of migrations and is none: "
                f"end it (SELECT pg_terminate_backend({holder.pid})), find out why, and run this again"
            )
        if holder and holder.migrates and holder.pid != told:
            told = holder.pid
            log.info("Waiting for the migration of process %s (%s)", holder.pid, holder.name)
        time.sleep(0.2)
    # Without this, a statement whose client was killed goes on, and holds that lock, to its end.
    connection.exec_driver_sql("SET client_connection_check_interval = '1s'")
    # An index takes longer with one processor, and leaves the others to those who wait for an answer.
    connection.exec_driver_sql("SET max_parallel_maintenance_workers = 0")


@contextmanager
def resumable(context: MigrationContext, scripts: ScriptDirectory) -> Iterator[None]:
    """Let an upgrade or downgrade be stopped half-way, and the next run go either way from there.

    The step in which it was stopped counts as taken for who goes down, as not taken for who goes up.
    """
    connection = context.connection
    if connection is None or "destination_rev" not in context.opts:
        yield  # a command that only looks
        return
    if not context.get_current_heads():
        context.stamp(scripts, "base")  # makes the table of versions, on which the mark is put
    direction, stopped = _direction(context), _read_mark(connection)
    if stopped and stopped != direction:
        context.stamp(scripts, _neighbour(context, scripts, direction))
    _mark(connection, direction)
    yield
    _mark(connection, None)


def _direction(context: MigrationContext) -> str:
    steps = list(context.opts["fn"](context.get_current_heads(), context))
    return DOWN if steps and steps[0].is_downgrade else UP


def _neighbour(context: MigrationContext, scripts: ScriptDirectory, direction: str) -> str:
    """Return the revision after the current one for who goes down, the one before for who goes up."""
    chain = [*(script.revision for script in scripts.walk_revisions()), "base"][::-1]
    place = chain.index(context.get_current_revision() or "base")
    place += 1 if direction == DOWN else -1
    return chain[max(0, min(place, len(chain) - 1))]


def _read_mark(connection: Connection) -> str | None:
    mark = connection.scalar(text("SELECT obj_description(to_regclass('alembic_version'), 'pg_class')"))
    return str(mark) if mark else None


def _mark(connection: Connection, mark: str | None) -> None:
    value = f"'{mark}'" if mark else "NULL"
    connection.exec_driver_sql(f"COMMENT ON TABLE alembic_version IS {value}")


def analyze(table: str) -> None:
    """Let PostgreSQL count a table whose columns or indexes are new, so that it plans with them at once."""
    if isinstance(impl := op.get_context().impl, Online):
        impl.analyze(table)


def prepare_key(table: str, name: str, columns: list[str]) -> None:
    """Build the index of a key that `swap_key` puts in another's place; PostgreSQL only."""
    if isinstance(impl := op.get_context().impl, Online):
        impl.prepare_key(table, name, columns)


def swap_key(table: str, former: str, name: str, columns: list[str]) -> None:
    """Put the key that was prepared in the place of another in one moment; PostgreSQL only."""
    if isinstance(impl := op.get_context().impl, Online):
        impl.swap_key(table, former, name, columns)


def patiently(statement: str) -> None:
    """Run a statement of PostgreSQL's whose locks block no reader and no link, however long it takes."""
    if isinstance(impl := op.get_context().impl, Online):
        impl.patiently(statement)


class Online(PostgresqlImpl):
    """Alembic's operations on a PostgreSQL that is in use. The connection has to be in autocommit."""

    __dialect__ = "postgresql"
    transactional_ddl = False

    def create_table(self, table: Table, **kw: Any) -> None:
        """Create a table; one that refers to another locks that one, for an instant, against writes."""
        if (there := self._columns(table)) and there != {column.name for column in table.columns}:
            raise CommandError(f"there is a table {table.name} already, and it is another: rename that one")
        self._briefly(lambda: super(Online, self).create_table(table, **{**kw, "if_not_exists": True}))

    def drop_table(self, table: Table, **kw: Any) -> None:
        """Drop a table; those it refers to are locked for an instant."""
        self._briefly(lambda: super(Online, self).drop_table(table, **{**kw, "if_exists": True}))

    def add_column(self, table_name: str, column: Column[Any], **kw: Any) -> None:
        """Add a column, nullable or with a constant default: neither rewrites the table."""
        known = {**kw, "if_not_exists": True}
        self._briefly(lambda: super(Online, self).add_column(table_name, column, **known))

    def drop_column(self, table_name: str, column: Column[Any], **kw: Any) -> None:
        """Drop a column, which leaves its values where they are until rows are written again."""
        self._briefly(
            lambda: super(Online, self).drop_column(table_name, column, **{**kw, "if_exists": True})
        )

    def create_index(self, index: Index, **kw: Any) -> None:
        """Build an index beside the writers; what a stopped attempt left of it goes first."""
        if self._is_invalid(index):
            self.drop_index(index)
        index.dialect_options["postgresql"]["concurrently"] = True
        self._patiently(lambda: super(Online, self).create_index(index, **{**kw, "if_not_exists": True}))

    def drop_index(self, index: Index, **kw: Any) -> None:
        """Drop an index once it is no longer used."""
        index.dialect_options["postgresql"]["concurrently"] = True
        self._patiently(lambda: super(Online, self).drop_index(index, **{**kw, "if_exists": True}))

    def add_constraint(self, const: Any, **kw: Any) -> None:
        """Add a foreign key or a check for new rows at once, then check the old ones beside the writers."""
        if not isinstance(const, ForeignKeyConstraint | CheckConstraint):
            raise CommandError(f"{const.name}: on PostgreSQL, make a unique index in place of the constraint")
        if not self._is_there(const):
            const.dialect_options["postgresql"]["not_valid"] = True
            # Past Alembic, which would pass over the constraint in every attempt but the first.
            self._briefly(lambda: self._exec(AddConstraint(const, isolate_from_table=False)))
        validate = text(f"ALTER TABLE {const.table.name} VALIDATE CONSTRAINT {const.name}")
        self._patiently(lambda: super(Online, self).execute(validate))

    def drop_constraint(self, const: Constraint, **kw: Any) -> None:
        """Drop a constraint; of a foreign key, both tables are locked for an instant."""
        self._briefly(lambda: super(Online, self).drop_constraint(const, **{**kw, "if_exists": True}))

    def prepare_key(self, table: str, name: str, columns: list[str]) -> None:
        """Build a key's index beside the writers, unless the key has these columns already.

        Raises CommandError for a partitioned table, whose keys can't be swapped.
        """
        if self._is_partitioned(table):
            raise CommandError(f"{table} is partitioned: its keys stay as they are (docs/operations.md)")
        if self._key_columns(table, name) != columns:
            over = Table(table, MetaData(), *(Column(column) for column in columns)).columns
            self.create_index(Index(f"{name}_next", *over, unique=True))

    def swap_key(self, table: str, former: str, name: str, columns: list[str]) -> None:
        """Drop a key and make another of the index that was prepared, in one statement."""
        if self._key_columns(table, name) != columns:
            kind = "PRIMARY KEY" if name.startswith("pk_") else "UNIQUE"
            self.execute(
                f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {former},"
                f" ADD CONSTRAINT {name} {kind} USING INDEX {name}_next"
            )
        # What a run that was stopped on its way to the other side had prepared.
        for prepared in {f"{former}_next", f"{name}_next"}:
            self.patiently(f"DROP INDEX CONCURRENTLY IF EXISTS {prepared}")

    def execute(self, sql: Any, execution_options: dict[str, Any] | None = None) -> None:
        """Run one statement, which has to be one that can be run again."""
        self._briefly(lambda: super(Online, self).execute(sql, execution_options))

    def patiently(self, statement: str) -> None:
        """Run one statement, which has to be one that can be run again, without a limit."""
        self._patiently(lambda: super(Online, self).execute(text(statement)))

    def analyze(self, table: str) -> None:
        """Count a table."""
        self._patiently(lambda: super(Online, self).execute(text(f"ANALYZE {table}")))

    def _briefly(self, change: Callable[[], object]) -> None:
        """Make a change under a lock that stops others, at a moment when no other is in the way."""
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(ATTEMPTS):
            try:
                self._set_timeouts(lock=LOCK_WAIT, statement=MAX_STRONG_LOCK)
                change()
                return
            except OperationalError as error:
                if not isinstance(error.orig, LockNotAvailable | DeadlockDetected):
                    raise
            if attempt == 0:
                log.info("Waiting for a moment in which no other transaction is in the way")
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 (no secret)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
        raise CommandError(
            "another transaction kept in the way: find it in pg_stat_activity by its xact_start, end it, and "
            "run this again. What was done before stays"
        )

    def _patiently(self, change: Callable[[], None]) -> None:
        """Make a change under a lock that blocks no other session, however long it waits and takes."""
        self._set_timeouts(lock="0", statement="0")
        change()

    def _set_timeouts(self, *, lock: str, statement: str) -> None:
        self._bound.exec_driver_sql(f"SET lock_timeout = '{lock}'")
        self._bound.exec_driver_sql(f"SET statement_timeout = '{statement}'")

    def _columns(self, table: Table) -> set[str]:
        question = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:name) AND attnum > 0"
        names = self._bound.scalars(text(f"{question} AND NOT attisdropped"), {"name": table.name})
        return {str(name) for name in names}

    def _key_columns(self, table: str, name: str) -> list[str]:
        question = """
            SELECT attname FROM pg_constraint, unnest(conkey) WITH ORDINALITY AS place (attnum, nr)
            JOIN pg_attribute USING (attnum)
            WHERE conrelid = to_regclass(:table) AND attrelid = conrelid AND conname = :name ORDER BY nr
        """
        return [str(column) for column in self._bound.scalars(text(question), {"table": table, "name": name})]

    def _is_partitioned(self, table: str) -> bool:
        question = "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(:table)"
        return bool(self._bound.scalar(text(question), {"table": table}))

    def _is_invalid(self, index: Index) -> bool:
        question = "SELECT true FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid"
        return bool(self._bound.scalar(text(question), {"name": index.name}))

    def _is_there(self, const: Constraint) -> bool:
        question = "SELECT true FROM pg_constraint WHERE conrelid = to_regclass(:table) AND conname = :name"
        names = {"table": const.table.name, "name": const.name}
        return bool(self._bound.scalar(text(question), names))

    @property
    def _bound(self) -> Connection:
        if self.connection is None:
            raise CommandError("a revision needs the database it changes: --sql is not available")
        return self.connection
