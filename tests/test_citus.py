"""An instructor moved from one worker of Citus to another while messages come and people link."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from console.config import Settings
from console.ingestion.service import NotStored, ingest_payload
from console.linking import service
from testkit.citus import Coordinator
from testkit.databases import POSTGRESQL, rows
from testkit.factories import Desk, link_state, payload, run

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


def test_nothing_is_lost_and_links_stay_in_order(app: Flask, cli: FlaskCliRunner, anna: Desk, moved: Event):
    conversation_ids = [anna.conversation(f"39333{number:07}") for number in range(10)]
    customer_id = anna.customer("393350000000")
    there = len(conversation_ids) + 1

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

    def link(conversation_id: UUID) -> int:
        written = 0
        with app.app_context():
            while not moved.is_set():
                version = link_state(conversation_id).link_version
                try:
                    if version % 2:
                        anna.unlink(conversation_id, seen_version=version)
                    else:
                        anna.link(conversation_id, customer_id, seen_version=version)
                except service.LinkError:
                    continue
                written += 1
        return written

    with ThreadPoolExecutor() as pool:
        brought = pool.map(bring, range(4))
        written = list(pool.map(link, conversation_ids))
        stored = sum(brought)
    assert rows("SELECT count(*) FROM messages") == [(stored + there,)]
    assert [link_state(item).link_version for item in conversation_ids] == written
    assert run(cli, "audit", "verify")
