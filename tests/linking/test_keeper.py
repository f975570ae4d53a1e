"""Events that wait in an outbox are moved in the background (CM-2.5)."""

import threading
import time
from pathlib import Path

import pytest
from flask import Flask

from console import create_app
from console.linking import audit, keeper
from testkit.databases import back_door, execute, on_postgresql, settings_for
from testkit.factories import HEALING_SECONDS, Desk, link_state, trail
from tests.linking.test_append_only import add_raw
from tests.linking.test_audit import BROKEN


def test_waiting_events_are_moved_in_the_background(app: Flask, anna: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keeper, "PAUSE_SECONDS", (0.01, 0.02))
    conversation_id = anna.conversation("393331234567")
    breaks, repairs = BROKEN["missing"]
    execute(*breaks)
    anna.link(conversation_id)
    stop = keeper.start(app.app_context)
    try:
        time.sleep(0.1)
        assert len(link_state(conversation_id).outbox or []) == 1
        execute(*repairs)
        deadline = time.monotonic() + HEALING_SECONDS
        while link_state(conversation_id).outbox:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        stop.set()
    assert len(trail(conversation_id)) == 1


@on_postgresql
def test_waiting_events_are_moved_once_a_dead_connections_lock_is_gone(
    app: Flask, anna: Desk, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keeper, "PAUSE_SECONDS", (0.01, 0.02))
    monkeypatch.setattr(audit, "MAX_MOVE_MS", 100)
    conversation_id = anna.conversation("393331234567")
    breaks, repairs = BROKEN["missing"]
    execute(*breaks)
    anna.link(conversation_id)
    execute(*repairs)
    failures = audit._failed_moves._value.get()
    with back_door() as killed:
        # What a process leaves that was killed while it moved the event, until the server notices.
        (event,) = link_state(conversation_id).outbox or []
        add_raw(anna, conversation_id, event_id=event["event_id"], on=killed)
        stop = keeper.start(app.app_context)
        deadline = time.monotonic() + HEALING_SECONDS
        while audit._failed_moves._value.get() < failures + 2:  # it gave up, and tried again
            assert time.monotonic() < deadline
            time.sleep(0.01)
        killed.rollback()
    while link_state(conversation_id).outbox:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stop.set()
    assert [item["event_id"] for item in trail(conversation_id)] == [event["event_id"]]


def test_the_background_stops_when_told(app: Flask):
    stop = keeper.start(app.app_context)
    (thread,) = (item for item in threading.enumerate() if item.name == keeper.THREAD)
    stop.set()
    thread.join(HEALING_SECONDS)
    assert not thread.is_alive()


def test_the_background_outlives_a_database_that_is_not_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    stop = threading.Event()
    stop.set()  # after one look
    keeper.keep(create_app(settings_for(tmp_path / "nothing.db")).app_context, stop)
    assert "audit_catch_up_failed" in capfd.readouterr().err
    assert not (tmp_path / "nothing.db").exists()
