"""What PostgreSQL lets each role do: every role, table, column and kind of access, expected against tried."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from console.config import Settings
from console.database import Base, Scope, command_scope, ingesting, reading, writing
from console.linking import service
from console.models import AuditEvent, Conversation, Customer, LinkOperation, Message
from console.permissions import Permission, public, requires
from console.web.current import scope
from testkit.databases import OWNER, POSTGRESQL, execute, rows
from testkit.factories import Desk, link_state, trail
from testkit.pages import Browser
from testkit.postgres import Cluster

READ, LINK, INGEST = "console_read", "console_link", "console_ingest"

# Each column's letters say what the role may do with it: s(elect), i(nsert), u(pdate); * is every other.
# "delete" and "truncate" are of the table. What isn't here is not allowed.
CONVERSATION_OF_0001 = [
    "id",
    "instructor_id",
    "channel",
    "customer_identifier",
    "status",
    "created_at",
    "updated_at",
    "last_message_at",
]
ALLOWED: dict[str, dict[str, dict[str, str]]] = {
    READ: {
        "alembic_version": {"*": "s"},
        "instructors": {"*": "s"},
        "users": dict.fromkeys(["id", "email", "name", "password_hash", "active", "session_epoch"], "s"),
        "memberships": {"*": "s"},
        "conversations": {"*": "s"},
        "messages": {"*": "s"},
        "customers": {"*": "s"},
        "audit_events": {"*": "s"},
        "audit_counter": {"*": "s"},
    },
    LINK: {
        "alembic_version": {"*": "s"},
        "users": {"id": "s", "active": "s", "session_epoch": "su"},
        "memberships": {"*": "s"},
        "conversations": {
            **dict.fromkeys(["id", "instructor_id", "channel", "customer_identifier"], "s"),
            **dict.fromkeys(["customer_id", "link_version", "link_operation_id", "audit_outbox"], "su"),
        },
        "customers": {"*": "si"},
        "link_operations": {"*": "si"},
        "audit_events": {"position": "s", "*": "si"},
    },
    INGEST: {
        "alembic_version": {"*": "s"},
        "channel_accounts": {"*": "s"},
        "conversations": {
            **dict.fromkeys(CONVERSATION_OF_0001, "i"),
            **dict.fromkeys(["id", "instructor_id", "channel", "customer_identifier"], "si"),
            **dict.fromkeys(["status", "last_message_at"], "siu"),
            "updated_at": "iu",
        },
        "messages": {
            **dict.fromkeys(["id", "instructor_id", "channel", "external_id"], "si"),
            "*": "i",
        },
        "rejected_payloads": {
            **dict.fromkeys(("reason", "dismissed_at", "dismissed_by", "dismissed_reason"), "siu"),
            "*": "si",
            "delete": "",
        },
    },
}
TABLES = {table.name: [column.name for column in table.c] for table in Base.metadata.sorted_tables}
TABLES["alembic_version"] = ["version_num"]

Access = tuple[str, str, str]


@pytest.fixture
def engine() -> str:
    """Run on the one engine that has roles."""
    return POSTGRESQL


def allowed(role: str) -> set[Access]:
    """Return what a role is expected to be allowed, as (access, table, column)."""
    found = set()
    for table, rights in ALLOWED[role].items():
        for column in TABLES[table]:
            letters = rights.get(column, rights.get("*", ""))
            found |= {(access, table, column) for access in ACCESSES if access[0] in letters}
        found |= {(access, table, "") for access in ("delete", "truncate") if access in rights}
    return found


ACCESSES = {
    "select": "SELECT {column} FROM {table}",
    # No row, so that no constraint and no policy has a say: only rights do.
    "insert": "INSERT INTO {table} ({column}) SELECT NULL::{kind} WHERE false",
    "update": "UPDATE {table} SET {column} = NULL::{kind}",
    "delete": "DELETE FROM {table}",
    "truncate": "TRUNCATE {table}",
}


def attempts() -> Iterator[tuple[Access, str]]:
    """Give every access with a statement that needs that right and no other."""
    kinds = {
        (table, column): kind
        for table, column, kind in rows(
            "SELECT table_name, column_name, CASE WHEN data_type = 'character' THEN 'text' ELSE data_type END"
            " FROM information_schema.columns WHERE table_schema = 'public'"
        )
    }
    for table, columns in TABLES.items():
        for column in columns:
            names = {"table": table, "column": column, "kind": kinds[table, column]}
            for access in ("select", "insert", "update"):
                yield (access, table, column), ACCESSES[access].format(**names)
        for access in ("delete", "truncate"):
            yield (access, table, ""), ACCESSES[access].format(table=table)


def may(connection: "psycopg.Connection[object]", statement: str) -> bool:
    """Try a statement and undo it; say whether the right was there, whatever else was wrong with it."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


