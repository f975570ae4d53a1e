"""Keys of customers and of the former operation ids with `instructor_id` in them.

Review:
- The release before this one goes on as it did: each index begins with the column that it looks for. This
  one runs on the old schema.
- Locks: PostgreSQL builds the indexes beside the writers, then locks `customers` for an instant in which
  one key takes the place of the other. SQLite builds the table anew while writers wait.
- Downgrade: loses nothing.
- Roles: none needs a new grant.
"""

from alembic import op

from migrations.online import prepare_key, swap_key
from migrations.rebuilding import rebuilt

revision = "0012_link_keys"
down_revision = "0011_inbox_keys"
branch_labels = None
depends_on = None

FORMER, INDEX = "uq_conversations_link_operation_id", "uq_conversations_link_operation_id_instructor_id"


def upgrade() -> None:
    _change(["id", "instructor_id"])
    op.create_index(INDEX, "conversations", ["link_operation_id", "instructor_id"], unique=True)
    op.drop_index(FORMER, "conversations")


def downgrade() -> None:
    op.create_index(FORMER, "conversations", ["link_operation_id"], unique=True)
    op.drop_index(INDEX, "conversations")
    _change(["id"])


def _change(key: list[str]) -> None:
    if op.get_context().dialect.name == "sqlite":
        with rebuilt("customers") as customers:
            customers.drop_constraint("pk_customers", type_="primary")
            customers.create_primary_key("pk_customers", key)
        return
    prepare_key("customers", "pk_customers", key)
    swap_key("customers", "pk_customers", "pk_customers", key)
