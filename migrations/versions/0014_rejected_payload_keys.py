"""Whose a rejected payload is, where its account is known; its keys with `instructor_id` in them.

Payloads that are there already, and those of no one known instructor, have the nil UUID there.

Review:
- The release before this one keeps payloads as it did, under the nil UUID. This one, on the old schema,
  keeps them without an instructor.
- Locks: a new column with a constant default, which neither engine rewrites the table for. PostgreSQL
  builds the indexes beside the writers, then locks the table for an instant in which one key takes the
  place of the other. SQLite builds it anew while writers wait.
- Downgrade: loses whose the payloads are.
- Roles: ingestion inserts the new column (`flask database roles --apply`).
"""

import sqlalchemy as sa
from alembic import op

from console.database import Guid
from migrations.online import prepare_key, swap_key
from migrations.rebuilding import rebuilt

revision = "0014_rejected_payload_keys"
down_revision = "0013_audit_keys"
branch_labels = None
depends_on = None

NIL = "00000000-0000-0000-0000-000000000000"
FORMER, UNIQUE = "uq_rejected_payloads_digest", "uq_rejected_payloads_digest_instructor_id"


def upgrade() -> None:
    op.add_column("rejected_payloads", sa.Column("instructor_id", Guid(), server_default=NIL, nullable=False))
    _change(FORMER, UNIQUE, ["instructor_id"])


def downgrade() -> None:
    _change(UNIQUE, FORMER, [])
    op.drop_column("rejected_payloads", "instructor_id")


def _change(former: str, unique: str, tenant: list[str]) -> None:
    key, once = ["id", *tenant], ["digest", *tenant]
    if op.get_context().dialect.name == "sqlite":
        with rebuilt("rejected_payloads") as payloads:
            payloads.drop_constraint("pk_rejected_payloads", type_="primary")
            payloads.create_primary_key("pk_rejected_payloads", key)
            payloads.drop_constraint(former, type_="unique")
            payloads.create_unique_constraint(unique, once)
        return
    for name, takes_from, columns in (
        ("pk_rejected_payloads", "pk_rejected_payloads", key),
        (unique, former, once),
    ):
        prepare_key("rejected_payloads", name, columns)
        swap_key("rejected_payloads", takes_from, name, columns)
