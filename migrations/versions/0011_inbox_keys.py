"""Keys of conversations and messages with `instructor_id` in them, so that both can be shared out by it.

A message is unique for its instructor, channel and external id; it was for its channel and external id. A
message belongs to its conversation's instructor: the foreign key says so.

Review:
- The release before this one goes on as it did: each index begins with the columns that it looks for. This
  one, on the old schema, answers 503 for a message id that another instructor has; WhatsApp sends it again.
- Locks: PostgreSQL builds the indexes and checks the foreign key beside the writers, then locks each table
  for an instant in which one key takes the place of the other. SQLite builds both tables anew while writers
  wait.
- Downgrade: loses nothing. Refused by the database where two instructors have a message of the same id.
- Roles: ingestion reads the instructor of messages (`flask database roles --apply`).
"""

from alembic import op

from migrations.online import prepare_key, swap_key
from migrations.rebuilding import rebuilt

revision = "0011_inbox_keys"
down_revision = "0010_session_epoch"
branch_labels = None
depends_on = None

FORMER_INDEX, INDEX = "ix_messages_thread", "ix_messages_newest"
ORDER = ["conversation_id", "sent_at", "id"]
FORMER_UNIQUE, UNIQUE = (
    "uq_messages_channel_external_id",
    "uq_messages_channel_external_id_instructor_id",
)
FORMER_REFERENCE, REFERENCE = (
    "fk_messages_conversation_id_conversations",
    "fk_messages_conversation_id_instructor_id_conversations",
)


def upgrade() -> None:
    # A conversation's newest message is found in the index alone, its instructor named or not.
    op.create_index(INDEX, "messages", [*ORDER, "instructor_id"])
    op.drop_index(FORMER_INDEX, "messages")
    _change((FORMER_UNIQUE, FORMER_REFERENCE), (UNIQUE, REFERENCE), ["instructor_id"])


def downgrade() -> None:
    op.create_index(FORMER_INDEX, "messages", ORDER)
    op.drop_index(INDEX, "messages")
    _change((UNIQUE, REFERENCE), (FORMER_UNIQUE, FORMER_REFERENCE), [])


def _change(former: tuple[str, str], new: tuple[str, str], tenant: list[str]) -> None:
    (former_unique, former_reference), (unique, reference) = former, new
    key, once, refers = ["id", *tenant], ["channel", "external_id", *tenant], ["conversation_id", *tenant]
    if op.get_context().dialect.name == "sqlite":
        with rebuilt("conversations") as conversations:
            conversations.drop_constraint("pk_conversations", type_="primary")
            conversations.create_primary_key("pk_conversations", key)
        with rebuilt("messages") as messages:
            messages.drop_constraint("pk_messages", type_="primary")
            messages.create_primary_key("pk_messages", key)
            messages.drop_constraint(former_unique, type_="unique")
            messages.create_unique_constraint(unique, once)
            messages.drop_constraint(former_reference, type_="foreignkey")
            messages.create_foreign_key(reference, "conversations", refers, key)
        return
    prepare_key("conversations", "pk_conversations", key)
    # Before the key that the former one needs goes, so that a message is never without its conversation.
    op.create_foreign_key(reference, "messages", "conversations", refers, key)
    op.drop_constraint(former_reference, "messages", type_="foreignkey")
    swap_key("conversations", "pk_conversations", "pk_conversations", key)
    for name, takes_from, columns in (("pk_messages", "pk_messages", key), (unique, former_unique, once)):
        prepare_key("messages", name, columns)
        swap_key("messages", takes_from, name, columns)
