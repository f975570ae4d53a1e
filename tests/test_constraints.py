"""Each constraint of the database refuses what it is there for, even in raw SQL of the tables' owner."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.exc import IntegrityError

from console.database import Base
from console.linking import service
from testkit.databases import POSTGRESQL, SQLITE, back_door, execute, rows
from testkit.factories import Desk, payload, trail

# Statements by the constraint that refuses them. {new} is an id of nothing, {anna} and {bruno} instructors.
CUSTOMERS = {
    "uq_customers_instructor_id_channel_normalized_identifier": (
        "INSERT INTO customers SELECT '{new}', instructor_id, channel, normalized_identifier, created_at"
        " FROM customers"
    ),
    "fk_customers_instructor_id_instructors": (
        "INSERT INTO customers SELECT '{new}', '{new}', channel, normalized_identifier, created_at"
        " FROM customers"
    ),
}
PEOPLE = {
    "uq_users_email": (
        "INSERT INTO users (id, email, name, password_hash, active, created_at)"
        " SELECT '{new}', email, name, password_hash, active, created_at FROM users LIMIT 1"
    ),
    "pk_memberships": "INSERT INTO memberships SELECT user_id, instructor_id, 'instructor' FROM memberships",
    "ck_memberships_role": "UPDATE memberships SET role = 'owner'",
    "fk_memberships_user_id_users": "INSERT INTO memberships VALUES ('{new}', '{anna}', 'operator')",
    "fk_memberships_instructor_id_instructors": "UPDATE memberships SET instructor_id = '{new}'",
}
ACCOUNTS = {
    "pk_channel_accounts": (
        "INSERT INTO channel_accounts SELECT channel, account_id, '{bruno}' FROM channel_accounts"
    ),
    "fk_channel_accounts_instructor_id_instructors": (
        "INSERT INTO channel_accounts VALUES ('whatsapp', '1', '{new}')"
    ),
}
THREAD = "channel, customer_identifier, status, created_at, updated_at, last_message_at"
CONVERSATIONS = {
    "uq_conversations_open": (
        f"INSERT INTO conversations (id, instructor_id, {THREAD})"
        f" SELECT '{{new}}', instructor_id, {THREAD} FROM conversations"
    ),
    "fk_conversations_instructor_id_instructors": (
        f"INSERT INTO conversations (id, instructor_id, {THREAD})"
        f" SELECT '{{new}}', '{{new}}', {THREAD} FROM conversations"
    ),
    "ck_conversations_status": "UPDATE conversations SET status = 'archived'",
    "fk_conversations_instructor_id_customer_id_customers": "UPDATE conversations SET customer_id = '{new}'",
}
PARTS = "channel, direction, external_id, kind, body, sent_at"
MESSAGES = {
    "uq_messages_channel_external_id_instructor_id": (
        f"INSERT INTO messages (id, conversation_id, instructor_id, {PARTS})"
        f" SELECT '{{new}}', conversation_id, instructor_id, {PARTS} FROM messages"
    ),
    "fk_messages_conversation_id_instructor_id_conversations": (
        "UPDATE messages SET conversation_id = '{new}'"
    ),
    "fk_messages_instructor_id_instructors": "UPDATE messages SET instructor_id = '{new}'",
    "ck_messages_direction": "UPDATE messages SET direction = 'sideways'",
    "uq_rejected_payloads_digest_instructor_id": (
        "INSERT INTO rejected_payloads (id, received_at, reason, payload, digest)"
        " SELECT '{new}', received_at, reason, payload, digest FROM rejected_payloads"
    ),
}
OPERATIONS = {
    "pk_link_operations": "INSERT INTO link_operations SELECT * FROM link_operations",
    "uq_conversations_link_operation_id_instructor_id": (
        "UPDATE conversations SET link_operation_id = '{new}'"
    ),
}
EVENT = "INSERT INTO audit_events (position, event_id, conversation_id, instructor_id, sequence, event)"
TRAIL = {
    "uq_audit_events_event_id_instructor_id": (
        f"{EVENT} SELECT 2, event_id, conversation_id, instructor_id, 2, event FROM audit_events"
    ),
    "uq_audit_events_conversation_id_sequence_instructor_id": (
        f"{EVENT} SELECT 2, '{{new}}', conversation_id, instructor_id, 1, event FROM audit_events"
    ),
    "pk_audit_counter": "INSERT INTO audit_counter VALUES (1, 0)",
    "ck_audit_counter_one_row": "INSERT INTO audit_counter VALUES (2, 0)",
}
# Another guard would refuse the same statement; without it, the constraint does.
FIRST = {
    POSTGRESQL: {
        "fk_messages_instructor_id_instructors": (
            "ALTER TABLE messages DROP CONSTRAINT fk_messages_conversation_id_instructor_id_conversations"
        ),
        "uq_conversations_link_operation_id_instructor_id": (
            "ALTER TABLE conversations DISABLE TRIGGER conversations_note_operation"
        ),
        "uq_audit_events_event_id_instructor_id": (
            "ALTER TABLE audit_events DISABLE TRIGGER audit_events_next_position"
        ),
        "uq_audit_events_conversation_id_sequence_instructor_id": (
            "ALTER TABLE audit_events DISABLE TRIGGER audit_events_next_position"
        ),
    },
    SQLITE: {
        "fk_conversations_instructor_id_customer_id_customers": (
            "DROP TRIGGER conversations_own_customer_update"
        ),
        "uq_conversations_link_operation_id_instructor_id": "DROP TRIGGER conversations_note_operation",
        "uq_audit_events_event_id_instructor_id": "DROP TRIGGER audit_events_no_replace",
        "uq_audit_events_conversation_id_sequence_instructor_id": "DROP TRIGGER audit_events_no_replace",
    },
}
# Gives what turns off a table's triggers, which may refuse a statement before its columns do.
TRIGGERS = {
    POSTGRESQL: "SELECT 'ALTER TABLE {table} DISABLE TRIGGER USER'",
    SQLITE: (
        "SELECT 'DROP TRIGGER ' || name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = '{table}'"
    ),
}
NOT_NULL = {POSTGRESQL: "23502", SQLITE: "NOT NULL"}
# How each engine names the kinds of constraint: PostgreSQL by its SQLSTATE.
KINDS = {
    POSTGRESQL: {"pk": "23505", "uq": "23505", "fk": "23503", "ck": "23514"},
    SQLITE: {"pk": "UNIQUE", "uq": "UNIQUE", "fk": "FOREIGN KEY", "ck": "CHECK"},
}


@pytest.fixture(autouse=True)
def world(anna: Desk, bruno: Desk) -> dict[str, str]:
    """Put a row into every table, and return the ids that statements name.

    The rows come from plain SQL, because the console's own statements need some of the constraints.
    """
    conversation_id, customer_id, operation_id = anna.conversation("393331234567"), uuid4(), uuid4()
    whose = f"'{anna.instructor_id}'"
    execute(
        f"INSERT INTO customers VALUES ('{customer_id}', {whose}, 'whatsapp', '393331234567', '2026-01-01')",
        f"UPDATE conversations SET customer_id = '{customer_id}', link_version = 1",
        f"INSERT INTO link_operations VALUES ('{operation_id}', {whose}, '{conversation_id}', NULL)",
        "INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event)"
        f" VALUES ('{operation_id}', '{conversation_id}', {whose}, 1, '{{}}')",
    )
    anna.cli.invoke(args=["ingest", "-"], input=payload("1", "393331234567"))  # rejected, and kept
    return {"anna": str(anna.instructor_id), "bruno": str(bruno.instructor_id), "new": str(uuid4())}


def refuses(engine: str, world: dict[str, str], name: str, statement: str) -> None:
    """Expect a constraint to refuse a statement."""
    first = FIRST[engine].get(name, "SELECT 1")
    with pytest.raises(IntegrityError) as caught:
        execute(first, statement.format(**world))
    told = getattr(caught.value.orig, "sqlstate", None) or str(caught.value.orig)
    assert KINDS[engine][name[:2]] in told


@pytest.mark.shows("CM-1.1", "CM-1.3", "Review.T1.4")
@pytest.mark.parametrize("name", CUSTOMERS)
def test_a_customer_has_an_instructor_and_a_key_of_its_own(engine: str, world: dict[str, str], name: str):
    refuses(engine, world, name, CUSTOMERS[name])


@pytest.mark.shows("CM-1.3", "Review.T1.5")
def test_another_instructor_may_have_a_customer_of_the_same_identifier(world: dict[str, str]):
    columns = "channel, normalized_identifier, created_at"
    execute(
        f"INSERT INTO customers (id, instructor_id, {columns})"
        f" SELECT '{world['new']}', '{world['bruno']}', {columns} FROM customers"
    )
    assert rows("SELECT count(*) FROM customers") == [(2,)]


@pytest.mark.shows("CM-2.3.1")
@pytest.mark.parametrize("name", PEOPLE)
def test_a_membership_is_one_users_for_one_instructor(engine: str, world: dict[str, str], name: str):
    refuses(engine, world, name, PEOPLE[name])


@pytest.mark.shows("CM-2.2.6")
@pytest.mark.parametrize("name", ACCOUNTS)
def test_an_account_belongs_to_one_instructor(engine: str, world: dict[str, str], name: str):
    refuses(engine, world, name, ACCOUNTS[name])


@pytest.mark.shows("CM-2.2.2", "CM-2.2.19")
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_is_one_instructors_and_open_once(engine: str, world: dict[str, str], name: str):
    refuses(engine, world, name, CONVERSATIONS[name])


@pytest.mark.shows("CM-2.2.10")
@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_stored_once_in_a_conversation_of_its_instructor(
    engine: str, world: dict[str, str], name: str
):
    refuses(engine, world, name, MESSAGES[name])


@pytest.mark.shows("CM-2.3.8")
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_id_is_taken_once(engine: str, world: dict[str, str], anna: Desk, name: str):
    anna.conversation("393330000000")
    refuses(engine, world, name, OPERATIONS[name])


@pytest.mark.shows("CM-2.3.8")
def test_an_operation_of_the_former_release_is_taken(world: dict[str, str], anna: Desk):
    other = anna.conversation("393330000000")
    execute(f"UPDATE conversations SET link_operation_id = '{world['new']}' WHERE customer_id IS NOT NULL")
    with pytest.raises(service.OperationReused):
        anna.link(other, operation_id=UUID(world["new"]))


@pytest.mark.shows("CM-2.5.4")
@pytest.mark.parametrize("name", TRAIL)
def test_an_event_has_an_id_and_a_place_of_its_own(engine: str, world: dict[str, str], name: str):
    assert len(trail()) == 1
    refuses(engine, world, name, TRAIL[name])


@pytest.mark.shows("CM-1.1", "CM-2.3.8", "CM-2.5.4")
@pytest.mark.parametrize("table", Base.metadata.sorted_tables, ids=lambda table: str(table.name))
def test_a_required_column_refuses_null(engine: str, table: Table):
    required = [column.name for column in table.columns if not (column.nullable or column.primary_key)]
    assert required
    with back_door() as connection:
        triggers = connection.scalars(text(TRIGGERS[engine].format(table=table.name))).all()
    for name in required:
        with pytest.raises(IntegrityError) as caught:
            execute(*triggers, f"UPDATE {table.name} SET {name} = NULL")
        assert NOT_NULL[engine] in (getattr(caught.value.orig, "sqlstate", None) or str(caught.value.orig))


def test_every_constraint_is_among_them():
    tried = {*CUSTOMERS, *PEOPLE, *ACCOUNTS, *CONVERSATIONS, *MESSAGES, *OPERATIONS, *TRAIL}
    # A key of ids that the console makes, and what a foreign key needs to point at.
    given = {"pk_audit_events", "uq_customers_instructor_id_id"}
    kinds = (CheckConstraint, ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint)
    for table in Base.metadata.tables.values():
        found = {str(item.name) for item in table.constraints if isinstance(item, kinds)}
        found |= {str(index.name) for index in table.indexes if index.unique}
        if "id" in table.primary_key.columns and table.name != "audit_counter":
            given.add(f"pk_{table.name}")
        assert found - given <= tried, table.name
        tried -= found
    assert tried == set()
