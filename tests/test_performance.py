"""What the hot pages cost, counted: statements, indexes, rows read. Nothing is timed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import event, insert, select, text

from console.database import db, new_id
from console.linking.queries import MAX_LEFT
from console.models import AuditCounter, AuditEvent, Conversation, Customer, Message
from testkit.databases import back_door, execute, on_postgresql, on_sqlite, rows
from testkit.factories import Desk, desk, payload, run
from testkit.pages import Browser
from testkit.statements import PARTITIONS

HOT_TABLES = ("conversations", "messages", "customers", "audit_events")

_CHOOSING = {
    "conversations.id",
    "ix_messages_newest",
    "messages.id",
    "customers.id",
    "customers.key",
    "ix_conversations_customer",
}

# The pages, how many statements each takes (the one that loads the session's user is one of them), and the
# indexes of the hot tables that it may use, by their names on either engine.
PAGES = {
    "/conversations": (2, {"ix_conversations_inbox", "ix_messages_newest", "messages.id"}),
    "/conversations?before={cursor}": (2, {"ix_conversations_inbox", "ix_messages_newest", "messages.id"}),
    "/conversations?plain=1": (
        3,
        {"ix_conversations_inbox", "ix_messages_newest", "messages.id", "customers.key"},
    ),
    "/badges?{ids}": (3, {"conversations.id", "customers.key"}),
    "/conversations/{conversation_id}": (3, {"conversations.id", "ix_messages_newest"}),
    "/conversations/{conversation_id}?plain=1": (
        4,
        {"conversations.id", "ix_messages_newest", "customers.key"},
    ),
    "/links": (3, {"ix_conversations_unlinked", "ix_messages_newest", "messages.id"}),
    "/links/{conversation_id}": (4, _CHOOSING | {"ix_conversations_unlinked"}),
    "/links/{conversation_id}/customers": (3, _CHOOSING - {"messages.id"}),
}
NAMES = {
    "sqlite_autoindex_conversations_1": "conversations.id",
    "pk_conversations": "conversations.id",
    "sqlite_autoindex_messages_1": "messages.id",
    "pk_messages": "messages.id",
    "sqlite_autoindex_customers_1": "customers.id",
    "pk_customers": "customers.id",
    "uq_customers_instructor_id_id": "customers.id",
    "sqlite_autoindex_customers_2": "customers.key",
    "uq_customers_instructor_id_channel_normalized_identifier": "customers.key",
    "sqlite_autoindex_audit_events_2": "audit_events.key",
    "uq_audit_events_conversation_id_sequence_instructor_id": "audit_events.key",
}


@dataclass
class Statement:
    """One SELECT as a page sent it: how the engine ran it, how much it read and returned."""

    sql: str
    returned: int = 0
    indexes: set[str] = field(default_factory=set)
    read_whole: set[str] = field(default_factory=set)
    most_read: int = 0
    steps: int = 0


def fill(instructor_id: UUID, count: int) -> list[UUID]:
    """Give an instructor conversations of one message each.

    Every third identifier has a customer, and every third of these is linked.
    """
    start = datetime(2026, 1, 1, tzinfo=UTC)
    first = 393_300_000_000 + uuid4().int % 10**6 * 10**4
    conversations: list[dict[str, Any]] = []
    messages, customers = [], []
    for number in range(count):
        conversation_id, identifier = new_id(), str(first + number)
        moment = start + timedelta(seconds=number)
        shared = {"instructor_id": instructor_id, "channel": "whatsapp"}
        conversations.append(
            {
                **shared,
                "id": conversation_id,
                "customer_identifier": identifier,
                "status": "open",
                "created_at": moment,
                "updated_at": moment,
                "last_message_at": moment,
                "customer_id": None,
            }
        )
        messages.append(
            {
                **shared,
                "id": new_id(),
                "conversation_id": conversation_id,
                "direction": "inbound",
                "external_id": f"wamid.{uuid4().hex}",
                "kind": "text",
                "body": "Hi",
                "sent_at": moment,
            }
        )
        if number % 3 == 0:
            key = {"id": new_id(), "normalized_identifier": identifier, "created_at": moment}
            customers.append({**shared, **key})
            if number % 9 == 3:
                conversations[-1]["customer_id"] = key["id"]
    with back_door() as connection:
        for table, rows in ((Customer, customers), (Conversation, conversations), (Message, messages)):
            connection.execute(insert(table), rows)
        # An index of the trail is chosen only where there are events.
        position = select(AuditCounter.position + 1).scalar_subquery()
        events = [
            {"event_id": new_id(), "conversation_id": row["id"], "instructor_id": instructor_id}
            for row in conversations[:MAX_LEFT]
        ]
        connection.execute(insert(AuditEvent).values(position=position, sequence=1, event="{}"), events)
        if connection.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))
    return [row["id"] for row in conversations]


@contextmanager
def explained() -> Iterator[list[Statement]]:
    """Collect every SELECT of the pages got meanwhile, each run once more to be explained."""
    seen: list[Statement] = []

    def explain(connection: Any, cursor: Any, sql: str, parameters: Any, *_rest: object) -> None:
        if not sql.startswith(("SELECT", "WITH")):
            return
        statement = Statement(sql)
        (_explain_sqlite if connection.dialect.name == "sqlite" else _explain_postgresql)(
            cursor, statement, parameters
        )
        seen.append(statement)

    engine = db.engines["read"]
    event.listen(engine, "before_cursor_execute", explain)
    yield seen
    event.remove(engine, "before_cursor_execute", explain)


def _explain_sqlite(cursor: Any, statement: Statement, parameters: Any) -> None:
    for *_, line in cursor.execute(f"EXPLAIN QUERY PLAN {statement.sql}", parameters).fetchall():
        words = line.split()
        if words[0] == "SCAN" and words[1].removesuffix("_1") in HOT_TABLES:
            statement.read_whole.add(words[1])
        if words[0] == "SEARCH" and words[1].removesuffix("_1") in HOT_TABLES:
            index = words[words.index("INDEX") + 1]
            statement.indexes.add(NAMES.get(index, index))

    def step() -> int:
        statement.steps += 1
        return 0

    cursor.connection.set_progress_handler(step, 1)
    statement.returned = len(cursor.execute(statement.sql, parameters).fetchall())
    cursor.connection.set_progress_handler(None, 1)


def _explain_postgresql(cursor: Any, statement: Statement, parameters: Any) -> None:
    # Tables as small as here are rightly read and joined whole; this is how large ones are.
    for way in ("seqscan", "hashjoin", "mergejoin"):
        cursor.execute(f"SET LOCAL enable_{way} = off")
    parents = dict(cursor.execute(PARTITIONS).fetchall())
    (answer,) = cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}", parameters).fetchone()
    plan = (json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]
    statement.returned = round(plan["Actual Rows"])
    for node in _nodes(plan):
        relation = node.get("Relation Name", "")
        if parents.get(relation, relation) not in HOT_TABLES:
            continue
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        read = (node["Actual Rows"] + removed) * node["Actual Loops"]
        statement.most_read = max(statement.most_read, round(read))
        if "Index Name" in node:
            index = parents.get(node["Index Name"], node["Index Name"])
            statement.indexes.add(NAMES.get(index, index))
        else:
            statement.read_whole.add(relation)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def get(client: Browser, path: str, ids: list[UUID]) -> list[Statement]:
    """Get a page of a user whose conversations have these ids, oldest first; return its statements."""
    page = client.http.get("/conversations").text
    cursor = page.rpartition("before=")[2].partition('"')[0] if "before=" in page else ""
    newest = ids[-50:]
    address = path.format(
        conversation_id=newest[0],
        ids="&".join(f"id={row}" for row in newest),
        cursor=cursor.replace("&amp;", "&"),
    )
    with explained() as statements:
        assert client.http.get(address).status_code == 200
    return statements


@pytest.mark.shows("Review.Everywhere.3")
@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("rows", [1, 50])
def test_a_page_takes_the_same_few_statements_for_one_row_and_for_fifty(
    app: Flask, client: Browser, anna: Desk, path: str, rows: int
):
    ids = fill(anna.instructor_id, rows)
    client.sign_in(anna.operator.email, anna.operator.password)
    if "cursor" in path:
        ids = fill(anna.instructor_id, 50) + ids
    assert len(get(client, path, ids[-rows:])) == PAGES[path][0]


def test_a_link_form_with_a_history_takes_two_statements_more(client: Browser, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    anna.link(conversation_id)
    anna.customer("393330000000")
    client.sign_in(anna.operator.email, anna.operator.password)
    statements = get(client, "/links/{conversation_id}", [conversation_id])
    assert len(statements) == PAGES["/links/{conversation_id}"][0] + 2
    (trail,) = (statement for statement in statements if "FROM audit_events" in statement.sql)
    assert trail.indexes == {"audit_events.key"}
    (labels,) = (statement for statement in statements if "UNION ALL" in statement.sql)
    assert (trail.returned, labels.returned) == (1, 2)


@pytest.mark.parametrize("path", PAGES)
def test_every_statement_goes_by_the_index_meant_for_it(
    client: Browser, cli: FlaskCliRunner, anna: Desk, path: str
):
    fill(desk(cli, "Bruno Pichler").instructor_id, 1500)
    ids = fill(anna.instructor_id, 1500)
    client.sign_in(anna.operator.email, anna.operator.password)
    statements = get(client, path, ids)
    assert set().union(*(statement.indexes for statement in statements)) == PAGES[path][1]
    assert not [statement for statement in statements if statement.read_whole]


# How many rows each statement of a page returns where there is more than the page shows: one to say so.
RETURNED = {
    "/conversations": [1, 51],
    "/conversations/{conversation_id}": [1, 1, 51],
    "/links": [1, 26, 1],
    # The thread brings WhatsApp's last statement along.
    "/links/{conversation_id}": [1, 52, 21, 26],
    "/links/{conversation_id}/customers": [1, 1, 21],
}


@pytest.mark.parametrize("path", RETURNED)
def test_a_statement_returns_what_is_shown_and_one_row_that_tells_of_more(
    client: Browser, anna: Desk, path: str
):
    ids = fill(anna.instructor_id, 100)
    texts = ["stated"] * 3 + ["said"] * 53
    lines = (
        payload(anna.phone_number_id, "40404", text=text, at=number)
        for number, text in enumerate(texts, 10**9)
    )
    run(anna.cli, "ingest", "-", stdin="\n".join(lines))
    execute("UPDATE messages SET kind = 'system' WHERE body = 'stated'")
    ((long,),) = rows("SELECT id FROM conversations WHERE customer_identifier = '40404'")
    client.sign_in(anna.operator.email, anna.operator.password)
    assert [statement.returned for statement in get(client, path, [UUID(long), *ids[:49]])] == RETURNED[path]


@on_postgresql
@pytest.mark.parametrize("path", PAGES)
def test_no_statement_reads_more_rows_than_it_returns_and_one(client: Browser, anna: Desk, path: str):
    ids = fill(anna.instructor_id, 1500)
    client.sign_in(anna.operator.email, anna.operator.password)
    for statement in get(client, path, ids):
        counted = MAX_LEFT if "count(*)" in statement.sql and "customer_id IS NULL" in statement.sql else 0
        assert statement.most_read <= max(statement.returned, counted) + 1, statement.sql


@pytest.mark.shows("Review.Everywhere.3")
@on_sqlite
@pytest.mark.parametrize("path", PAGES)
def test_a_page_takes_no_more_steps_when_there_is_ten_times_as_much(client: Browser, anna: Desk, path: str):
    ids = fill(anna.instructor_id, 150)
    client.sign_in(anna.operator.email, anna.operator.password)
    before = [statement.steps for statement in get(client, path, ids)]
    ids = fill(anna.instructor_id, 1500)
    after = [statement.steps for statement in get(client, path, ids)]
    assert all(now <= then * 1.1 for then, now in zip(before, after, strict=True))
