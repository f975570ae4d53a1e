"""Commands, and how ours fail: one line on stderr, exit 2 for bad usage and 1 for a failed job."""

import getpass
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from uuid import UUID

import click
from flask import Flask
from flask.cli import AppGroup, ScriptInfo
from sqlalchemy.exc import DBAPIError
from werkzeug.local import LocalProxy

from console.config import ROOT, sqlite_path
from console.database import db, read_id

# These groups of commands name the database that they worked on.
_NAME_THE_DATABASE = ("audit", "user")


class _Commands(AppGroup):
    """The app's commands. Alembic is slow to import: only `flask db` and a list of all commands import it."""

    def __init__(self, migrations: Callable[[], Any], name: str) -> None:
        super().__init__(name)
        self._migrations = migrations

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "db":
            self._migrations()
        command = super().get_command(ctx, cmd_name)
        if command is None:
            raise BadUsage(f"there is no command {cmd_name!r} (flask --help tells more)")
        return command

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._migrations()
        return super().list_commands(ctx)


def init_app(app: Flask) -> None:
    """Let migrations be set up when they are first used. Comes before everything that adds a command."""

    @cache
    def migrations() -> Any:
        from flask_migrate import Migrate

        Migrate(app, db, directory=str(ROOT / "migrations"))
        return app.extensions["migrate"]

    app.cli = _Commands(migrations, app.name)
    app.extensions["migrate"] = LocalProxy(migrations)


def printable(text: str) -> str:
    """Return text in one line; characters that a terminal would obey or not show are spelled out."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def caller() -> str:
    """Return the name of the user who runs this, or the number of one without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


class Failure(click.ClickException):
    """A job that could not be done."""

    def format_message(self) -> str:
        """Return the message in one line, whatever it quotes."""
        return printable(self.message)


class BadUsage(Failure):
    """A call that can't be understood."""

    exit_code = 2


@contextmanager
def _one_line(*refusals: type[Exception]) -> Iterator[None]:
    try:
        yield
    except refusals as error:
        raise Failure(str(error)) from None
    except (click.exceptions.NoArgsIsHelpError, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except click.UsageError as error:
        usage = error.ctx.command_path if error.ctx else "flask"
        raise BadUsage(f"{error.format_message()} ({usage} --help tells more)") from None
    except UnicodeEncodeError:
        raise BadUsage("an argument is not valid UTF-8") from None
    except DBAPIError as error:
        cause = str(error.orig).splitlines()[0]
        advice = "Is it there and up to date? (flask db upgrade, as the owner)"
        if getattr(error.orig, "sqlstate", None) == "42501":
            advice = "Is it the role that docs/operations.md names for this command?"
        raise Failure(f"the database refused: {cause}. {advice}") from None
    except OSError as error:
        raise Failure(f"the system refused: {error.strerror}") from None
    except (AttributeError, RuntimeError):
        if sys.stdin is not None:
            raise
        raise BadUsage("stdin is closed") from None


class Command(click.Command):
    """A command that runs in the app's context and fails in one line; `click.command(cls=Command)`."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        refusals = ctx.parent.command.refusals if ctx.parent and isinstance(ctx.parent.command, Group) else ()
        with _one_line(*refusals), ctx.ensure_object(ScriptInfo).load_app().app_context():
            try:
                return super().invoke(ctx)
            finally:
                error = sys.exc_info()[1]  # a failure prints one line only
                ended = error is None or isinstance(error, SystemExit | click.exceptions.Exit)
                if ended and ctx.parent and ctx.parent.info_name in _NAME_THE_DATABASE:
                    name_database()


def name_database() -> None:
    """Say on stderr which database a command worked on, without its password."""
    url = db.engine.url
    click.echo(f"database: {sqlite_path(url) or url.render_as_string()}", err=True)


class Group(click.Group):
    """A group of such commands; each of them fails with the message of a refusal."""

    command_class = Command

    def __init__(self, name: str, *, help: str, refusals: tuple[type[Exception], ...] = ()) -> None:  # noqa: A002
        super().__init__(name, help=help)
        self.refusals = refusals

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        with _one_line():
            return super().resolve_command(ctx, args)


class _Uuid(click.ParamType[UUID]):
    name = "uuid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        try:
            return value if isinstance(value, UUID) else read_id(value)
        except ValueError:
            self.fail(f"{value!r} is not an id: it takes a UUID", param, ctx)


UUID_PARAM = _Uuid()
"""The type of an argument that is an id."""
