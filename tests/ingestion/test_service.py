"""How messages become conversations, once each, whatever arrives how often, in any order, from anywhere."""

import multiprocessing
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from sqlalchemy import event

from console import create_app
from console.config import Settings
from console.database import db
from console.ingestion.service import Counts, ingest_payload, retry_rejected
from testkit.databases import execute, on_postgresql, rows
from tests.ingestion.payloads import (
    ACCOUNT,
    OTHER_ACCOUNT,
    SAMPLES,
    SENDER,
    conversations,
    everything,
    message,
    messages,
    payload,
    rejected,
)
from tests.ingestion.test_whatsapp import json_values

pytestmark = pytest.mark.usefixtures("accounts")

LINES = SAMPLES.read_bytes().splitlines()
UNKNOWN_ACCOUNT = payload(message(), account="100000000000009")

on_one_database = example_settings(max_examples=60)


def at(seconds: int) -> str:
    """Return a timestamp so many seconds into 2026."""
    return str(1767225600 + seconds)


def empty() -> None:
    """Remove all that ingestion stored."""
    execute(*(f"DELETE FROM {table}" for table in ("messages", "conversations", "rejected_payloads")))


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the statements that ingestion executes."""
    seen: list[str] = []
    engine = db.engines["ingest"]

    def collect(_connection, _cursor, statement, *_):
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", collect)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", collect)


@pytest.mark.shows("CM-2.2.2")
def test_messages_of_one_identifier_to_one_account_are_one_conversation():
    ingest_payload(payload(message("1"), message("2")))
    ingest_payload(payload(message("3")))
    ingest_payload(payload(message("4", sender="393330000002")))
    ingest_payload(payload(message("5"), account=OTHER_ACCOUNT))
    assert [row[:3] for row in conversations()] == [
        ("Anna", SENDER, "open"),
        ("Anna", "393330000002", "open"),
        ("Berta", SENDER, "open"),
    ]
    assert [row[:2] for row in messages()] == [("Anna", SENDER)] * 3 + [
        ("Anna", "393330000002"),
        ("Berta", SENDER),
    ]


def test_identifiers_that_differ_in_writing_are_different_conversations():
    ingest_payload(payload(message("1", sender="+39 333 0000001"), message("2", sender="393330000001")))
    assert len(conversations()) == 2


@pytest.mark.shows("CM-2.2.11")
def test_a_message_after_a_closed_conversation_opens_another():
    ingest_payload(payload(message("1")))
    execute("UPDATE conversations SET status = 'closed'")
    assert ingest_payload(payload(message("2"))).stored == 1
    assert sorted(row[2] for row in conversations()) == ["closed", "open"]
    assert [(row[3], row[2]) for row in messages()] == [("1", "closed"), ("2", "open")]


def test_an_old_message_that_comes_again_opens_no_conversation():
    ingest_payload(payload(message("1")))
    execute("UPDATE conversations SET status = 'closed'")
    before = rows("SELECT * FROM conversations")
    assert ingest_payload(payload(message("1"))) == Counts(repeated=1)
    assert rows("SELECT * FROM conversations") == before


@pytest.mark.shows("CM-2.2.10")
def test_a_message_id_is_stored_once_whatever_its_sender():
    ingest_payload(payload(message("1")))
    assert ingest_payload(payload(message("1", sender="393330000002"))) == Counts(repeated=1)
    assert len(conversations()) == 1


def test_the_first_of_two_messages_with_the_same_id_in_a_payload_is_stored():
    twice = payload(message("1"), message("1", sender="393330000002", text={"body": "Altro"}))
    assert ingest_payload(twice) == Counts(stored=1, repeated=1)
    assert [row[1] for row in conversations()] == [SENDER]


def test_a_conversation_knows_its_newest_message_whichever_comes_last():
    ingest_payload(payload(message("1", timestamp=at(100))))
    ingest_payload(payload(message("2", timestamp=at(300)), message("3", timestamp=at(200))))
    ingest_payload(payload(message("4", timestamp=at(0))))
    ((_, _, _, newest),) = conversations()
    assert str(newest) == "2026-01-01 00:05:00.000000"


def test_a_conversation_is_updated_when_something_was_stored_and_not_otherwise():
    ingest_payload(payload(message("1")))
    execute("UPDATE conversations SET updated_at = '2020-01-01 00:00:00.000000'")
    ingest_payload(payload(message("1")))
    assert rows("SELECT updated_at FROM conversations") == [("2020-01-01 00:00:00.000000",)]
    ingest_payload(payload(message("2")))
    ((updated_at,),) = rows("SELECT updated_at FROM conversations")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(updated_at).replace(tzinfo=UTC)).seconds < 60


@pytest.mark.shows("CM-2.2.5")
def test_an_existing_conversation_keeps_its_link():
    ingest_payload(payload(message("1")))
    execute("UPDATE conversations SET link_version = 7")
    ingest_payload(payload(message("2")))
    assert rows("SELECT link_version, customer_id, audit_outbox FROM conversations") == [(7, None, None)]


def test_a_payload_is_kept_whole_and_once_beside_what_could_be_stored_of_it():
    raw = payload(message("1"), message("2", group_id="Y2Fw"), message("3", timestamp="soon"))
    counts = Counts(stored=1, rejected=2, reasons=("group message", "bad timestamp"))
    assert ingest_payload(raw) == counts
    assert ingest_payload(raw) == Counts(repeated=1, rejected=2, reasons=counts.reasons)
    assert rejected() == [("group message; bad timestamp", raw.decode())]
    assert [row[3] for row in messages()] == ["1"]


def test_bytes_that_are_not_text_are_kept_escaped():
    ingest_payload(b"caff\xc3\xa8 \xff\x00")
    assert rejected() == [("not JSON", "caffè \\xff\\x00")]


def test_a_rejected_payload_that_can_be_stored_now_is_let_go(cli):
    ingest_payload(UNKNOWN_ACCOUNT)
    assert [counts for _, counts in retry_rejected()] == [Counts(rejected=1, reasons=("unknown account",))]
    execute(f"UPDATE channel_accounts SET account_id = '100000000000009' WHERE account_id = '{ACCOUNT}'")
    assert [counts for _, counts in retry_rejected()] == [Counts(stored=1)]
    assert rejected() == []
    assert len(messages()) == 1


def test_a_payload_that_stays_rejected_says_why_it_is_now():
    ingest_payload(payload(message(group_id="Y2Fw"), message("2"), account="100000000000009"))
    assert [reason for reason, _ in rejected()] == ["group message; unknown account"]
    execute(f"UPDATE channel_accounts SET account_id = '100000000000009' WHERE account_id = '{ACCOUNT}'")
    assert [counts.reason for _, counts in retry_rejected()] == ["group message"]
    assert [reason for reason, _ in rejected()] == ["group message"]
    assert [row[3] for row in messages()] == ["2"]


def test_a_payload_that_was_spelled_out_is_not_parsed_as_sent():
    # The bytes are no JSON; spelled out, the backslash before the stray byte would make them some.
    ingest_payload(payload(message(text={"body": "?"})).replace(b"?", b"\\\xff"))
    assert [counts.reason for _, counts in retry_rejected()] == ["not JSON"]
    assert messages() == []


@on_one_database
@given(st.binary() | json_values.map(repr).map(str.encode))
def test_any_bytes_are_ignored_or_kept(raw):
    counts = ingest_payload(raw)
    assert counts.ignored or counts.rejected
    if counts.rejected:
        assert rows("SELECT count(*) FROM rejected_payloads") != [(0,)]


@on_one_database
@given(
    st.dictionaries(
        st.sampled_from([*message(), "group_id", "from_user_id"]),
        json_values | st.text(st.characters(codec=None)),
    )
)
def test_any_message_is_stored_repeated_or_kept(fields):
    raw = payload({**message(), **fields})
    counts = ingest_payload(raw)
    assert counts.stored + counts.repeated + counts.rejected == 1
    assert bool(counts.rejected) == ((counts.reason, raw.decode()) in rejected())


@example_settings(on_one_database, max_examples=12)
@given(st.data())
def test_the_order_and_the_number_of_times_payloads_come_in_change_nothing(data):
    empty()
    for raw in LINES:
        ingest_payload(raw)
    once = everything()
    empty()
    again = data.draw(st.lists(st.sampled_from(LINES), max_size=10))
    for raw in data.draw(st.permutations([*LINES, *again])):
        ingest_payload(raw)
    assert everything() == once


def test_a_payload_takes_as_many_statements_for_a_thousand_messages_as_for_one():
    def sent_by(senders: range, prefix: str) -> bytes:
        return payload(*(message(f"{prefix}{n}", sender=f"39333{n:07}") for n in senders))

    ingest_payload(sent_by(range(0, 2000, 2), "old"))
    with statements() as for_one:
        ingest_payload(sent_by(range(1), "one"))
    with statements() as for_many:
        assert ingest_payload(sent_by(range(0, 2000, 2), "many")).stored == 1000
    assert len(for_many) == len(for_one) <= 5
    with statements() as for_new_ones_too:
        ingest_payload(sent_by(range(2000), "mixed"))
    assert len(for_new_ones_too) <= 5


def test_ten_thousand_messages_in_one_payload_are_stored():
    many = payload(*(message(f"{n}", sender=f"39333{n % 100:07}", timestamp=at(n)) for n in range(10_000)))
    assert ingest_payload(many) == Counts(stored=10_000)
    assert ingest_payload(many) == Counts(repeated=10_000)
    assert rows("SELECT count(*) FROM conversations") == [(100,)]


@on_postgresql
@pytest.mark.parametrize("table", ["conversations", "messages"])
def test_the_second_process_to_insert_a_row_starts_over_and_finds_it(settings: Settings, table: str):
    # On SQLite no other process gets between a transaction's first statement and its last.
    other = create_app(settings)
    turns = iter(["the other's"])

    def be_quicker(_connection, _cursor, statement, *_):
        if statement.startswith(f"INSERT INTO {table}") and next(turns, None):
            with other.app_context():
                assert ingest_payload(payload(message("1"))).stored == 1

    if table == "messages":
        ingest_payload(payload(message("0")))  # so that there is a conversation already
    event.listen(db.engines["ingest"], "before_cursor_execute", be_quicker)
    assert ingest_payload(payload(message("1"), message("2"))) == Counts(stored=1, repeated=1)
    assert len(conversations()) == 1
    assert [row[3] for row in messages()] == (["0"] if table == "messages" else []) + ["1", "2"]


def ingest_in_process(settings: Settings, start: Barrier, seed: int, stored: "Queue[int]") -> None:
    """Ingest messages that the other processes have too, in an order of one's own, when all are ready."""
    numbers = list(range(300))
    random.Random(seed).shuffle(numbers)
    with create_app(settings).app_context():
        start.wait()
        stored.put(sum(ingest_payload(shared_payload(number)).stored for number in numbers))


def shared_payload(number: int) -> bytes:
    """Return one payload of a few that all go to the same few conversations and overlap."""
    few = range(number, number + 3)
    return payload(*(message(f"{n:03}", sender=f"39333000000{n % 4}", timestamp=at(n)) for n in few))


def test_processes_that_ingest_the_same_at_once_store_it_once(settings):
    spawn = multiprocessing.get_context("spawn")
    start, stored = spawn.Barrier(3), spawn.Queue()
    processes = [
        spawn.Process(target=ingest_in_process, args=(settings, start, seed, stored)) for seed in range(3)
    ]
    for process in processes:
        process.start()
    shares = [stored.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    together = everything()
    empty()
    for number in range(300):
        ingest_payload(shared_payload(number))
    assert together == everything()
    assert sum(shares) == len(messages()) == 302
