"""`flask instructor`, `user`, `membership` and `channel`.

A command that changes something prints the id alone on stdout, and leaves an event in the log.
"""

import json
import sys
from typing import Any, TextIO
from uuid import UUID

import click
import structlog

from console.accounts import roster, service
from console.commands import UUID_PARAM, BadUsage, Failure, Group
from console.permissions import Role

log = structlog.get_logger()

_refusals = (service.AccountError,)
instructor = Group("instructor", help="Instructors.", refusals=_refusals)
user = Group("user", help="People who sign in.", refusals=_refusals)
channel = Group("channel", help="Which instructor a channel's account belongs to.", refusals=_refusals)
membership = Group("membership", help="What a user may do for an instructor.", refusals=_refusals)
commands: list[click.Command] = [instructor, user, channel, membership]

_password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of stdin."
)
_instructor = click.option(
    "--instructor",
    "instructor_id",
    type=UUID_PARAM,
    required=True,
    help="The instructor the person works for.",
)
_role = click.option("--role", type=click.Choice([role.value for role in Role]), required=True)


def _done(change: str, changed: UUID | str, **about: object) -> None:
    """Print the id of what was changed, and log the change with our own ids, not with WhatsApp's numbers."""
    ids = {"id": changed, **about} if isinstance(changed, UUID) else about
    log.info("account_changed", change=change, **{name: str(value) for name, value in ids.items()})
    click.echo(changed)


def _print(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        click.echo(json.dumps(row, ensure_ascii=False))


@instructor.command("add")
@click.argument("name")
def add_instructor(name: str) -> None:
    """Add an instructor."""
    same = [
        row["id"] for row in roster.list_instructors() if row["name"].casefold() == name.strip().casefold()
    ]
    added = service.add_instructor(name=name)
    _done("instructor added", added)
    for other in same:
        click.echo(f"Note: instructor {other} has the same name", err=True)


@instructor.command("list")
def list_instructors() -> None:
    """Print every instructor as a JSON line."""
    _print(roster.list_instructors())


@instructor.command("rename")
@click.argument("instructor_id", metavar="UUID", type=UUID_PARAM)
@click.argument("name")
def rename_instructor(instructor_id: UUID, name: str) -> None:
    """Give an instructor another name."""
    _done("instructor renamed", roster.rename_instructor(instructor_id=instructor_id, name=name))


@user.command("add")
@click.argument("email")
@click.option("--name", required=True, help="What the console calls the person.")
@_instructor
@_role
@_password_stdin
def add_user(email: str, name: str, instructor_id: UUID, role: str, password_stdin: bool) -> None:
    """Add a user, or make an existing one (who keeps name and password) a member for one more instructor."""
    password = _read_password(password_stdin)
    added = service.add_user(
        email=email, name=name, instructor_id=instructor_id, role=Role(role), password=password
    )
    _done("user added", added, instructor_id=instructor_id, role=role)


@user.command("import")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
def import_users(file: TextIO) -> None:
    """Add users and memberships from a CSV file (-: stdin), all of them or none; print an id for each row.

    The columns are email,name,instructor,role,password. A user who has an account keeps name and password.
    """
    try:
        added = roster.add_users(file)
    except UnicodeDecodeError:
        raise Failure("the file is not valid UTF-8") from None
    except roster.InvalidRows as error:
        for fault in error.faults:
            click.echo(fault, err=True)
        raise
    for member in added:
        _done("user imported", member["user_id"], instructor_id=member["instructor_id"], role=member["role"])


@user.command("list")
def list_users() -> None:
    """Print every user as a JSON line, with what they may do for which instructor."""
    _print(roster.list_users())


@user.command("rename")
@click.argument("email")
@click.option("--name", required=True, help="What the console calls the person.")
def rename_user(email: str, name: str) -> None:
    """Give a user another name."""
    _done("user renamed", roster.rename_user(email=email, name=name))


@user.command("password")
@click.argument("email")
@_password_stdin
def change_password(email: str, password_stdin: bool) -> None:
    """Give a user another password, and end all their sessions."""
    password = _read_password(password_stdin)
    _done("password changed", service.change_password(email=email, password=password))


def _ends_sessions(name: str, change: str, help: str, **values: bool) -> None:  # noqa: A002 (click's)
    @user.command(name, help=help)
    @click.argument("email")
    def command(email: str) -> None:
        _done(change, service.end_sessions_of(email, **values))


_ends_sessions("disable", "user disabled", "Shut a user out, from their next request on.", active=False)
_ends_sessions("enable", "user enabled", "Let a disabled user sign in again.", active=True)
_ends_sessions("sign-out", "user signed out", "End all sessions of a user, who may sign in again.")


@membership.command("set")
@click.argument("email")
@_instructor
@_role
def set_membership(email: str, instructor_id: UUID, role: str) -> None:
    """Give a user a role for an instructor, from their next request on."""
    user_id = service.set_membership(email=email, instructor_id=instructor_id, role=Role(role))
    _done("membership set", user_id, instructor_id=instructor_id, role=role)


@membership.command("remove")
@click.argument("email")
@_instructor
def remove_membership(email: str, instructor_id: UUID) -> None:
    """Take a user's membership for an instructor away, from their next request on."""
    user_id = service.remove_membership(email=email, instructor_id=instructor_id)
    _done("membership removed", user_id, instructor_id=instructor_id)


@channel.command("add")
@click.argument("name", type=click.Choice(["whatsapp"]))
@click.argument("account_id", metavar="PHONE_NUMBER_ID")
@click.option("--instructor", "instructor_id", type=UUID_PARAM, required=True)
def add_channel(name: str, account_id: str, instructor_id: UUID) -> None:
    """Say which instructor a WhatsApp phone_number_id belongs to."""
    added = service.add_channel(channel=name, account_id=account_id, instructor_id=instructor_id)
    _done("channel added", added, instructor_id=instructor_id)


def _read_password(asked: bool) -> str:
    if not asked:
        raise BadUsage("the password comes from stdin: add --password-stdin")
    try:
        return sys.stdin.buffer.readline().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Failure("the password is not valid UTF-8") from None
