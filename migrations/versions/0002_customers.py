"""Customers (CM-1): five columns, one unique constraint, no trigger, no rows.

Review:
- The release before this one doesn't know the table; this one, on the old schema, shows no customer.
- Locks: the table is new. Making and dropping it locks `instructors` for an instant.
- Downgrade: drops the table and the customers in it.
- Roles: whoever links inserts and reads here; nobody updates or deletes.
"""

import sqlalchemy as sa
from alembic import op

from console.database import Guid, UtcDateTime

revision = "0002_customers"
down_revision = "0001_inbox"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "customers",
        sa.Column("id", Guid(), nullable=False),
        sa.Column("instructor_id", Guid(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("normalized_identifier", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instructor_id"], ["instructors.id"], name="fk_customers_instructor_id_instructors"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_customers"),
        sa.UniqueConstraint(
            "instructor_id",
            "channel",
            "normalized_identifier",
            name="uq_customers_instructor_id_channel_normalized_identifier",
        ),
    )


def downgrade() -> None:
    op.drop_table("customers")
