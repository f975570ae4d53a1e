"""`flask demo`: two ski instructors' conversations to try the console on, and people to sign in as.

Who they are and what they say is in demo_conversations.toml. Every id follows from that, and every time from
the moment of the first run, so that a further run finds each row again and adds those that are missing.
"""

import base64
import hmac
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import click
from flask import current_app
from sqlalchemy import select, update

from console.accounts.service import authenticate, find_account, new_user
from console.commands import Command, Failure
from console.database import command_scope, ingesting, insert_ignoring, now, writing
from console.identifiers import normalize_identifier
from console.ingestion.inbox import CHANNEL
from console.linking import service
from console.models import ChannelAccount, Conversation, Customer, Instructor, Membership, Message, User
from console.permissions import Role
from console.web.current import settings

_DATA = Path(__file__).with_name("demo_conversations.toml")
# The name space of every id here.
_IDS = UUID("6f1c9a52-2d0e-5b7c-9a3e-8f4b1d7c2e60")
# How long before the first run the instructors joined. Their `created_at` keeps the moment of that run.
_SEASON = timedelta(days=120)
_LINE = re.compile(r"\A(> )?(?:\[([a-z]+)\] ?)?(.*)", re.DOTALL)

Data = dict[str, Any]


class OthersData(Failure):
    """The database is not the demo's alone, so nothing was added; `make run` goes on without the demo."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class _Conversation:
    """A conversation of the demo, and what operators do with it."""

    instructor_id: UUID
    identifier: str | None
    status: str
    last_message_at: datetime
    thread: list[str]
    links: list[tuple[str, str]]

    @property
    def id(self) -> UUID:
        """Return the id, which stays whatever is added to the demo."""
        return uuid5(self.instructor_id, f"{self.status} {self.identifier}")

    def sent_at(self, place: int) -> datetime:
        """Return when the message at `place` was sent: the newest are minutes apart, older ones further."""
        return self.last_message_at - timedelta(minutes=3 * (len(self.thread) - 1 - place) ** 2)


@click.command("demo", cls=Command)
@click.option("--anywhere", is_flag=True, help="Also among other people's data, or on PostgreSQL.")
def demo(anywhere: bool) -> None:
    """Add what is missing of the demo data; print the demo sign-ins: role, e-mail, password."""
    _require_migrated()
    data = tomllib.loads(_DATA.read_text("utf-8"))
    if not anywhere:
        _require_own_database(data)
    first_run = _add_instructors(data["instructors"])
    user_ids = {user["email"]: _add_user(user) for user in data["users"]}
    for instructor in data["instructors"]:
        conversations = list(_conversations(instructor, data["templates"], first_run))
        operators = [
            user_ids[user["email"]]
            for user in data["users"]
            if user["role"] == Role.OPERATOR and instructor["key"] in user["instructors"]
        ]
        _add_conversations(conversations)
        _link(conversations, operators)
    for user in data["users"]:
        click.echo(f"{user['role']:<12}{user['email']:<30}{_password(user['email'])}")


def _require_migrated() -> None:
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    head = ScriptDirectory(current_app.extensions["migrate"].directory).get_current_head()
    with writing(command_scope()) as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    if revision != head:
        raise Failure(f"the database is at {revision or 'no migration'}, not at {head}: flask db upgrade")


def _require_own_database(data: Data) -> None:
    """Refuse a database that is PostgreSQL, or has instructors or people who aren't the demo's."""
    ours = [uuid5(_IDS, instructor["key"]) for instructor in data["instructors"]]
    emails = [user["email"] for user in data["users"]]
    with writing(command_scope()) as connection:
        other = connection.dialect.name != "sqlite" or (
            connection.execute(select(Instructor.id).where(Instructor.id.not_in(ours)).limit(1)).first()
            or connection.execute(select(User.id).where(User.email.not_in(emails)).limit(1)).first()
        )
    if other:
        raise OthersData(
            "the demo's sign-ins would be added to a database that isn't the demo's alone:"
            " --anywhere does it all the same"
        )


def _add_instructors(instructors: list[Data]) -> datetime:
    """Add the instructors and their accounts; return the moment of the first run."""
    joined = now() - _SEASON
    people, accounts = [], []
    for instructor in instructors:
        instructor_id = uuid5(_IDS, instructor["key"])
        account_id = instructor["account"]
        people.append({"id": instructor_id, "name": instructor["name"], "created_at": joined})
        accounts.append({"channel": CHANNEL, "account_id": account_id, "instructor_id": instructor_id})
    with writing(command_scope()) as connection:
        insert_ignoring(connection, Instructor, people, ["id"])
        insert_ignoring(connection, ChannelAccount, accounts, ["channel", "account_id"])
        kept = select(Instructor.created_at).where(Instructor.id == people[0]["id"])
        return connection.execute(kept).scalar_one() + _SEASON


def _add_user(user: Data) -> UUID:
    """Add a user, or let an existing one in with the password of today's secret key; return the id."""
    email, password = user["email"], _password(user["email"])
    signs_in = authenticate(find_account(command_scope(), email=email), password)
    with writing(command_scope()) as connection:
        if not signs_in:
            row = new_user(uuid5(_IDS, email), email, user["name"], password)
            insert_ignoring(connection, User, [row], ["email"])
            known = update(User).where(User.email == email)
            connection.execute(known.values(password_hash=row["password_hash"]))
        user_id = connection.execute(select(User.id).where(User.email == email)).scalar_one()
        memberships = [
            {"user_id": user_id, "instructor_id": uuid5(_IDS, key), "role": user["role"]}
            for key in user["instructors"]
        ]
        insert_ignoring(connection, Membership, memberships, ["user_id", "instructor_id"])
    return user_id


