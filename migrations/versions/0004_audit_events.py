"""The audit trail (CM-2.5): events that nobody can change, and the outbox in which each begins.

Review:
- The release before this one goes on as it did. This one, on the old schema, refuses to link, because it
  may not without an event.
- Locks: a new column without a default, which neither engine rewrites the table for; PostgreSQL locks
  `conversations` for an instant, and builds the index beside the writers.
- Downgrade: drops the trail. `flask audit drain` and `flask audit export` first.
- Roles: whoever links inserts and reads events, and updates the outbox.
"""

import sqlalchemy as sa
from alembic import op

from console.database import Guid, Json
from migrations.online import analyze

revision = "0004_audit_events"
down_revision = "0003_conversation_link"
branch_labels = None
depends_on = None

SQLITE_APPEND_ONLY = [
    """
    CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
    BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END
    """,
    """
    CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
    BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END
    """,
    # INSERT OR REPLACE would remove the old row without asking the trigger above.
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
POSTGRESQL_APPEND_ONLY = [
    """
    CREATE OR REPLACE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'audit_events is append-only'; END $$
    """,
    """
    CREATE OR REPLACE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()
    """,
]


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column(
            "position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False
        ),
        sa.Column("event_id", Guid(), nullable=False),
        sa.Column("conversation_id", Guid(), nullable=False),
        sa.Column("instructor_id", Guid(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_audit_events"),
        sa.UniqueConstraint("event_id", name="uq_audit_events_event_id"),
        sa.UniqueConstraint("conversation_id", "sequence", name="uq_audit_events_conversation_id_sequence"),
        sqlite_autoincrement=True,
    )
    for statement in POSTGRESQL_APPEND_ONLY if _on_postgresql() else SQLITE_APPEND_ONLY:
        op.execute(statement)
    op.add_column("conversations", sa.Column("audit_outbox", Json(), nullable=True))
    waiting = sa.text("audit_outbox IS NOT NULL")
    op.create_index(
        "ix_conversations_audit_outbox",
        "conversations",
        ["id"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    analyze("conversations")


def downgrade() -> None:
    op.drop_index("ix_conversations_audit_outbox", "conversations")
    op.drop_column("conversations", "audit_outbox")
    op.drop_table("audit_events")
    if _on_postgresql():
        op.execute("DROP FUNCTION IF EXISTS audit_events_refuse()")


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
