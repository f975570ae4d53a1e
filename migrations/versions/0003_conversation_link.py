"""The link (CM-2.3): a conversation's customer, the version of that link, and the operation that made it.

Review:
- The release before this one neither reads nor writes the new columns; this one, on the old schema,
  shows no badge page and links nothing, and ingestion goes on.
- Locks: SQLite builds the table anew while writers wait. PostgreSQL (online.py) locks `conversations` for an
  instant for each column and for the constraint, whose check of old rows and the indexes stop nobody.
- Downgrade: drops every link, and keeps customers, conversations and messages.
- Roles: whoever links updates these columns; ingestion must not.
"""

import sqlalchemy as sa
from alembic import op

from console.database import Guid
from migrations.online import analyze

revision = "0003_conversation_link"
down_revision = "0002_customers"
branch_labels = None
depends_on = None

FOREIGN_KEY = "fk_conversations_instructor_id_customer_id_customers"
INDEXES = {
    "ix_conversations_customer": (["instructor_id", "customer_id"], "customer_id IS NOT NULL"),
    "ix_conversations_unlinked": (["instructor_id", "last_message_at", "id"], "customer_id IS NULL"),
    "ix_conversations_linked": (["instructor_id", "last_message_at", "id"], "customer_id IS NOT NULL"),
}


def upgrade() -> None:
    op.create_index("uq_customers_instructor_id_id", "customers", ["instructor_id", "id"], unique=True)
    with op.batch_alter_table("conversations") as conversations:
        conversations.add_column(sa.Column("customer_id", Guid(), nullable=True))
        conversations.add_column(sa.Column("link_version", sa.Integer(), server_default="0", nullable=False))
        conversations.add_column(sa.Column("link_operation_id", Guid(), nullable=True))
        conversations.create_foreign_key(
            FOREIGN_KEY, "customers", ["instructor_id", "customer_id"], ["instructor_id", "id"]
        )
    for name, (columns, where) in INDEXES.items():
        condition = sa.text(where)
        op.create_index(name, "conversations", columns, sqlite_where=condition, postgresql_where=condition)
    op.create_index("uq_conversations_link_operation_id", "conversations", ["link_operation_id"], unique=True)
    analyze("conversations")


def downgrade() -> None:
    for name in ("uq_conversations_link_operation_id", *INDEXES):
        op.drop_index(name, "conversations")
    with op.batch_alter_table("conversations") as conversations:
        conversations.drop_constraint(FOREIGN_KEY, type_="foreignkey")
        for column in ("link_operation_id", "link_version", "customer_id"):
            conversations.drop_column(column)
    op.drop_index("uq_customers_instructor_id_id", "customers")
