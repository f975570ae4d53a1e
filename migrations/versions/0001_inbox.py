"""The inbox: everything that stands without Customer Memory.

Review:
- Release before this one: there is none.
- Locks: nothing, the tables are new.
- Downgrade: drops every table and all that is in them.
- Roles: ingestion inserts conversations, messages and rejected payloads.
"""

import sqlalchemy as sa
from alembic import op

from console.database import Guid, UtcDateTime

revision = "0001_inbox"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "instructors",
        sa.Column("id", Guid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_instructors"),
    )
    op.create_table(
        "users",
        sa.Column("id", Guid(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("session_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    op.create_table(
        "memberships",
        sa.Column("user_id", Guid(), nullable=False),
        sa.Column("instructor_id", Guid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.CheckConstraint("role IN ('instructor', 'operator')", name="role"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_memberships_user_id_users"),
        sa.ForeignKeyConstraint(
            ["instructor_id"], ["instructors.id"], name="fk_memberships_instructor_id_instructors"
        ),
        sa.PrimaryKeyConstraint("user_id", "instructor_id", name="pk_memberships"),
    )
    op.create_table(
        "channel_accounts",
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("instructor_id", Guid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instructor_id"], ["instructors.id"], name="fk_channel_accounts_instructor_id_instructors"
        ),
        sa.PrimaryKeyConstraint("channel", "account_id", name="pk_channel_accounts"),
    )
    op.create_table(
        "conversations",
        sa.Column("id", Guid(), nullable=False),
        sa.Column("instructor_id", Guid(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("customer_identifier", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("last_message_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("status IN ('open', 'closed')", name="status"),
        sa.ForeignKeyConstraint(
            ["instructor_id"], ["instructors.id"], name="fk_conversations_instructor_id_instructors"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    op.create_index(
        "uq_conversations_open",
        "conversations",
        ["instructor_id", "channel", "customer_identifier"],
        unique=True,
        sqlite_where=sa.text("status = 'open'"),
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_index("ix_conversations_inbox", "conversations", ["instructor_id", "last_message_at", "id"])
    op.create_table(
        "messages",
        sa.Column("id", Guid(), nullable=False),
        sa.Column("conversation_id", Guid(), nullable=False),
        sa.Column("instructor_id", Guid(), nullable=False),
        sa.Column("channel", sa.String(), server_default="whatsapp", nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=True),
        sa.Column("sent_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("direction IN ('inbound', 'outbound')", name="direction"),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name="fk_messages_conversation_id_conversations"
        ),
        sa.ForeignKeyConstraint(
            ["instructor_id"], ["instructors.id"], name="fk_messages_instructor_id_instructors"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.UniqueConstraint("channel", "external_id", name="uq_messages_channel_external_id"),
    )
    op.create_index("ix_messages_thread", "messages", ["conversation_id", "sent_at", "id"])
    op.create_table(
        "rejected_payloads",
        sa.Column("id", Guid(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("payload", sa.String(), nullable=False),
        sa.Column("digest", sa.CHAR(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rejected_payloads"),
        sa.UniqueConstraint("digest", name="uq_rejected_payloads_digest"),
    )


def downgrade() -> None:
    for table in (
        "rejected_payloads",
        "messages",
        "conversations",
        "channel_accounts",
        "memberships",
        "users",
        "instructors",
    ):
        op.drop_table(table)
