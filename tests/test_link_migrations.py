"""Links, versions and the trail come through an upgrade whole, while the release before goes on linking."""

import json
import random
import threading
import time
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from flask import Flask
from flask_migrate import downgrade, upgrade

from console import create_app
from console.config import Settings
from console.database import now
from console.linking.events import Event, EventName
from console.linking.verification import gaps, verify
from testkit.databases import execute, on_postgresql, rows
from testkit.factories import heal
from tests.test_migrations import empty, empty_settings

__all__ = ["empty", "empty_settings"]

BEFORE, AFTER = "0004_audit_events", "0010_session_epoch"
INSTRUCTOR = UUID(int=1)
CONVERSATIONS = [UUID(int=number) for number in range(100, 120)]
"""Each has a customer of the same id."""

PEOPLE = [
    f"INSERT INTO instructors VALUES ('{INSTRUCTOR}', 'Anna', '2026-01-01')",
    *(
        f"INSERT INTO customers VALUES ('{id_}', '{INSTRUCTOR}', 'whatsapp', '39{id_.int:09}', '2026-01-01')"
        for id_ in CONVERSATIONS
    ),
    *(
        "INSERT INTO conversations (id, instructor_id, channel, customer_identifier, status, created_at,"
        f" updated_at, last_message_at) VALUES ('{id_}', '{INSTRUCTOR}', 'whatsapp', '39{id_.int:09}',"
        " 'open', '2026-01-01', '2026-01-01', '2026-01-01')"
        for id_ in CONVERSATIONS
    ),
]
# What the release of 0004_audit_events sends: the write with its event in the outbox, then the move.
LINK = """
UPDATE conversations SET customer_id = %(customer)s, link_version = link_version + 1,
    link_operation_id = %(operation)s,
    audit_outbox = coalesce(audit_outbox, '[]') || jsonb_build_array(%(event)s::jsonb)
WHERE id = %(conversation)s AND link_version = %(seen)s
"""
MOVE = """
INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event)
SELECT (item->>'event_id')::uuid, id, instructor_id, (item->>'sequence')::int, item::text
FROM conversations, jsonb_array_elements(audit_outbox) item WHERE id = %(conversation)s
ON CONFLICT (event_id) DO NOTHING
"""
CLEAR = """
UPDATE conversations SET audit_outbox = NULL WHERE id = %(conversation)s AND link_version = %(seen)s + 1
"""
MAX_MOVE_MS = 75


class FormerRelease(threading.Thread):
    """Links and unlinks until told to stop, and moves events, as far as the trail lets it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        url = settings.database_url.set(drivername="postgresql")
        self.address = url.render_as_string(hide_password=False)
        self.over = threading.Event()
        self.operations: list[UUID] = []
        self.versions = dict.fromkeys(CONVERSATIONS, 0)

    def run(self) -> None:
        with psycopg.connect(self.address, autocommit=True) as connection:
            while not self.over.wait(0.01):
                self.change(connection, random.choice(CONVERSATIONS))

    def change(self, connection: "psycopg.Connection[Any]", conversation_id: UUID) -> None:
        """Change one link."""
        version, operation_id = self.versions[conversation_id], uuid4()
        linked = conversation_id if version % 2 else None
        event = Event(
            event_id=operation_id,
            event_name=EventName.UNLINKED if linked else EventName.LINKED,
            conversation_id=conversation_id,
            instructor_id=INSTRUCTOR,
            sequence=version + 1,
            actor_id=INSTRUCTOR,
            timestamp=now(),
            previous_customer_id=linked,
            new_customer_id=None if linked else conversation_id,
            reason="so it is",
            context={},
        )
        values: dict[str, Any] = {"conversation": conversation_id, "customer": event.new_customer_id}
        values |= {"seen": version, "operation": operation_id, "event": event.to_json()}
        assert connection.execute(LINK, values).rowcount == 1
        self.versions[conversation_id] += 1
        self.operations.append(operation_id)
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL statement_timeout = {MAX_MOVE_MS}")
                connection.execute(MOVE, values)
                connection.execute(CLEAR, values)
        except psycopg.errors.QueryCanceled:
            pass  # the event waits for the next move


@on_postgresql
@pytest.mark.shows("CM-2.5.1", "CM-2.5.4")
def test_links_that_the_release_before_writes_during_an_upgrade_are_kept(
    empty: Flask, empty_settings: Settings
):
    upgrade(revision=BEFORE)
    execute(*PEOPLE)
    former = FormerRelease(empty_settings)
    former.start()
    try:
        written_during(former, lambda: None)
        execute("SELECT nextval(pg_get_serial_sequence('audit_events', 'position'))")  # a gap
        for migrate in (upgrade, downgrade, upgrade):
            written_during(former, lambda to=migrate: to(revision=AFTER if to is upgrade else BEFORE))
    finally:
        former.over.set()
        former.join()
    upgrade()
    heal()
    owner = replace(empty_settings, read_database_url=empty_settings.database_url)
    with create_app(owner).app_context():
        assert [problem for _, problem in verify() if problem] == []
        assert list(gaps()) == []
    stored = {UUID(json.loads(line)["event_id"]) for (line,) in rows("SELECT event FROM audit_events")}
    assert stored == set(former.operations)
    assert {UUID(id_) for (id_,) in rows("SELECT operation_id FROM link_operations")} == stored
    found = dict(rows("SELECT id, link_version FROM conversations"))
    assert {UUID(id_): version for id_, version in found.items()} == former.versions


def written_during(former: FormerRelease, act: Any) -> None:
    """Do something, and wait until some links were written since it began."""
    before = len(former.operations)
    act()
    while len(former.operations) < before + 10:
        assert former.is_alive()
        time.sleep(0.01)
