"""Operation ids in a table of their own (CM-2.3): each belongs to one content, for good.

Existing operations are taken over from the events that they wrote, which hold all of their content, so that a
repeat that is under way during the upgrade is answered as its first. Of an operation without a readable event
only the id is known: it is refused when it comes again.

Review:
- The release before this one goes on writing `conversations.link_operation_id`, which stays: a trigger notes
  its operations here. This release, on the old schema, links nothing.
- Locks: PostgreSQL locks `conversations` for an instant, for the trigger. Taking over goes a thousand events
  at a time and stops no writer.
- Downgrade: drops the table, which the next upgrade makes again from the trail and the outboxes.
- Roles: the role that links inserts and reads operations. The trigger function runs with the owner's rights.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql, sqlite

from console.database import Guid

revision = "0009_link_operations"
down_revision = "0008_audit_positions"
branch_labels = None
depends_on = None

AT_ONCE = 1000

OPERATIONS = sa.table(
    "link_operations",
    sa.column("operation_id", Guid()),
    sa.column("instructor_id", Guid()),
    sa.column("conversation_id", Guid()),
    sa.column("digest", sa.CHAR(64)),
)
EVENTS = sa.table(
    "audit_events",
    sa.column("position", sa.BigInteger()),
    sa.column("event_id", Guid()),
    sa.column("instructor_id", Guid()),
    sa.column("conversation_id", Guid()),
    sa.column("event", sa.String()),
)
CONVERSATIONS = sa.table(
    "conversations",
    sa.column("id", Guid()),
    sa.column("instructor_id", Guid()),
    sa.column("link_operation_id", Guid()),
    sa.column("audit_outbox", sa.String()),
)
FIRST = UUID(int=0)

SQLITE_NOTE = """
    CREATE TRIGGER conversations_note_operation AFTER UPDATE OF link_operation_id ON conversations
    WHEN NEW.link_operation_id IS NOT NULL AND NEW.link_operation_id IS NOT OLD.link_operation_id
    BEGIN
        INSERT INTO link_operations (operation_id, instructor_id, conversation_id)
        VALUES (NEW.link_operation_id, NEW.instructor_id, NEW.id);
    END
"""
POSTGRESQL_NOTE = [
    """
    CREATE OR REPLACE FUNCTION conversations_note_operation() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        INSERT INTO link_operations (operation_id, instructor_id, conversation_id)
        VALUES (NEW.link_operation_id, NEW.instructor_id, NEW.id);
        RETURN NULL;
    END $$
    """,
    """
    CREATE OR REPLACE TRIGGER conversations_note_operation AFTER UPDATE OF link_operation_id ON conversations
    FOR EACH ROW WHEN (
        NEW.link_operation_id IS NOT NULL AND NEW.link_operation_id IS DISTINCT FROM OLD.link_operation_id
    )
    EXECUTE FUNCTION conversations_note_operation()
    """,
]


def upgrade() -> None:
    op.create_table(
        "link_operations",
        sa.Column("operation_id", Guid(), nullable=False),
        sa.Column("instructor_id", Guid(), nullable=False),
        sa.Column("conversation_id", Guid(), nullable=False),
        sa.Column("digest", sa.CHAR(64), nullable=True),
        sa.PrimaryKeyConstraint("operation_id", name="pk_link_operations"),
    )
    for statement in POSTGRESQL_NOTE if _on_postgresql() else [SQLITE_NOTE]:
        op.execute(statement)
    for rows in (_from_trail, _from_outboxes, _from_rows):
        for some in rows(op.get_bind()):
            _keep(some)


def downgrade() -> None:
    if _on_postgresql():
        op.execute("DROP TRIGGER IF EXISTS conversations_note_operation ON conversations")
        op.execute("DROP FUNCTION IF EXISTS conversations_note_operation()")
    else:
        op.execute("DROP TRIGGER conversations_note_operation")
    op.drop_table("link_operations")


def _from_trail(connection: sa.Connection) -> Iterator[list[dict[str, Any]]]:
    last = 0
    while rows := _after(connection, sa.select(EVENTS), EVENTS.c.position, last):
        last = rows[-1].position
        yield [
            _operation(row.event_id, row.instructor_id, row.conversation_id, _digest(_read(row.event)))
            for row in rows
        ]


def _from_outboxes(connection: sa.Connection) -> Iterator[list[dict[str, Any]]]:
    waiting = sa.select(CONVERSATIONS.c.id, CONVERSATIONS.c.instructor_id, _outbox())
    last = FIRST
    while rows := _after(
        connection, waiting.where(CONVERSATIONS.c.audit_outbox.is_not(None)), CONVERSATIONS.c.id, last
    ):
        last = rows[-1].id
        events = [(row, event) for row in rows for event in _items(row.outbox)]
        yield [
            _operation(operation_id, row.instructor_id, row.id, _digest(event))
            for row, event in events
            if (operation_id := _id(event))
        ]


def _from_rows(connection: sa.Connection) -> Iterator[list[dict[str, Any]]]:
    columns = (CONVERSATIONS.c.id, CONVERSATIONS.c.instructor_id, CONVERSATIONS.c.link_operation_id)
    linked = sa.select(*columns).where(CONVERSATIONS.c.link_operation_id.is_not(None))
    last = FIRST
    while rows := _after(connection, linked, CONVERSATIONS.c.link_operation_id, last):
        last = rows[-1].link_operation_id
        yield [_operation(row.link_operation_id, row.instructor_id, row.id, None) for row in rows]


def _after(
    connection: sa.Connection, statement: sa.Select[Any], key: sa.ColumnElement[Any], last: object
) -> Sequence[sa.Row[Any]]:
    return connection.execute(statement.where(key > last).order_by(key).limit(AT_ONCE)).all()


def _keep(rows: list[dict[str, Any]]) -> None:
    """Insert operations; where one is there already, add its digest if that wasn't known."""
    by_id = {row["operation_id"]: row for row in reversed(rows)}
    if by_id:
        insert = postgresql.insert if _on_postgresql() else sqlite.insert
        statement = insert(OPERATIONS).values(list(by_id.values()))
        op.execute(
            statement.on_conflict_do_update(
                index_elements=["operation_id"],
                set_={"digest": statement.excluded.digest},
                where=OPERATIONS.c.digest.is_(None)
                & (OPERATIONS.c.conversation_id == statement.excluded.conversation_id),
            )
        )


def _operation(
    operation_id: UUID, instructor_id: UUID, conversation_id: UUID, digest: str | None
) -> dict[str, Any]:
    return {
        "operation_id": operation_id,
        "instructor_id": instructor_id,
        "conversation_id": conversation_id,
        "digest": digest,
    }


def _digest(event: Any) -> str | None:
    """Return what this revision's release makes of the same content; None where it can't be read."""
    try:
        created = event["context"].get("customer_created") is True
        customer_id = event["new_customer_id"]
        kind = "create" if created else "link" if customer_id else "unlink"
        content = [
            event["actor_id"],
            event["conversation_id"],
            kind,
            None if created else customer_id,
            event["reason"],
            int(event["sequence"]) - 1,
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _read(line: str | None) -> Any:
    try:
        return json.loads(line or "null")
    except ValueError:
        return None


def _items(outbox: str) -> list[Any]:
    items = _read(outbox)
    return items if isinstance(items, list) else [items]


def _id(event: Any) -> UUID | None:
    try:
        return UUID(event["event_id"]) if isinstance(event, Mapping) else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _outbox() -> sa.ColumnElement[str]:
    return sa.cast(CONVERSATIONS.c.audit_outbox, sa.String()).label("outbox")


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
