"""A link stays with its instructor on SQLite too, where a client may leave foreign keys off (CM-2.3).

Review:
- The release before this one goes on as it did: it writes no such link. This one runs on the old schema,
  without the guard.
- Locks: SQLite for an instant. PostgreSQL changes nothing: its foreign key can't be left off.
- Downgrade: loses nothing.
- Roles: none needs a new grant.
"""

from alembic import op

revision = "0007_link_guard"
down_revision = "0006_dismissals"
branch_labels = None
depends_on = None

EVENTS = {"insert": "INSERT", "update": "UPDATE OF customer_id, instructor_id"}


def upgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        return
    for name, event in EVENTS.items():
        op.execute(f"""
            CREATE TRIGGER conversations_own_customer_{name} BEFORE {event} ON conversations
            WHEN NEW.customer_id IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM customers WHERE id = NEW.customer_id AND instructor_id = NEW.instructor_id
            )
            BEGIN SELECT RAISE(ABORT, 'the customer is not one of the conversation''s instructor'); END
        """)


def downgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        return
    for name in EVENTS:
        op.execute(f"DROP TRIGGER conversations_own_customer_{name}")
