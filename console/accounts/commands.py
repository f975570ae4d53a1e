"""`flask instructor`, `user`, `membership` and `channel`: each prints the id alone on stdout."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import click

from console.accounts import service
from console.commands import UUID_PARAM, BadUsage, Failure, Group
from console.permissions import Role

instructor = Group("instructor", help="Instructors.")
user = Group("user", help="People who sign in.")
channel = Group("channel", help="Which instructor a channel's account belongs to.")
membership = Group("membership", help="What a user may do for an instructor.")
commands: list[click.Command] = [instructor, user, channel, membership]


_password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of stdin."
)


_instructor = click.option(
    "--instructor", "instructor_id", type=UUID_PARAM, required=True, help="Whom the person works for."
)
_role = click.option("--role", type=click.Choice([role.value for role in Role]), required=True)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except service.AccountError as error:
        raise Failure(str(error)) from None


@instructor.command("add")
@click.argument("name")
def add_instructor(name: str) -> None:
    """Add an instructor."""
    with _explained():
        click.echo(service.add_instructor(name=name))


@user.command("add")
@click.argument("email")
@click.option("--name", required=True, help="What the console calls the person.")
@_instructor
@_role
@_password_stdin
def add_user(email: str, name: str, instructor_id: UUID, role: str, password_stdin: bool) -> None:
    """Add a user, or make an existing one (who keeps name and password) a member for one more instructor."""
    password = _read_password(password_stdin)
    with _explained():
        click.echo(
            service.add_user(
                email=email, name=name, instructor_id=instructor_id, role=Role(role), password=password
            )
        )


@user.command("password")
@click.argument("email")
@_password_stdin
def change_password(email: str, password_stdin: bool) -> None:
    """Give a user another password, and end all their sessions."""
    password = _read_password(password_stdin)
    with _explained():
        click.echo(service.change_password(email=email, password=password))


@user.command("disable")
@click.argument("email")
def disable_user(email: str) -> None:
    """Shut a user out, from their next request on."""
    with _explained():
        click.echo(service.disable_user(email=email))


@user.command("enable")
@click.argument("email")
def enable_user(email: str) -> None:
    """Let a disabled user sign in again."""
    with _explained():
        click.echo(service.enable_user(email=email))


@user.command("sign-out")
@click.argument("email")
def sign_out_user(email: str) -> None:
    """End all sessions of a user, who may sign in again."""
    with _explained():
        click.echo(service.sign_out_user(email=email))


@membership.command("set")
@click.argument("email")
@_instructor
@_role
def set_membership(email: str, instructor_id: UUID, role: str) -> None:
    """Give a user a role for an instructor, from their next request on."""
    with _explained():
        click.echo(service.set_membership(email=email, instructor_id=instructor_id, role=Role(role)))


@membership.command("remove")
@click.argument("email")
@_instructor
def remove_membership(email: str, instructor_id: UUID) -> None:
    """Take a user's membership for an instructor away, from their next request on."""
    with _explained():
        click.echo(service.remove_membership(email=email, instructor_id=instructor_id))


@channel.command("add")
@click.argument("name", type=click.Choice(["whatsapp"]))
@click.argument("account_id", metavar="PHONE_NUMBER_ID")
@click.option("--instructor", "instructor_id", type=UUID_PARAM, required=True)
def add_channel(name: str, account_id: str, instructor_id: UUID) -> None:
    """Say whose a WhatsApp phone_number_id is."""
    with _explained():
        click.echo(service.add_channel(channel=name, account_id=account_id, instructor_id=instructor_id))


def _read_password(asked: bool) -> str:
    if not asked:
        raise BadUsage("the password comes from stdin: add --password-stdin")
    try:
        return sys.stdin.buffer.readline().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Failure("the password is not valid UTF-8") from None
