"""Positions without a gap, in the order in which events become visible (CM-2.5): a counter gives them.

A counter of one row is raised by the transaction that inserts an event, so the next position waits for that
transaction's end. An event whose id or sequence is taken is now refused with an error on both engines;
SQLite used to pass over it in silence.

Existing events are renumbered where positions are missing. That changes no event, but shifts positions that a
reader remembers: readers start again from 0 once, and know events that they have by their `event_id`.

Review:
- The release before this one inserts events as before: the trigger gives the position whatever the statement
  says. This release, on the old schema, keeps every event in its outbox.
- Locks: PostgreSQL locks `audit_events` against inserts while it numbers the rows (events wait in their
  outboxes meanwhile, no write waits for it longer than it does for a locked trail), then for an instant.
- Downgrade: loses nothing; positions come from a sequence again.
- Roles: a role that reads may read the counter. The trigger's function runs with the owner's rights.
"""

import logging

import sqlalchemy as sa
from alembic import op

from migrations.online import patiently

revision = "0008_audit_positions"
down_revision = "0007_link_guard"
branch_labels = None
depends_on = None

log = logging.getLogger("alembic.runtime.migration")

# In two steps, as a position that isn't free yet would be refused.
RENUMBER = [
    """
    UPDATE audit_events SET position = -numbered.place
    FROM (SELECT event_id, row_number() OVER (ORDER BY position) AS place FROM audit_events) AS numbered
    WHERE audit_events.event_id = numbered.event_id
    """,
    "UPDATE audit_events SET position = -position",
]
COUNT = "UPDATE audit_counter SET position = (SELECT count(*) FROM audit_events)"

NO_UPDATE = """
    CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
    BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END
"""
SQLITE_NO_REPLACE = """
    CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
    WHEN EXISTS (
        SELECT 1 FROM audit_events WHERE event_id = NEW.event_id OR position = NEW.position
        OR conversation_id = NEW.conversation_id AND sequence = NEW.sequence
    )
    BEGIN SELECT RAISE(ABORT, 'audit_events is append-only: the id, sequence or position is taken'); END
"""
SQLITE_NEXT_POSITION = """
    CREATE TRIGGER audit_events_next_position AFTER INSERT ON audit_events
    BEGIN
        SELECT RAISE(ABORT, 'audit_events has no gaps: the position is not the next one')
        WHERE NEW.position IS NOT (SELECT position + 1 FROM audit_counter);
        UPDATE audit_counter SET position = NEW.position;
    END
"""
SQLITE_SEQUENCE = """
    UPDATE sqlite_sequence SET seq = (SELECT count(*) FROM audit_events) WHERE name = 'audit_events'
"""
# What 0004 made.
SQLITE_FORMER = [
    """
    CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
    WHEN EXISTS (SELECT 1 FROM audit_events WHERE event_id = NEW.event_id)
    BEGIN SELECT RAISE(IGNORE); END
    """,
    """
    CREATE TRIGGER audit_events_no_replace_of_another BEFORE INSERT ON audit_events
    WHEN EXISTS (
        SELECT 1 FROM audit_events
        WHERE position = NEW.position AND event_id <> NEW.event_id
        OR conversation_id = NEW.conversation_id AND sequence = NEW.sequence AND event_id <> NEW.event_id
    )
    BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END
    """,
]

# The counter comes first: who waits for it sees, once it is free, what the one before has inserted.
POSTGRESQL_NEXT_POSITION = """
    CREATE OR REPLACE FUNCTION audit_events_next_position() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        UPDATE audit_counter SET position = position + 1 RETURNING position INTO STRICT NEW.position;
        IF EXISTS (
            SELECT FROM audit_events WHERE event_id = NEW.event_id
            OR conversation_id = NEW.conversation_id AND sequence = NEW.sequence
        ) THEN
            RAISE unique_violation USING MESSAGE = 'audit_events is append-only: the id or sequence is taken';
        END IF;
        RETURN NEW;
    END $$
"""
POSTGRESQL_NUMBER = f"""
    DO $$ BEGIN
        LOCK TABLE audit_events IN SHARE ROW EXCLUSIVE MODE;
        IF (SELECT count(*) <> coalesce(max(position), 0) FROM audit_events) THEN
            ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only;
            {RENUMBER[0]};
            {RENUMBER[1]};
            ALTER TABLE audit_events ENABLE TRIGGER audit_events_append_only;
        END IF;
        {COUNT};
        CREATE OR REPLACE TRIGGER audit_events_next_position BEFORE INSERT ON audit_events
        FOR EACH ROW EXECUTE FUNCTION audit_events_next_position();
    END $$
"""
POSTGRESQL_UNNUMBER = """
    DO $$ BEGIN
        LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE;
        IF EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = 'audit_events'::regclass AND attname = 'position' AND attidentity = ''
        ) THEN
            ALTER TABLE audit_events ALTER position ADD GENERATED BY DEFAULT AS IDENTITY;
        END IF;
        PERFORM setval(
            pg_get_serial_sequence('audit_events', 'position'), max(position) + 1, false
        ) FROM audit_events HAVING max(position) IS NOT NULL;
        DROP TRIGGER IF EXISTS audit_events_next_position ON audit_events;
    END $$
"""


def upgrade() -> None:
    op.create_table(
        "audit_counter",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_audit_counter"),
    )
    op.execute("INSERT INTO audit_counter SELECT 1, 0 WHERE NOT EXISTS (SELECT 1 FROM audit_counter)")
    missing = op.get_bind().scalar(sa.text("SELECT coalesce(max(position), 0) - count(*) FROM audit_events"))
    if missing:
        log.warning("Positions of the audit trail had gaps: who follows it starts again from position 0")
    if _on_postgresql():
        op.execute(POSTGRESQL_NEXT_POSITION)
        patiently(POSTGRESQL_NUMBER)
        op.execute("ALTER TABLE audit_events ALTER position DROP IDENTITY IF EXISTS")
        return
    for name in ("no_replace", "no_replace_of_another"):
        op.execute(f"DROP TRIGGER audit_events_{name}")
    if missing:
        op.execute("DROP TRIGGER audit_events_no_update")
        for statement in RENUMBER:
            op.execute(statement)
        op.execute(NO_UPDATE)
    op.execute(SQLITE_SEQUENCE)
    for statement in (COUNT, SQLITE_NO_REPLACE, SQLITE_NEXT_POSITION):
        op.execute(statement)


def downgrade() -> None:
    if _on_postgresql():
        op.execute(POSTGRESQL_UNNUMBER)
        op.execute("DROP FUNCTION IF EXISTS audit_events_next_position()")
    else:
        for name in ("next_position", "no_replace"):
            op.execute(f"DROP TRIGGER audit_events_{name}")
        for statement in SQLITE_FORMER:
            op.execute(statement)
    op.drop_table("audit_counter")


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
