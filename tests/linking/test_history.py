"""How much of a conversation's history is read, whatever was done to it (CM-2.5)."""

import pytest

from console.database import command_scope, reading
from console.linking import history
from testkit.factories import Desk


@pytest.mark.parametrize(
    ("version", "seen", "found"),
    [(4, None, [4, 3]), (4, 1, [4, 3, 1]), (3, None, [3, 2]), (1, None, [1]), (0, None, []), (0, 0, [])],
)
def test_the_newest_events_up_to_a_version_are_read_and_the_one_that_was_seen(
    anna: Desk, monkeypatch: pytest.MonkeyPatch, version: int, seen: int | None, found: list[int]
):
    monkeypatch.setattr(history, "MAX_SHOWN", 2)
    conversation_id = anna.conversation("393331234567")
    for customer_id in (
        None,
        anna.customer("447000001"),
        anna.customer("447000002"),
        anna.customer("44700003"),
    ):
        anna.link(conversation_id, customer_id, confirmed=True)
    with reading(command_scope()) as connection:
        events = history.history(
            connection, conversation_id, anna.instructor_id, outbox=None, version=version, seen=seen
        )
    assert [event.sequence for event in events or []] == found