def _password(email: str) -> str:
    """Return a demo user's password, which is kept nowhere: it follows from the console's secret key."""
    digest = hmac.digest(settings().secret_key.encode(), f"demo sign-in {email}".encode(), "sha256")
    return "-".join(re.findall("....", base64.b32encode(digest[:10]).decode().lower()))


def _conversations(instructor: Data, templates: list[Data], first_run: datetime) -> Iterator[_Conversation]:
    """Give an instructor's conversations, newest first: those written out, then those from templates."""
    written = [(0, conversation) for conversation in instructor["conversations"]]
    generated = [(n, templates[n % len(templates)]) for n in range(*instructor["generated"])]
    for place, (n, data) in enumerate(written + generated):
        yield _Conversation(
            instructor_id=uuid5(_IDS, instructor["key"]),
            identifier=data["from"].format(n=n) if "from" in data else None,
            status="closed" if data.get("closed") else "open",
            # 2 minutes, 14 minutes, 50 minutes, … a month.
            last_message_at=first_run - timedelta(minutes=2 + 12 * place**2),
            thread=[
                line.format(n=count + 1, hour=9 + count % 7)
                for count in range(n, n + data.get("repeat", 1))
                for line in data["thread"]
            ],
            links=data.get("links", []),
        )


def _add_conversations(conversations: list[_Conversation]) -> None:
    with ingesting() as connection:
        rows = [
            {
                "id": conversation.id,
                "instructor_id": conversation.instructor_id,
                "channel": CHANNEL,
                "customer_identifier": conversation.identifier,
                "status": conversation.status,
                "created_at": conversation.sent_at(0),
                "updated_at": conversation.last_message_at,
                "last_message_at": conversation.last_message_at,
            }
            for conversation in conversations
        ]
        insert_ignoring(connection, Conversation, rows, ["id", "instructor_id"])
        messages = [row for conversation in conversations for row in _message_rows(conversation)]
        insert_ignoring(connection, Message, messages, ["channel", "external_id", "instructor_id"])


def _message_rows(conversation: _Conversation) -> Iterator[Data]:
    for place, line in enumerate(conversation.thread):
        ((answer, kind, body),) = _LINE.findall(line)
        message_id = uuid5(conversation.id, f"message {place}")
        yield {
            "id": message_id,
            "conversation_id": conversation.id,
            "instructor_id": conversation.instructor_id,
            "channel": CHANNEL,
            "direction": "outbound" if answer else "inbound",
            "external_id": f"wamid.{message_id.hex}",
            "kind": kind or "text",
            "body": body or None,
            "sent_at": conversation.sent_at(place),
        }


def _link(conversations: list[_Conversation], operators: list[UUID]) -> None:
    """Link as people would, the oldest conversation first. What was written since the first run stays."""
    ids = [conversation.id for conversation in conversations]
    written = select(Conversation.id, Conversation.link_version).where(Conversation.id.in_(ids))
    with writing(command_scope()) as connection:
        versions = {row.id: row.link_version for row in connection.execute(written)}
    for conversation in reversed(conversations):
        for version in range(versions[conversation.id], len(conversation.links)):
            _take_step(conversation, version, operators[version % len(operators)])


def _take_step(conversation: _Conversation, version: int, actor_id: UUID) -> None:
    """Do what operators do with a conversation when its link has `version`."""
    target, reason = conversation.links[version]
    unlink = target == "none"
    customer_id = None if unlink else _customer(conversation, target)
    request = service.LinkRequest(
        conversation_id=conversation.id,
        customer_id=customer_id,
        create=not (unlink or customer_id),
        unlink=unlink,
        actor_id=actor_id,
        reason=reason,
        seen_version=version,
        operation_id=uuid5(conversation.id, f"link {version + 1}"),
        confirmed=True,
    )
    try:
        service.change(request, command_scope())
    except (service.LinkChanged, service.OperationReused):
        return  # A person, or another `flask demo`, changed the link first.
    except service.LinkError as error:
        raise Failure(
            f"conversation {conversation.id} can't be linked ({type(error).__name__}): "
            "are the demo operators still active, and still operators?"
        ) from None


def _customer(conversation: _Conversation, target: str) -> UUID | None:
    identifier = conversation.identifier if target == "own" else target
    statement = select(Customer.id).where(
        Customer.instructor_id == conversation.instructor_id,
        Customer.channel == CHANNEL,
        Customer.normalized_identifier == normalize_identifier(identifier or ""),
    )
    with writing(command_scope()) as connection:
        return connection.execute(statement).scalar_one_or_none()
