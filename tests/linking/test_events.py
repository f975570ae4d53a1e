"""The lines of the audit trail: what is written into them is what is read from them again."""

import json
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from console.database import now
from console.linking import audit
from testkit.databases import execute
from testkit.factories import Desk, link_state, trail


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the console run on a machine whose clock shows another zone than UTC."""
    with monkeypatch.context() as environment:
        environment.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
def test_events_are_dated_in_utc_whatever_the_zone_of_the_machine(anna: Desk):
    conversation_id, before = anna.conversation("393331234567"), now()
    anna.link(conversation_id)
    assert before <= datetime.fromisoformat(trail(conversation_id)[0]["timestamp"]) <= now()


def test_an_event_that_waited_comes_into_the_trail_with_all_that_it_said(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    execute("ALTER TABLE audit_events RENAME TO mislaid")
    anna.link(conversation_id)
    (event,) = link_state(conversation_id).outbox or [{}]
    waiting = {**event, "actor_type": "system"}
    execute(
        "ALTER TABLE mislaid RENAME TO audit_events",
        f"UPDATE conversations SET audit_outbox = '{json.dumps([waiting])}'",
    )
    assert audit.drain() == (1, 0)
    assert trail(conversation_id) == [waiting]
