"""How much of the trail is read, whatever it holds and whether or not it can be read (CM-2.5)."""

import json
from uuid import UUID

import pytest

from console.config import Settings
from console.database import command_scope, reading
from console.linking import history
from testkit.databases import SQLITE, execute, on_postgresql
from testkit.factories import Desk
from testkit.pages import Browser
from testkit.postgres import Cluster
from tests.linking.test_audit import BROKEN


def sequences(anna: Desk, conversation_id: UUID, version: int, seen: int | None = None) -> list[int] | None:
    """Return the sequences of the events that are found; None where the trail fails."""
    with reading(command_scope()) as connection:
        events = history.history(
            connection, conversation_id, anna.instructor_id, outbox=None, version=version, seen=seen
        )
    return None if events is None else [event.sequence for event in events]


@pytest.mark.parametrize(
    ("version", "seen", "found"),
    [(4, None, [4, 3]), (4, 1, [4, 3, 1]), (3, None, [3, 2]), (1, None, [1]), (0, None, []), (0, 0, [])],
)
def test_the_newest_events_up_to_a_version_are_read_and_the_one_that_was_seen(
    anna: Desk, monkeypatch: pytest.MonkeyPatch, version: int, seen: int | None, found: list[int]
):
    monkeypatch.setattr(history, "MAX_SHOWN", 2)
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    for number in ("447000001", "447000002", "447000003"):
        anna.link(conversation_id, anna.customer(number), confirmed=True)
    assert sequences(anna, conversation_id, version, seen) == found


def test_a_trail_that_fails_is_logged_and_asked_only_for_what_it_has(
    anna: Desk, engine: str, capfd: pytest.CaptureFixture[str]
):
    conversation_id = anna.conversation("393331234567")
    execute(*BROKEN["missing"][0])
    assert sequences(anna, conversation_id, 0) == []
    assert capfd.readouterr().err == ""
    assert sequences(anna, conversation_id, 1) is None
    line = json.loads(capfd.readouterr().err)
    kind = "OperationalError" if engine == SQLITE else "ProgrammingError"
    told = (line["event"], line["conversation_id"], line["kind"])
    assert told == ("audit_history_unreadable", str(conversation_id), kind)


def test_waiting_conversations_are_counted_up_to_a_limit(anna: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "MAX_COUNTED", 2)
    execute(*BROKEN["missing"][0])
    for number, count in (("447000001", 1), ("447000002", 2), ("447000003", 2)):
        anna.link(anna.conversation(number))
        assert history.waiting()[0] == count


def test_the_size_of_the_trail_is_how_many_events_it_has(anna: Desk):
    assert history.size() == 0
    anna.link(anna.conversation("393331234567"))
    assert history.size() == 1


@on_postgresql
def test_a_server_hands_the_trail_over_in_pieces(anna: Desk, cluster: Cluster, settings: Settings):
    anna.link(anna.conversation("393331234567"))
    events = history.export()
    next(events)
    last = "SELECT query FROM pg_stat_activity WHERE datname = '{}' AND state = 'idle in transaction'"
    ((query,),) = cluster.execute(last.format(settings.database_url.database))
    assert query.startswith("FETCH FORWARD")
    assert list(events) == []


def test_a_page_shows_an_event_that_waits(marta: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id, reason="while the trail was there")
    breaks, repairs = BROKEN["missing"]
    execute(*breaks)
    anna.unlink(conversation_id, reason="while it was not")
    execute(*repairs)
    told = [item.get_text(" ") for item in marta.get_page(f"/links/{conversation_id}").select(".history li")]
    assert len(told) == 2
    assert "while it was not" in told[0]
    assert "while the trail was there" in told[1]
