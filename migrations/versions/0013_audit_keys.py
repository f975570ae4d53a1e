"""Keys of audit events with `instructor_id` in them (CM-2.5).

An event's id, its conversation and sequence, and its position stay unique over all instructors: the trigger
of 0008_audit_positions asks for them while it holds the counter, so that no two events are inserted at
once. On SQLite the position stays the key by itself: it is the row's number.

Review:
- The release before this one goes on as it did: each index begins with the columns that it looks for. This
  one runs on the old schema.
- Locks: PostgreSQL builds the indexes beside the writers, then locks `audit_events` for an instant in which
  one key takes the place of the other. SQLite builds the table anew while writers wait.
- Downgrade: loses nothing.
- Roles: none needs a new grant.
"""

from alembic import op

from migrations.online import prepare_key, swap_key
from migrations.rebuilding import rebuilt

revision = "0013_audit_keys"
down_revision = "0012_link_keys"
branch_labels = None
depends_on = None

KEYS = {
    "uq_audit_events_event_id": ["event_id"],
    "uq_audit_events_conversation_id_sequence": ["conversation_id", "sequence"],
}


def upgrade() -> None:
    _change({name: f"{name}_instructor_id" for name in KEYS}, ["instructor_id"])


def downgrade() -> None:
    _change({f"{name}_instructor_id": name for name in KEYS}, [])


def _change(names: dict[str, str], tenant: list[str]) -> None:
    changes = [
        (former, name, [*KEYS.get(name, KEYS.get(former, [])), *tenant]) for former, name in names.items()
    ]
    if op.get_context().dialect.name == "sqlite":
        with rebuilt("audit_events", sqlite_autoincrement=True) as events:
            for former, name, columns in changes:
                events.drop_constraint(former, type_="unique")
                events.create_unique_constraint(name, columns)
        return
    for former, name, columns in [*changes, ("pk_audit_events", "pk_audit_events", ["position", *tenant])]:
        prepare_key("audit_events", name, columns)
        swap_key("audit_events", former, name, columns)
