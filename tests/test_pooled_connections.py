"""Pooled connections to PostgreSQL: asked whether they still work only where that is in doubt."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask

from console.database import command_scope, engines, writing
from testkit.databases import on_postgresql
from testkit.postgres import Cluster

pytestmark = on_postgresql


@contextmanager
def traced(path: Path) -> Iterator[list[str]]:
    """Collect what the one pooled connection for writing sends to its server."""
    sent: list[str] = []
    with writing(command_scope()) as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, engines.PostgresConnection)
    with path.open("wb") as trace:
        driver.pgconn.trace(trace.fileno())
        try:
            yield sent
        finally:
            driver.pgconn.untrace()
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    sent += [line[4].strip(' "').split(";")[0] for line in lines if line[1:2] == ["F"] and line[3] == "Query"]


def write(times: int) -> None:
    for _ in range(times):
        with writing(command_scope()):
            pass


def test_a_connection_in_steady_use_is_sent_the_transaction_alone(app: Flask, tmp_path: Path):
    with traced(tmp_path / "trace") as sent:
        write(3)
    assert sent == ["BEGIN", "COMMIT"] * 3


def test_a_connection_that_has_rested_is_asked_first(app: Flask, tmp_path: Path):
    with traced(tmp_path / "trace") as sent:
        time.sleep(engines._TRUSTED_SECONDS + 0.1)
        write(1)
    assert len(sent) == 3
    assert sent[1:] == ["BEGIN", "COMMIT"]


@pytest.mark.parametrize("seconds", [0, 0.1])
def test_a_connection_that_the_server_has_closed_is_replaced(app: Flask, cluster: Cluster, seconds: float):
    write(1)
    cluster.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname IS NOT NULL"
        " AND pid <> pg_backend_pid()"
    )
    time.sleep(seconds)
    write(2)
