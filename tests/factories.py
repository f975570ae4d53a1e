"""People, instructors and conversations for tests, made through the commands that make real ones."""

import json
from dataclasses import dataclass
from uuid import UUID, uuid4

from flask.testing import FlaskCliRunner

PASSWORD = "a long password of the tests"


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
