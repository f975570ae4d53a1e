"""users.session_epoch, where it is missing.

Revises: 0009_link_operations

The column was added to 0001_inbox after databases had been made by an earlier form of it.

Review:
- Release before this one: has the column in its model, and runs better with it. This one needs it.
- Locks: users, for an instant, where the column is missing; otherwise nothing.
- Downgrade: leaves the column, which 0001_inbox has. Nothing is lost.
- Customers and links: none.
- Roles: `flask database roles --apply` grants the column where it is new.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010_session_epoch"
down_revision = "0009_link_operations"
branch_labels = None
depends_on = None


def upgrade() -> None:
    columns = sa.inspect(op.get_bind()).get_columns("users")
    if "session_epoch" not in {column["name"] for column in columns}:
        op.add_column("users", sa.Column("session_epoch", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    pass