@pytest.mark.shows("CM-2.3.9", "CM-2.1.5", "CM-2.2.20")
@pytest.mark.parametrize("role", ALLOWED)
def test_every_role_may_do_what_is_expected_and_nothing_else(
    app: Flask, cluster: Cluster, settings: Settings, role: str
):
    tried = list(attempts())
    with cluster.connect(str(settings.database_url.database), role) as connection:
        done = {access for access, statement in tried if may(connection, statement)}
    assert len(tried) == 3 * sum(map(len, TABLES.values())) + 2 * len(TABLES)
    assert done == allowed(role)


@pytest.mark.parametrize("role", [READ, LINK, INGEST])
def test_no_role_makes_anything_in_the_database(cluster: Cluster, settings: Settings, role: str):
    with cluster.connect(str(settings.database_url.database), role) as connection:
        for statement in (
            "CREATE TABLE mine (x int)",
            "CREATE VIEW mine AS SELECT * FROM customers",
            "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE SCHEMA mine",
            "CREATE ROLE mine",
            "ALTER TABLE audit_events DISABLE TRIGGER ALL",
            "ALTER TABLE conversations DISABLE ROW LEVEL SECURITY",
            "CREATE POLICY everything ON conversations USING (true)",
            "UPDATE audit_counter SET position = 0",
            "SELECT lo_create(0)",
            "SELECT lo_creat(-1)",
            "SELECT lo_from_bytea(0, 'x')",
            "SELECT audit_events_refuse()",
            "SELECT users_session_epoch()",
            "SELECT audit_events_instructor()",
            "SELECT audit_events_next_position()",
            "SELECT conversations_note_operation()",
            "SET session_replication_role = replica",
            f"SET ROLE {OWNER}",
        ):
            assert not may(connection, statement), statement


TENANTS_TABLES = (Conversation, Message, Customer, AuditEvent)


def seen(scope: Scope) -> dict[str, set[UUID]]:
    """Return whose rows a query without any WHERE finds, by table, on the engine that reads."""
    with reading(scope) as connection:
        return {
            model.__tablename__: set(connection.scalars(select(model.instructor_id)))
            for model in TENANTS_TABLES
        }


def scope_for(app: Flask, *instructor_ids: UUID) -> Scope:
    """Return the scope of a request by a user who works for these instructors."""
    return Scope(app.extensions["engines"], instructor_ids)


def all_of(*instructor_ids: UUID) -> dict[str, set[UUID]]:
    return {model.__tablename__: set(instructor_ids) for model in TENANTS_TABLES}


@pytest.fixture
def both(anna: Desk, bruno: Desk) -> tuple[Desk, Desk]:
    """Let both have a linked conversation, one with the same number."""
    for someone in (anna, bruno):
        someone.link(someone.conversation("393331234567"))
    return anna, bruno


@pytest.mark.shows("CM-1.3", "Review.Everywhere.1")
def test_a_request_without_a_where_reads_only_its_own_instructors_rows(app: Flask, both: tuple[Desk, Desk]):
    anna, bruno = both
    for mine in ([anna.instructor_id], [bruno.instructor_id], [anna.instructor_id, bruno.instructor_id], []):
        assert seen(scope_for(app, *mine)) == all_of(*mine)


@pytest.mark.shows("Review.Everywhere.1")
def test_a_request_reads_nothing_before_it_says_for_whom(app: Flask, both: tuple[Desk, Desk]):
    with app.test_request_context():
        assert seen(scope()) == all_of()
        with pytest.raises(RuntimeError, match="its own instructors only"):
            command_scope()


def test_a_command_reads_everything(app: Flask, both: tuple[Desk, Desk]):
    assert seen(command_scope()) == all_of(*(desk.instructor_id for desk in both))


@pytest.mark.shows("CM-1.3")
def test_a_request_without_a_where_reads_only_its_own_instructors_operations(
    app: Flask, both: tuple[Desk, Desk]
):
    for mine in both:
        with writing(scope_for(app, mine.instructor_id)) as connection:
            assert set(connection.scalars(select(LinkOperation.instructor_id))) == {mine.instructor_id}


def test_a_request_without_a_where_writes_only_its_own_instructors_rows(app: Flask, both: tuple[Desk, Desk]):
    anna, _bruno = both
    with writing(scope_for(app, anna.instructor_id)) as connection:
        assert connection.execute(text("UPDATE conversations SET customer_id = NULL")).rowcount == 1
    assert rows("SELECT instructor_id FROM conversations WHERE customer_id IS NULL AND link_version > 0") == [
        (str(anna.instructor_id),)
    ]


