"""Migrations of a PostgreSQL in use: stopped half-way at any point, beside others, blocking none."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import URL, Connection, create_engine, text

from benchmarks import migrations as benchmark
from console.config import Settings
from migrations.online import ADVISORY_LOCK
from testkit import killed
from testkit.databases import execute, on_postgresql, rows
from testkit.postgres import Cluster
from tests.test_migrations import (
    REVISIONS,
    ROWS,
    downgrade,
    dump,
    empty,
    empty_settings,
    flask,
    test_models_equal_head,
)

__all__ = ["empty", "empty_settings"]

pytestmark = on_postgresql

KILLED = -signal.SIGKILL
A_WRITE = "UPDATE customers SET channel = channel"
"""Where its transaction stays open, an index on customers isn't finished."""


def killed_at_each_statement(settings: Settings, direction: str, revision: str) -> Iterator[int]:
    """Migrate again and again, each time killed one statement later, until it comes to its end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["testkit.killed"])
    for survives in range(100):
        process = context.Process(target=killed.migrate, args=(settings, direction, revision, survives))
        process.start()
        process.join()
        if process.exitcode == 0:
            return
        assert process.exitcode == KILLED
        yield survives
    pytest.fail("it never came to its end")


@pytest.mark.parametrize("way_on", ["up", "down"])
@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("step", range(1, len(REVISIONS)))
def test_a_step_killed_at_any_statement_can_be_gone_on_with_or_taken_back(
    empty: Flask, empty_settings: Settings, step: int, direction: str, way_on: str
):
    below, above = REVISIONS[step - 1 : step + 1]
    for revision in REVISIONS[:step]:
        upgrade(revision=revision)
        execute(*ROWS[revision])
    before = dump()
    upgrade(revision=above)
    after = dump()
    downgrade(revision=below)

    kills = 0
    if direction == "down":
        upgrade(revision=above)
    for _ in killed_at_each_statement(empty_settings, direction, above if direction == "up" else below):
        kills += 1
        if way_on == "up":
            upgrade(revision=above)
            assert dump() == after
        else:
            downgrade()
            assert dump() == before
        if direction != way_on:
            continue
        # Back to where the next one begins.
        (downgrade if direction == "up" else upgrade)(revision=below if direction == "up" else above)
    assert kills


def test_the_first_step_killed_at_any_statement_can_be_run_again(empty: Flask, empty_settings: Settings):
    for _ in killed_at_each_statement(empty_settings, "up", REVISIONS[0]):
        upgrade()
        test_models_equal_head(empty)
        downgrade(revision="base")
    for _ in killed_at_each_statement(empty_settings, "down", "base"):
        upgrade()
        test_models_equal_head(empty)


@contextmanager
def in_use(url: URL, statement: str) -> Iterator[Connection]:
    """Leave a transaction open in which a statement was run."""
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.execute(text(statement))
        yield connection
    engine.dispose()


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def test_an_index_left_by_a_killed_build_is_replaced(empty: Flask, empty_settings: Settings):
    url = empty_settings.database_url
    upgrade(revision="0002_customers")
    execute(*ROWS["0001_inbox"])
    building = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE % CONCURRENTLY%' AND pid <> "
    building += "pg_backend_pid() AND datname = current_database()"
    with in_use(url, A_WRITE):
        process = flask(empty_settings, "db", "upgrade")
        wait_until(lambda: rows(building) == [(1,)])
        process.kill()
        process.communicate()
        # The server notices that the client is gone, and stops building.
        wait_until(lambda: rows(building) == [(0,)])
    assert rows("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(1,)]
    upgrade()
    assert rows("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    test_models_equal_head(empty)


def test_a_second_upgrade_waits_while_an_index_is_built(empty: Flask, empty_settings: Settings):
    upgrade(revision="0002_customers")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE %' AND wait_event_type = 'Lock'"
    with in_use(empty_settings.database_url, A_WRITE):
        both = [flask(empty_settings, "db", "upgrade") for _ in range(2)]
        wait_until(lambda: rows(waiting) == [(1,)])
        time.sleep(1.5)  # as long as the second one would need to get in the first one's way
        assert [process.poll() for process in both] == [None, None]
    assert [process.communicate() and process.returncode for process in both] == [0, 0]
    test_models_equal_head(empty)


def test_no_statement_queues_behind_a_migration_that_waits(
    empty: Flask, empty_settings: Settings, cluster: Cluster
):
    upgrade(revision="0003_conversation_link")
    execute(*ROWS["0001_inbox"])
    read = "SELECT count(*) FROM conversations"
    longest = 0.0
    with ThreadPoolExecutor() as pool, in_use(empty_settings.database_url, read) as reader:
        migration = pool.submit(flask(empty_settings, "db", "upgrade").communicate)
        wait_until(lambda: rows("SELECT to_regclass('audit_events')::text") == [("audit_events",)])
        until = time.monotonic() + 4
        with cluster.connect(empty_settings.database_url.database or "") as writer:
            while time.monotonic() < until:
                started = time.monotonic()
                writer.execute("UPDATE conversations SET updated_at = now()")
                longest = max(longest, time.monotonic() - started)
                time.sleep(0.005)
        assert not migration.done()  # the reader keeps it from its next lock all the time
        reader.rollback()
        migration.result(timeout=30)
    assert longest < 2  # seconds; behind a migration that doesn't let go it would be the 4 s
    test_models_equal_head(empty)


def test_a_foreign_key_that_had_to_wait_is_added_in_the_end(empty: Flask, empty_settings: Settings):
    upgrade(revision="0010_session_epoch")
    execute(
        *ROWS["0001_inbox"],
        # So that nothing but the foreign key waits for the writer.
        "CREATE UNIQUE INDEX pk_conversations_next ON conversations (id, instructor_id)",
        "CREATE INDEX ix_messages_newest ON messages (conversation_id, sent_at, id, instructor_id)",
        "DROP INDEX ix_messages_thread",
    )
    with in_use(empty_settings.database_url, "UPDATE messages SET body = body") as writer:
        process = flask(empty_settings, "db", "upgrade")
        assert process.stderr
        while "Waiting for a moment" not in process.stderr.readline():
            assert process.poll() is None
        writer.rollback()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    test_models_equal_head(empty)


def test_every_message_that_comes_during_migrations_is_stored(engine: str):
    keys = benchmark.KEYS[:1]
    steps, _ = benchmark.measure(conversations=20_000, rate=100, rest=1, say=lambda _: None, keys=keys)
    assert [step.failed for step in steps] == [0] * len(steps)
    assert all(step.payloads for step in steps)


def test_a_lock_that_no_migration_holds_is_named_in_one_line(
    empty: Flask, empty_settings: Settings, cluster: Cluster
):
    with cluster.connect(str(empty_settings.database_url.database), "console_read") as reader:
        reader.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})".encode())
        done = flask(empty_settings, "db", "upgrade")
        _, said = done.communicate(timeout=60)
        assert done.returncode == 1
        line = said.strip().splitlines()[-1]
        assert f"process {reader.info.backend_pid} (console_read) holds the lock of migrations" in line
        assert "Traceback" not in said
    upgrade()
    test_models_equal_head(empty)
