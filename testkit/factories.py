"""People, instructors and conversations for tests, made through the commands that make real ones."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from flask.testing import FlaskCliRunner
from sqlalchemy import select, text

from console.database import Scope, command_scope, reading
from console.linking import audit, service
from console.models import AuditEvent, Conversation, LinkOperation, Message

PASSWORD = "a long password of the tests"
HEALING_SECONDS = 120


@dataclass(frozen=True)
class Person:
    """A user and what they type to sign in."""

    id: UUID
    email: str
    password: str = PASSWORD


def run(cli: FlaskCliRunner, *arguments: str, stdin: str | bytes | None = None) -> str:
    """Run a `flask` command that has to succeed and return its stdout."""
    result = cli.invoke(args=arguments, input=stdin)
    assert result.exit_code == 0, result.stderr
    return result.stdout.strip()


def instructor(cli: FlaskCliRunner, name: str = "Anna Kofler") -> UUID:
    """Add an instructor."""
    return UUID(run(cli, "instructor", "add", name))


def user(
    cli: FlaskCliRunner, instructor_id: UUID, role: str = "operator", email: str | None = None
) -> Person:
    """Add a user, or a membership for an existing one."""
    email = email or f"{role}-{uuid4().hex[:8]}@example.org"
    arguments = ["user", "add", email, "--name", "Marta Rossi", "--instructor", str(instructor_id)]
    made = run(cli, *arguments, "--role", role, "--password-stdin", stdin=PASSWORD + "\n")
    return Person(UUID(made), email)


def channel(cli: FlaskCliRunner, instructor_id: UUID) -> str:
    """Give an instructor a WhatsApp number and return its phone_number_id."""
    phone_number_id = str(uuid4().int)[:15]
    return run(cli, "channel", "add", "whatsapp", phone_number_id, "--instructor", str(instructor_id))


def payload(
    phone_number_id: str, sender: str, *, text: str = "Hi", at: int = 1_790_000_000, external_id: str = ""
) -> str:
    """Return a webhook payload with one text message."""
    message = {
        "from": sender,
        "id": external_id or f"wamid.{uuid4().hex}",
        "timestamp": str(at),
        "type": "text",
        "text": {"body": text},
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "0", "phone_number_id": phone_number_id},
        "messages": [message],
    }
    entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]})


@dataclass(frozen=True)
class Desk:
    """An instructor with a WhatsApp number and an operator."""

    cli: FlaskCliRunner
    instructor_id: UUID
    phone_number_id: str
    operator: Person

    def conversation(self, sender: str, *, text: str = "Hi", at: int = 1_790_000_000) -> UUID:
        """Send the instructor a message; return the conversation in which it arrived."""
        external_id = f"wamid.{uuid4().hex}"
        line = payload(self.phone_number_id, sender, text=text, at=at, external_id=external_id)
        run(self.cli, "ingest", "-", stdin=line)
        wanted = select(Message.conversation_id).where(Message.external_id == external_id)
        with reading(command_scope()) as connection:
            return connection.execute(wanted).scalar_one()

    def link(
        self,
        conversation_id: UUID,
        customer_id: UUID | None = None,
        *,
        scope: Scope | None = None,
        **changes: Any,
    ) -> service.LinkOutcome:
        """Link as the operator, creating the customer if none is given; by default in a command's scope."""
        asked = {"customer_id": customer_id, "create": customer_id is None}
        return self._change(conversation_id, {"reason": "said so on the phone", **asked, **changes}, scope)

    def unlink(self, conversation_id: UUID, **changes: Any) -> service.LinkOutcome:
        """Unlink as the operator."""
        return self._change(
            conversation_id, {"reason": "was another", "unlink": True, "confirmed": True, **changes}
        )

    def _change(
        self, conversation_id: UUID, asked: dict[str, Any], scope: Scope | None = None
    ) -> service.LinkOutcome:
        default: dict[str, Any] = {"actor_id": self.operator.id, "operation_id": uuid4()}
        if "seen_version" not in asked:
            default["seen_version"] = link_state(conversation_id).link_version
        request = service.LinkRequest(conversation_id=conversation_id, **{**default, **asked})
        return service.change(request, scope or command_scope())

    def customer(self, sender: str) -> UUID:
        """Create a customer who is not linked to anything in the end: there is no other way to create one."""
        conversation_id = self.conversation(sender)
        self.link(conversation_id)
        customer_id = link_state(conversation_id).customer_id
        self.unlink(conversation_id)
        assert customer_id
        return customer_id


def desk(cli: FlaskCliRunner, name: str = "Anna Kofler") -> Desk:
    """Set up an instructor, their number and their operator."""
    instructor_id = instructor(cli, name)
    return Desk(cli, instructor_id, channel(cli, instructor_id), user(cli, instructor_id))


def checkpointed(cli: FlaskCliRunner, desk: Desk, path: Path) -> Path:
    """Write a trail of at least twelve events, a checkpoint over them to `path`, and two more events."""
    customers = [desk.customer(f"39333000000{number}") for number in range(3)]
    conversations = [desk.conversation(f"39333123456{number}") for number in range(3)]
    for number in range(12):
        desk.link(conversations[number % 3], customers[(number // 3) % 3], confirmed=True)
    heal()  # on a busy machine the trail may have been too slow
    path.write_text(run(cli, "audit", "checkpoint") + "\n")
    for conversation_id in conversations[:2]:
        desk.link(conversation_id, customers[1], confirmed=True)
    heal()
    return path


@dataclass(frozen=True)
class LinkState:
    """A conversation's link as the database has it."""

    customer_id: UUID | None
    link_version: int
    outbox: list[dict[str, Any]] | None


def link_state(conversation_id: UUID) -> LinkState:
    """Read a conversation's link."""
    columns = (
        Conversation.customer_id,
        Conversation.link_version,
        Conversation.audit_outbox,
    )
    with reading(command_scope()) as connection:
        row = connection.execute(select(*columns).where(Conversation.id == conversation_id)).one()
    return LinkState(*row)


def trail(conversation_id: UUID | None = None) -> list[dict[str, Any]]:
    """Read the audit trail, of one conversation or of all, in its order."""
    statement = select(AuditEvent.event).order_by(AuditEvent.position)
    if conversation_id:
        statement = statement.where(AuditEvent.conversation_id == conversation_id)
    with reading(command_scope()) as connection:
        return [json.loads(line) for line in connection.scalars(statement)]


def operations() -> dict[UUID, UUID]:
    """Read the operation ids that are taken, with the conversation that each belongs to."""
    from testkit.databases import back_door  # needs pytest, which the benchmark does without

    with back_door() as connection:
        rows = connection.execute(select(LinkOperation.operation_id, LinkOperation.conversation_id))
        return {row.operation_id: row.conversation_id for row in rows}


def heal() -> None:
    """Move waiting events as the background does, until none waits; a busy machine may take a while."""
    from testkit.databases import back_door  # needs pytest, which the benchmark does without

    deadline = time.monotonic() + HEALING_SECONDS
    with back_door() as connection:
        if connection.dialect.name == "postgresql":
            # The server may still be at the last statement, or COMMIT, of a client that was killed.
            connection.execute(text("LOCK TABLE conversations IN EXCLUSIVE MODE"))
    while any(audit.drain()):
        assert time.monotonic() < deadline, "events still wait"
