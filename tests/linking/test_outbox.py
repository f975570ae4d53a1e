"""What moving does with each sort of outbox: it records what it can, once, and keeps the rest as it is."""

import json
import time
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from console.linking import audit
from testkit.databases import POSTGRESQL, SQLITE, back_door, execute
from testkit.factories import Desk, link_state, trail
from tests.linking.test_append_only import add_raw
from tests.linking.test_audit import BROKEN, UNDOING, told_of


def put(conversation_id: UUID, outbox: Any) -> None:
    """Put something into a conversation's outbox."""
    held = json.dumps(outbox).replace("'", "''")
    execute(f"UPDATE conversations SET audit_outbox = '{held}' WHERE id = '{conversation_id}'")


@pytest.mark.shows("CM-2.5.4")
def test_an_event_that_is_in_the_trail_already_leaves_its_outbox(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    before = trail()
    put(conversation_id, before)
    assert audit.drain() == (1, 0)
    assert link_state(conversation_id).outbox is None
    assert trail() == before


@pytest.mark.shows("CM-2.5.4")
def test_only_the_event_whose_place_is_taken_stays(anna: Desk):
    conversation_id = anna.conversation("393331234567")
    breaks, repairs = BROKEN["missing"]
    execute(*breaks)
    anna.link(conversation_id)
    anna.unlink(conversation_id)
    execute(*repairs)
    add_raw(anna, conversation_id)
    assert audit.drain() == (0, 1)
    assert [event["sequence"] for event in link_state(conversation_id).outbox or []] == [1]
    assert trail(conversation_id)[-1]["sequence"] == 2


@pytest.mark.parametrize(
    ("outbox", "kept"),
    [([], None), ({"a": 1}, [{"a": 1}]), ([1, "two"], [1, "two"])],
    ids=["an empty list", "an object", "a list of something else"],
)
def test_items_that_are_no_events_stay_and_an_empty_outbox_becomes_null(anna: Desk, outbox: Any, kept: Any):
    conversation_id = anna.conversation("393331234567")
    put(conversation_id, outbox)
    assert audit.drain() == ((1, 0) if kept is None else (0, 1))
    assert link_state(conversation_id).outbox == kept


def test_draining_does_not_wait_longer_than_a_move(app: Flask, engine: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit, "MAX_MOVE_MS", 100)
    with back_door() as blocker:  # which holds the write lock of a file
        if engine == POSTGRESQL:
            blocker.execute(text("LOCK TABLE conversations"))
        started = time.monotonic()
        with pytest.raises(OperationalError):
            audit.drain()
        assert time.monotonic() - started < 7  # of the 15 seconds that others wait


def test_the_log_says_what_undid_a_write(anna: Desk, engine: str, capfd: pytest.CaptureFixture[str]):
    conversation_id = anna.conversation("393331234567")
    execute(*UNDOING[engine][0])
    capfd.readouterr()
    anna.link(conversation_id)
    why = "IntegrityError" if engine == SQLITE else "OperationalError"
    assert told_of(capfd.readouterr().err) == [("audit_move_failed", str(conversation_id), why)]
