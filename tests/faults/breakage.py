"""The ways in which the audit can be broken, really, and how each is mended."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event

from console.database import db
from tests.databases import POSTGRESQL, SQLITE, before_each_move
from tests.faults.databases import Database

Break = Callable[[Database], AbstractContextManager[None]]


@dataclass(frozen=True)
class Way:
    """One way, on one engine."""

    engine: str
    name: str
    broken: Break

    @property
    def id(self) -> str:
        """Return what pytest calls it."""
        return f"{self.engine}-{self.name}"


def sql(breaks: str, *mends: str) -> Break:
    """Break by statements, separated by ;; and mend by others."""

    @contextmanager
    def broken(database: Database) -> Iterator[None]:
        database.execute(*breaks.split(";;"))
        yield
        database.execute(*mends)

    return broken


def trigger(body: str) -> Break:
    """Break by a trigger that SQLite runs before each event goes in."""
    made = f"CREATE TRIGGER broken BEFORE INSERT ON audit_events BEGIN {body}; END"
    return sql(made, "DROP TRIGGER broken")


def function(body: str) -> Break:
    """Break by a trigger function that PostgreSQL runs before each event goes in."""
    made = f"CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$"
    hung = "CREATE TRIGGER broken BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION broken()"
    return sql(f"{made};;{hung}", "DROP TRIGGER broken ON audit_events", "DROP FUNCTION broken()")


def around_the_move(before: str, after: str) -> Break:
    """Run statements on the connection itself: before each move that follows a write, and after it."""

    @contextmanager
    def broken(_database: Database) -> Iterator[None]:
        with _between(lambda driver: driver.execute(before), lambda driver: driver.execute(after)):
            yield

    return broken


def locked(lock: str) -> Break:
    """Let somebody else hold a lock from the end of each write to the end of its move."""

    @contextmanager
    def broken(database: Database) -> Iterator[None]:
        with database.connect() as other:

            def take(_driver: Any) -> None:
                for statement in lock.split(";;"):
                    other.execute(statement)

            with _between(take, lambda _driver: other.execute("ROLLBACK")):
                yield

    return broken


@contextmanager
def _between(before: Callable[[Any], object], after: Callable[[Any], object]) -> Iterator[None]:
    """Call `before` when a write is committed and its move about to begin, and `after` when that is over."""

    def ends(driver: Any, _record: object) -> None:
        after(driver)

    event.listen(db.engine, "checkin", ends)
    try:
        with before_each_move(before):
            yield
    finally:
        event.remove(db.engine, "checkin", ends)


@contextmanager
def page_limit(database: Database) -> Iterator[None]:
    """Leave the database file no page to grow by, and let an event need many."""
    filling = "INSERT INTO ballast VALUES (zeroblob(1000000))"
    database.execute("CREATE TABLE ballast (content)")
    pages = database.rows("PRAGMA page_count")[0][0]
    limited = around_the_move(f"PRAGMA max_page_count = {pages + 20}", "PRAGMA max_page_count = 1073741823")
    with trigger(filling)(database), limited(database):
        yield


_SPIN = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) SELECT max(i) FROM n
"""
_MISLAID = ("ALTER TABLE audit_events RENAME TO mislaid", "ALTER TABLE mislaid RENAME TO audit_events")
_RENAMED = (
    "ALTER TABLE audit_events RENAME COLUMN event TO other",
    "ALTER TABLE audit_events RENAME COLUMN other TO event",
)
_COLUMNS = "event_id, conversation_id, instructor_id, sequence, event"

_ON_SQLITE: dict[str, Break] = {
    "table missing": sql(*_MISLAID),
    "column renamed": sql(*_RENAMED),
    "view in its place": sql(
        f"{_MISLAID[0]};;CREATE VIEW audit_events AS SELECT * FROM mislaid",
        "DROP VIEW audit_events",
        _MISLAID[1],
    ),
    "trigger raising": trigger("SELECT RAISE(ABORT, 'no')"),
    "trigger rolling back": trigger("SELECT RAISE(ROLLBACK, 'no')"),
    "trigger ignoring": trigger("SELECT RAISE(IGNORE)"),
    "trigger on a missing table": trigger("INSERT INTO nowhere VALUES (1)"),
    "constraint violated": sql("CREATE UNIQUE INDEX one ON audit_events (instructor_id)", "DROP INDEX one"),
    "locked": locked("BEGIN IMMEDIATE"),
    "disk full": page_limit,
    "slow by seconds": trigger(_SPIN),
    "read-only": around_the_move("PRAGMA query_only = ON", "PRAGMA query_only = OFF"),
}
_ON_POSTGRESQL: dict[str, Break] = {
    "table missing": sql(*_MISLAID),
    "column renamed": sql(*_RENAMED),
    "trigger raising": function("RAISE EXCEPTION 'no'"),
    "trigger ignoring": function("RETURN NULL"),
    "constraint violated": sql("CREATE UNIQUE INDEX one ON audit_events (instructor_id)", "DROP INDEX one"),
    "permission revoked": sql(
        "REVOKE ALL ON audit_events FROM console_link",
        f"GRANT SELECT, INSERT ({_COLUMNS}) ON audit_events TO console_link",
    ),
    "table locked": locked("BEGIN;;LOCK TABLE audit_events"),
    "row locked": locked("BEGIN;;SELECT FROM conversations FOR UPDATE"),
    "disk full": function("RAISE EXCEPTION USING ERRCODE = 'disk_full'"),
    "deadlocked": function("RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'"),
    "slow by seconds": function("PERFORM pg_sleep(5)"),
    "connection cut in the middle": function("PERFORM pg_terminate_backend(pg_backend_pid())"),
    "read-only": function("SET LOCAL transaction_read_only = on"),
    "positions used up": sql(
        "ALTER TABLE audit_events ALTER position SET MAXVALUE 2 RESTART 2;;"
        "SELECT nextval(pg_get_serial_sequence('audit_events', 'position'))",
        "ALTER TABLE audit_events ALTER position SET NO MAXVALUE RESTART 3",
    ),
}
WAYS = [
    *(Way(SQLITE, name, broken) for name, broken in _ON_SQLITE.items()),
    *(Way(POSTGRESQL, name, broken) for name, broken in _ON_POSTGRESQL.items()),
]