@pytest.mark.shows("CM-1.3")
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO customers VALUES (gen_random_uuid(), '{other}', 'whatsapp', '393339999999', now())",
        (
            "INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event)"
            " VALUES (gen_random_uuid(), '{conversation}', '{other}', 99, '{{}}')"
        ),
    ],
    ids=["customers", "audit_events"],
)
def test_a_request_adds_nothing_to_another_instructors_rows(
    app: Flask, both: tuple[Desk, Desk], statement: str
):
    anna, bruno = both
    (of_anna, of_bruno) = (
        statement.format(other=whose, conversation=conversation)
        for item in (anna, bruno)
        for whose, conversation in rows(
            f"SELECT instructor_id, id FROM conversations WHERE instructor_id = '{item.instructor_id}'"
        )
    )
    annas = scope_for(app, anna.instructor_id)
    refused = "row-level security|not one of its instructor"
    with pytest.raises(DBAPIError, match=refused), writing(annas) as connection:
        connection.execute(text(of_bruno))
    with writing(annas) as connection:
        connection.execute(text(of_anna))


def backend(scope: Scope) -> int:
    with reading(scope) as connection:
        found: int = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        return found


def test_a_connection_that_another_tenant_used_before_shows_nothing_of_theirs(
    app: Flask, both: tuple[Desk, Desk], cluster: Cluster
):
    anna, bruno = ([item.instructor_id] for item in both)
    used = set()

    def expect(mine: list[UUID]) -> None:
        used.add(backend(scope_for(app, *mine)))
        assert seen(scope_for(app, *mine)) == all_of(*mine)

    for mine in (anna, bruno, [], bruno, anna):
        expect(mine)
        with pytest.raises(DBAPIError), reading(scope_for(app, *mine)) as connection:
            connection.execute(text("SELECT 1 / 0"))
    assert len(used) == 1
    cluster.execute(f"SELECT pg_terminate_backend({used.pop()}, 5000)")  # and wait until it has ended
    for mine in (bruno, [], anna):
        expect(mine)


def test_a_request_keeps_its_instructors_after_an_error(app: Flask, both: tuple[Desk, Desk]):
    anna, _ = both
    with reading(scope_for(app, anna.instructor_id)) as connection:
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT 1 / 0"))
        connection.rollback()
        assert set(connection.scalars(select(Conversation.instructor_id))) == {anna.instructor_id}


def test_many_at_once_on_a_few_connections_see_their_own(app: Flask, both: tuple[Desk, Desk]):
    anna, bruno = both

    def look(number: int) -> bool:
        mine = (anna, bruno)[number % 2].instructor_id
        return seen(scope_for(app, mine)) == all_of(mine)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(200)))


def test_a_page_that_forgets_its_where_shows_what_its_reader_may_see(
    app: Flask, client: Browser, both: tuple[Desk, Desk]
):
    def all_instructor_ids() -> str:
        with reading(scope()) as connection:
            return " ".join(map(str, connection.scalars(select(Conversation.instructor_id))))

    app.add_url_rule("/in", "in", requires(Permission.CONVERSATIONS_READ)(all_instructor_ids))
    app.add_url_rule("/out", "out", public(lambda: all_instructor_ids()))
    for someone in both:
        assert client.http.get("/out").text == ""
        client.sign_in(someone.operator.email, someone.operator.password)
        assert client.http.get("/in").text == str(someone.instructor_id)
        client.submit(client.get_page("/conversations"), "/logout")


def test_an_operation_id_that_another_instructors_write_has_is_refused(app: Flask, both: tuple[Desk, Desk]):
    anna, bruno = both
    first, second, operation_id = anna.conversation("40404"), bruno.conversation("40405"), uuid4()
    customers = {item.instructor_id: item.customer("393330000000") for item in both}
    anna.link(first, customers[anna.instructor_id], operation_id=operation_id)
    anna.unlink(first)
    before = link_state(second), trail()
    with pytest.raises(service.OperationReused):
        bruno.link(
            second,
            customers[bruno.instructor_id],
            operation_id=operation_id,
            seen_version=before[0].link_version,
            scope=scope_for(app, bruno.instructor_id),
        )
    assert (link_state(second), trail()) == before


def test_an_event_whose_id_another_instructors_event_has_waits_in_its_outbox(
    app: Flask, both: tuple[Desk, Desk]
):
    anna, bruno = both
    second, customer_id, operation_id = bruno.conversation("40405"), bruno.customer("393330000000"), uuid4()
    execute(
        "INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event)"
        f" VALUES ('{operation_id}', '{anna.conversation('40404')}', '{anna.instructor_id}', 1, '{{}}')"
    )
    version = link_state(second).link_version
    brunos = scope_for(app, bruno.instructor_id)
    bruno.link(second, customer_id, operation_id=operation_id, seen_version=version, scope=brunos)
    assert [event["event_id"] for event in link_state(second).outbox or []] == [str(operation_id)]


@pytest.mark.shows("CM-2.2.1", "Review.Everywhere.2")
def test_ingestion_works_for_every_instructor_and_sees_no_link(app: Flask, both: tuple[Desk, Desk]):
    with app.test_request_context(), ingesting() as connection:
        found = set(connection.scalars(select(Conversation.instructor_id)))
        assert found == {item.instructor_id for item in both}
        with pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(select(Conversation.customer_id))
