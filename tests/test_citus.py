"""An instructor moved from one worker of Citus to another while messages come and people link."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from threading import Event
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError

from console.config import Settings
from console.database import new_id
from console.ingestion.service import NotStored, ingest_payload
from console.linking.service import LinkChanged, LinkOutcome
from console.models import Customer
from testkit.citus import Coordinator
from testkit.databases import POSTGRESQL, back_door, rows
from testkit.factories import Desk, heal, link_state, payload, run
from verification.faults.checker import check
from verification.faults.history import Answer, Call
from verification.faults.test_races import history

pytestmark = pytest.mark.citus

MOVES = 4


@pytest.fixture
def engine() -> str:
    """Run on the one engine that Citus distributes."""
    return POSTGRESQL


@pytest.fixture
def moved(cluster: Coordinator, settings: Settings, anna: Desk) -> Iterator[Event]:
    """Move the instructor to and fro; the event is set once that is done."""
    over = Event()

    def move() -> None:
        try:
            for _ in range(MOVES):
                cluster.move(settings.database_url, anna.instructor_id)
        finally:
            over.set()

    with ThreadPoolExecutor(1) as pool:
        moving = pool.submit(move)
        yield over
        moving.result()


def test_nothing_is_lost_and_links_are_linearizable(
    app: Flask, cli: FlaskCliRunner, anna: Desk, moved: Event
):
    conversation_ids = [anna.conversation(f"39333{number:07}") for number in range(10)]
    customer_id = new_id()
    with back_door() as connection:
        connection.execute(
            insert(Customer).values(
                id=customer_id,
                instructor_id=anna.instructor_id,
                channel="whatsapp",
                normalized_identifier="393350000000",
                created_at=datetime.now(UTC),
            )
        )

    def bring(sender: int) -> int:
        stored = 0
        with app.app_context():
            while not moved.is_set():
                line = payload(anna.phone_number_id, f"39334{sender:07}", external_id=f"wamid.{uuid4().hex}")
                try:
                    stored += ingest_payload(line.encode()).stored
                except NotStored:
                    continue
        return stored

    def work(conversation_id: UUID) -> list[Call]:
        calls = []
        with app.app_context():
            while not moved.is_set():
                seen, operation, start = link_state(conversation_id).link_version, uuid4(), time.monotonic()
                change = partial(anna.unlink if seen % 2 else anna.link, conversation_id)
                wanted = {} if seen % 2 else {"customer_id": customer_id}
                try:
                    outcome = change(**wanted, seen_version=seen, operation_id=operation, reason="a call")
                    answer = Answer.UNCHANGED if outcome == LinkOutcome.UNCHANGED else Answer.DONE
                except LinkChanged:
                    answer = Answer.STALE
                except DBAPIError:
                    answer = Answer.UNAVAILABLE
                calls.append(
                    Call(
                        conversation=str(conversation_id),
                        operation=str(operation),
                        actor=str(anna.operator.id),
                        reason="a call",
                        wanted=None if seen % 2 else str(customer_id),
                        seen=seen,
                        start=start,
                        end=time.monotonic(),
                        answer=answer,
                    )
                )
        return calls

    with ThreadPoolExecutor(4 + 2 * len(conversation_ids)) as pool:
        brought = pool.map(bring, range(4))
        calls = list(chain.from_iterable(pool.map(work, 2 * conversation_ids)))
        stored = sum(brought)
    heal()
    assert rows("SELECT count(*) FROM messages") == [(stored + len(conversation_ids),)]
    assert check(history(calls)) == []
    assert {Answer.DONE, Answer.STALE} <= {call.answer for call in calls}
    assert run(cli, "audit", "verify")
