"""Naughty texts in every argument of every command, and on stdin: done, or refused in one line."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskCliRunner
from hypothesis import given
from hypothesis import settings as effort

from console.config import ROOT, Settings
from console.identifiers import normalize_identifier
from console.text import is_name
from testkit.databases import environment, on_sqlite, rows
from testkit.factories import Desk, run
from tests.security.naughty import NAUGHTY, any_text

# No argument of a process has a NUL in it. What is no UTF-8 comes as lone surrogates of the second half.
ARGUMENTS = [text for text in NAUGHTY if "\x00" not in text]
ARGUMENTS += ["\udcff", "a\udc80b", "--", "-x", "--help=", "@x"]


def is_odd(text: str) -> bool:
    """Say whether a command line might see more than a word in a text."""
    return not text.isprintable() or not text.strip() or text[0] in "-@%'\"\\/" or len(text) > 99


def commands(group: click.Group, *above: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield the console's own commands, with the words that call each."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        elif command.callback and command.callback.__module__.startswith("console."):
            yield (*above, name), command


def call(
    words: tuple[str, ...], command: click.Command, changed: str, text: str, usual: dict[str, str]
) -> list[str]:
    """Return a call with one parameter changed, and the others such that it could be carried out."""
    options, arguments = [], []
    for parameter in command.params:
        name = str(parameter.name)
        value = text if name == changed else usual.get(name)
        if isinstance(parameter, click.Option) and parameter.is_flag:
            options += [parameter.opts[0]] if name == "password_stdin" else []
        elif isinstance(parameter, click.Option):
            options += [f"{parameter.opts[0]}={value}"] if value is not None else []
        elif value is not None:
            arguments.append(value)
    return [*words, *options, *arguments]


def checked(result: Result, called: object) -> Result:
    """Check that a command ended as commands do."""
    assert result.exception is None or isinstance(result.exception, SystemExit), ascii(called)
    assert result.exit_code in (0, 1, 2), ascii(called)
    if result.exit_code == 2:
        assert result.stdout == "", ascii(called)
        assert result.stderr.startswith("Error: "), ascii(called)
        assert result.stderr.count("\n") == 1, ascii((called, result.stderr))
    return result


@on_sqlite
def test_every_argument_of_every_command_may_be_anything(
    app: Flask, cli: FlaskCliRunner, anna: Desk, tmp_path: Path
):
    usual = {
        "email": "unknown@example.org",
        "name": "whatsapp",
        "instructor_id": str(anna.instructor_id),
        "role": "operator",
        "account_id": "1",
        "conversation_id": str(anna.instructor_id),
        "after": "1",
    }
    odd = list(filter(is_odd, ARGUMENTS))
    for words, command in commands(app.cli):
        texts = odd[::10] if words == ("user", "password") else odd  # there, each costs a hash
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.is_flag:
                continue
            for text in texts:
                called = call(words, command, str(parameter.name), text, usual)
                # An empty password ends `user add` before it has to be hashed.
                checked(cli.invoke(args=called, input="\n"), called)


def test_arguments_are_stored_as_given_or_refused(cli: FlaskCliRunner, anna: Desk):
    stored = set()
    for text in ARGUMENTS:
        called = ["instructor", "add", "--", text]
        added = checked(cli.invoke(args=called), called)
        assert added.exit_code == expected(text), ascii(text)
        stored |= {text.strip()} if added.exit_code == 0 else set()
        called = ["channel", "add", "whatsapp", f"--instructor={anna.instructor_id}", "--", text]
        assert checked(cli.invoke(args=called), called).exit_code in (0, 1, 2), ascii(text)
        called = ["user", "disable", "--", text]
        assert checked(cli.invoke(args=called), called).exit_code in (1, 2), ascii(text)
    assert {name for (name,) in rows("SELECT name FROM instructors")} == stored | {"Anna Kofler"}


def expected(name: str) -> int:
    """Return the exit code of adding an instructor: 0, 1 for an invalid name, 2 for invalid UTF-8."""
    if any("\ud800" <= character <= "\udfff" for character in name):
        return 2
    return 0 if is_name(name.strip()) else 1


@on_sqlite
def test_identifiers_are_normalised_one_a_line(cli: FlaskCliRunner):
    texts = [text for text in ARGUMENTS if text != "--help="]
    said = run(cli, "identifier", "normalize", "--", *texts).split("\n")
    assert said == [normalize_identifier(text) or "null" for text in texts]


@on_sqlite
def test_any_input_on_stdin_is_counted_or_refused(cli: FlaskCliRunner, anna: Desk, tmp_path: Path):
    lines = [text.encode("utf-8", "surrogatepass").replace(b"\n", b" ") for text in NAUGHTY]
    file = tmp_path / "payloads"
    file.write_bytes(b"\n".join([*lines, b"\xff\xfe", b"{}"]))
    called = ["ingest", str(file)]
    result = checked(cli.invoke(args=called), called)
    assert result.stdout.startswith("stored 0\n")
    for line in (*lines, b"\xff", b"", b"\x00" * 2000):
        called = [
            "user",
            "add",
            "a@example.org",
            "--name=A",
            f"--instructor={anna.operator.id}",
            "--role=operator",
        ]
        ended = checked(cli.invoke(args=[*called, "--password-stdin"], input=line + b"\n"), line)
        assert ended.exit_code in (1, 2), line


@on_sqlite
@effort(max_examples=40)
@given(text=any_text.map(lambda text: text.replace("\x00", "")))
def test_any_text_as_an_argument_is_an_end(cli: FlaskCliRunner, anna: Desk, text: str):
    for called in (
        ["badge", text],
        ["instructor", "add", text],
        ["audit", "export", f"--after={text}"],
        ["ingest", text],
    ):
        checked(cli.invoke(args=called), called)


@pytest.mark.parametrize(
    ("called", "code", "said"),
    [
        ("ingest - <&-", 2, "stdin is closed"),
        ("audit verify --checkpoint - <&-", 2, "stdin is closed"),
        ("user import - <&-", 2, "stdin is closed"),
        ("user password a@example.org --password-stdin <&-", 2, "stdin is closed"),
        (
            "identifier normalize 393331234567 <&- >/dev/full",
            1,
            "the system refused: No space left on device",
        ),
    ],
)
@on_sqlite
def test_a_stream_that_cannot_be_used_is_one_line(settings: Settings, called: str, code: int, said: str):
    shell = ["sh", "-c", f'exec "$0" -m flask {called}', sys.executable]
    done = subprocess.run(shell, cwd=ROOT, env=environment(settings), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"Error: {said}\n")


@on_sqlite
def test_a_closed_stdin_is_nothing_to_a_command_that_reads_none(settings: Settings, tmp_path: Path):
    (tmp_path / "lines").write_text("no JSON")
    shell = ["sh", "-c", f'exec "$0" -m flask ingest {tmp_path}/lines <&-', sys.executable]
    done = subprocess.run(shell, cwd=ROOT, env=environment(settings), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "line 1: not JSON\n")
