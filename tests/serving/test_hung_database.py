"""A PostgreSQL that is stopped by a signal: the console says so, and goes on when the server does."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import text
from sqlalchemy.exc import InternalError, OperationalError

from console.config import Settings
from console.database import command_scope, db, engines, writing
from testkit.databases import back_door, on_postgresql
from testkit.factories import desk, link_state
from testkit.pages import Browser
from testkit.postgres import Cluster
from tests.serving.server import Visitor, serve

pytestmark = on_postgresql


@contextlib.contextmanager
def stopped(cluster: Cluster) -> Iterator[None]:
    """Stop the server and each of its processes, new ones too, by a signal."""
    assert cluster.process
    pid = cluster.process.pid

    def tell(what: signal.Signals) -> None:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, what)

    tell(signal.SIGSTOP)
    try:
        yield
    finally:
        tell(signal.SIGCONT)


def seconds_for(url: str, path: str, status: int) -> float:
    """Return how long an answer takes."""
    begun = time.monotonic()
    with Visitor(url) as visitor:
        assert visitor.get(path).status_code == status, path
    return time.monotonic() - begun


def test_health_and_metrics_wait_for_no_database_and_pages_come_back_with_it(
    app: Flask, cli: FlaskCliRunner, settings: Settings, cluster: Cluster, tmp_path: Path
):
    anna = desk(cli)
    with (
        serve(settings, tmp_path, extra={"WEB_CONCURRENCY": "1"}) as console,
        Visitor(console.url) as visitor,
        ThreadPoolExecutor(40) as pool,
    ):
        visitor.sign_in(anna.operator.email, anna.operator.password)
        assert visitor.get("/conversations").status_code == 200
        seconds_for(console.url, "/readyz", 200)
        with stopped(cluster):
            asked = [pool.submit(visitor.get, "/conversations") for _ in range(16)]
            time.sleep(0.5)
            assert seconds_for(console.url, "/healthz", 200) < 1
            assert seconds_for(console.url, "/metrics", 200) < 1.5
            with Visitor(console.url) as another:
                assert 'console_database_usable{database="write"} 0.0' in another.get("/metrics").text
            begun = time.monotonic()
            assert {one.result().status_code for one in asked} == {503}
            # In two rounds, as there are eight threads; the second finds that no connection can be made.
            assert time.monotonic() - begun < 2 * engines.MAX_PING_SECONDS + 15
            waiting = [pool.submit(seconds_for, console.url, "/readyz", 503) for _ in range(4)]
            assert max(answer.result() for answer in waiting) < 2
        begun = time.monotonic()
        while visitor.get("/readyz").status_code != 200:
            assert time.monotonic() - begun < engines.MAX_ANSWER_SECONDS + 5
            time.sleep(0.2)
        assert visitor.get("/conversations").status_code == 200


def test_many_readiness_requests_block_neither_each_other_nor_pages(
    app: Flask, settings: Settings, tmp_path: Path
):
    with (
        serve(settings, tmp_path, extra={"WEB_CONCURRENCY": "1"}) as console,
        ThreadPoolExecutor(18) as pool,
        back_door() as connection,
    ):
        connection.execute(text("LOCK TABLE conversations"))
        waiting = [pool.submit(seconds_for, console.url, "/readyz", 503) for _ in range(18)]
        time.sleep(0.3)
        assert seconds_for(console.url, "/healthz", 200) < 1
        assert seconds_for(console.url, "/metrics", 200) < 1.5
        # In three rounds, as there are eight threads: two seconds, and a half for a busy machine.
        assert max(asked.result() for asked in waiting) < 2.5


def test_a_write_does_not_wait_long_to_learn_that_its_connection_is_dead(
    app: Flask, settings: Settings, cluster: Cluster
):
    scope = command_scope()
    with app.test_request_context():
        with writing(scope):
            pass
        begun = time.monotonic()
        with stopped(cluster), pytest.raises(OperationalError), writing(scope):
            pass
        connecting = engines._options(settings, settings.database_url)["connect_args"]["connect_timeout"]
        assert time.monotonic() - begun < engines.MAX_PING_SECONDS + connecting + 4
        with writing(scope) as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, engines.PostgresConnection)
            assert driver.patience == engines.MAX_ANSWER_SECONDS


def test_a_read_only_moment_ends_when_it_is_over(
    app: Flask, client: Browser, cli: FlaskCliRunner, settings: Settings, cluster: Cluster
):
    anna = desk(cli)
    conversation_id = anna.conversation("393331234567")
    name = settings.database_url.database
    cluster.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    db.engine.dispose()
    for _ in range(2):
        with pytest.raises(InternalError):
            anna.link(conversation_id)
    cluster.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    anna.link(conversation_id)
    assert link_state(conversation_id).link_version == 1


def test_a_request_has_limits_and_a_command_has_none(app: Flask):
    scope = command_scope()

    def limit() -> object:
        with writing(scope) as connection:
            return connection.exec_driver_sql("SHOW statement_timeout").scalar()

    assert limit() == "0"
    with app.test_request_context():
        assert limit() == "20s"


def test_every_connection_has_limits_of_its_own_unless_its_address_names_others(app: Flask):
    for engine in db.engines.values():
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver
            told = driver.info.get_parameters()
        assert (told["tcp_user_timeout"], told["keepalives_idle"]) == ("15000", "10")
        assert told["connect_timeout"] in ("2", "5")


def test_an_address_may_name_other_limits(settings: Settings):
    url = settings.database_url.update_query_dict({"connect_timeout": "9", "tcp_user_timeout": "3000"})
    options = engines._options(settings, url)
    assert options["connect_args"].keys() == {"keepalives_idle", "keepalives_interval", "keepalives_count"}


def test_every_role_has_a_limit_for_its_statements(app: Flask):
    with db.engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'console_%%'"
            " AND array_to_string(rolconfig, ' ') LIKE '%%statement_timeout=%%'"
        )
        assert set(found.scalars()) == {"console_link", "console_read", "console_ingest", "console_migrate"}
