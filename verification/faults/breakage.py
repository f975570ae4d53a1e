"""The ways in which the audit can be broken, really, and how each is repaired."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from testkit.databases import POSTGRESQL, SQLITE, around_each_event
from verification.faults.databases import Database

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


def sql(breaks: str, *repairs: str) -> Break:
    """Break by statements, separated by ;; and repair by others."""

    @contextmanager
    def broken(database: Database) -> Iterator[None]:
        database.execute(*breaks.split(";;"))
        yield
        database.execute(*repairs)

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


def around_the_event(before: str, after: str = "") -> Break:
    """Run statements on the writing connection itself: before each INSERT of an event, and after it."""

    @contextmanager
    def broken(_database: Database) -> Iterator[None]:
        with around_each_event(
            lambda driver: driver.execute(before), lambda driver: after and driver.execute(after)
        ):
            yield

    return broken


def locked(lock: str) -> Break:
    """Let another connection hold a lock meanwhile."""

    @contextmanager
    def broken(database: Database) -> Iterator[None]:
        with database.connect() as other:
            for statement in ("BEGIN", lock):
                other.execute(statement)
            yield
            other.execute("ROLLBACK")

    return broken


@contextmanager
def page_limit(database: Database) -> Iterator[None]:
    """Leave the database file no page to grow by, and let an event need many."""
    filling = "INSERT INTO ballast VALUES (zeroblob(1000000))"
    database.execute("CREATE TABLE ballast (content)")
    pages = database.rows("PRAGMA page_count")[0][0]
    limited = around_the_event(f"PRAGMA max_page_count = {pages + 20}", "PRAGMA max_page_count = 1073741823")
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
_COUNTER = "INSERT INTO audit_counter SELECT 1, count(*) FROM audit_events"
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
    "disk full": page_limit,
    "slow by seconds": trigger(_SPIN),
    "counter gone": sql(
        "DELETE FROM audit_counter", "INSERT INTO audit_counter SELECT 1, count(*) FROM audit_events"
    ),
    "read-only": around_the_event("PRAGMA query_only = ON", "PRAGMA query_only = OFF"),
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
    "table locked": locked("LOCK TABLE audit_events"),
    "counter locked": locked("SELECT FROM audit_counter FOR UPDATE"),
    "counter gone": sql(
        "DELETE FROM audit_counter", "INSERT INTO audit_counter SELECT 1, count(*) FROM audit_events"
    ),
    "disk full": function("RAISE EXCEPTION USING ERRCODE = 'disk_full'"),
    "deadlocked": function("RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'"),
    "slow by seconds": function("PERFORM pg_sleep(5)"),
    "connection cut in the middle": function("PERFORM pg_terminate_backend(pg_backend_pid())"),
    "read-only": around_the_event("SET LOCAL transaction_read_only = on"),
    "positions used up": sql(
        "UPDATE audit_counter SET position = 9223372036854775807",
        "UPDATE audit_counter SET position = (SELECT count(*) FROM audit_events)",
    ),
}
WAYS = [
    *(Way(SQLITE, name, broken) for name, broken in _ON_SQLITE.items()),
    *(Way(POSTGRESQL, name, broken) for name, broken in _ON_POSTGRESQL.items()),
]
