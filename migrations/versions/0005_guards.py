"""Guards: a session epoch is only raised, and an event belongs to its conversation's instructor.

Review:
- The release before this one goes on as it did: it raises epochs by one and records events of their
  conversation's instructor. This one runs on the old schema, without the guards.
- Locks: PostgreSQL locks `users` and `audit_events` for an instant.
- Downgrade: loses nothing.
- Roles: none needs a new grant. The guards look with the writer's rights.
"""

from alembic import op

revision = "0005_guards"
down_revision = "0004_audit_events"
branch_labels = None
depends_on = None

SQLITE = {
    "users_session_epoch": """
    CREATE TRIGGER users_session_epoch BEFORE UPDATE OF session_epoch ON users
    WHEN NEW.session_epoch NOT IN (OLD.session_epoch, OLD.session_epoch + 1)
    BEGIN SELECT RAISE(ABORT, 'session_epoch is raised by one, and never set'); END
    """,
    "audit_events_instructor": """
    CREATE TRIGGER audit_events_instructor BEFORE INSERT ON audit_events
    WHEN NOT EXISTS (
        SELECT 1 FROM conversations WHERE id = NEW.conversation_id AND instructor_id = NEW.instructor_id
    )
    BEGIN SELECT RAISE(ABORT, 'the event''s conversation is not one of its instructor'); END
    """,
}
FUNCTION = (
    "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$"
)
POSTGRESQL = [
    FUNCTION.format(
        "users_session_epoch",
        """
    IF NEW.session_epoch <> OLD.session_epoch AND NEW.session_epoch - 1 <> OLD.session_epoch THEN
        RAISE check_violation USING MESSAGE = 'session_epoch is raised by one, and never set';
    END IF;""",
    ),
    """
    CREATE OR REPLACE TRIGGER users_session_epoch BEFORE UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION users_session_epoch()
    """,
    FUNCTION.format(
        "audit_events_instructor",
        """
    IF NOT EXISTS (
        SELECT FROM public.conversations
        WHERE id = NEW.conversation_id AND instructor_id = NEW.instructor_id
    ) THEN
        RAISE foreign_key_violation
            USING MESSAGE = 'the event''s conversation is not one of its instructor';
    END IF;""",
    ),
    """
    CREATE OR REPLACE TRIGGER audit_events_instructor BEFORE INSERT ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_instructor()
    """,
]
TABLES = {"users_session_epoch": "users", "audit_events_instructor": "audit_events"}


def upgrade() -> None:
    for statement in POSTGRESQL if _on_postgresql() else SQLITE.values():
        op.execute(statement)


def downgrade() -> None:
    for trigger, table in TABLES.items():
        if _on_postgresql():
            op.execute(f"DROP TRIGGER IF EXISTS {trigger} ON {table}")
            op.execute(f"DROP FUNCTION IF EXISTS {trigger}()")
        else:
            op.execute(f"DROP TRIGGER {trigger}")


def _on_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
