"""What pooled connections send to PostgreSQL: no question without a doubt, and statements together."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask

from console.database import command_scope, engines, send_along, writing
from testkit.databases import on_postgresql
from testkit.factories import Desk
from testkit.postgres import Cluster

pytestmark = on_postgresql


@contextmanager
def traced(path: Path) -> Iterator[list[str]]:
    """Collect what the one pooled connection for writing sends; after "Sync" it waits for an answer."""
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
    for line in path.read_text().splitlines():
        _time, *message = line.split("\t")
        if message[0] == "F" and message[2] in ("Query", "Parse", "Execute", "Sync"):
            sent.append(message[3].strip(' "').split(";")[0] if message[2] == "Query" else message[2])


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


def test_a_link_waits_for_five_answers(anna: Desk, tmp_path: Path):
    customer_id = anna.customer("393330000000")
    conversation_ids = [anna.conversation(f"39333123456{number}") for number in range(7)]
    *some, last = conversation_ids
    for conversation_id in some:  # what was sent five times is prepared
        anna.link(conversation_id, customer_id, instructor_id=anna.instructor_id)
    with traced(tmp_path / "trace") as sent:
        anna.link(last, customer_id, instructor_id=anna.instructor_id)
    state, write, event = ["Execute"], ["Execute"] * 2, ["Execute"] * 3
    assert sent == ["BEGIN", *state, "Sync", *write, "Sync", *event, "Sync", "COMMIT"]


def test_a_commit_leaves_out_no_statement_that_was_to_be_sent_along(app: Flask):
    with pytest.raises(RuntimeError, match="none came"), writing(command_scope()) as connection:
        send_along(connection, "SELECT ?", ("1",))
    write(1)
