"""`flask instructor`, `flask user`, `flask channel`: the id alone on stdout, or one line on why not."""

from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskCliRunner

from tests.factories import PASSWORD, instructor, run, user
from tests.pages import Browser


def failed(cli: FlaskCliRunner, *arguments: str, stdin: str | bytes = b"") -> tuple[int, str]:
    """Run a command that has to fail in one line; return its exit code and that line."""
    result = cli.invoke(args=arguments, input=stdin)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return result.exit_code, line


def test_each_prints_the_id_alone(cli: FlaskCliRunner):
    instructor_id = instructor(cli)
    person = user(cli, instructor_id)
    assert UUID(str(person.id)).version == 7
    assert run(cli, "user", "disable", person.email) == str(person.id)
    assert run(cli, "channel", "add", "whatsapp", "1234", "--instructor", str(instructor_id)) == "1234"


def test_a_second_instructor_gives_the_same_user_a_second_membership(cli: FlaskCliRunner, client: Browser):
    anna, bruno = instructor(cli, "Anna"), instructor(cli, "Bruno")
    person = user(cli, anna, "operator")
    assert user(cli, bruno, "instructor", person.email).id == person.id
    client.sign_in(person.email, person.password)
    assert client.get_page(f"/conversations?instructor={anna}")
    assert client.get_page(f"/conversations?instructor={bruno}")
    client.get_page(f"/links?instructor={bruno}", 403)


def test_bad_input_is_refused_in_one_line(cli: FlaskCliRunner):
    anna = str(instructor(cli))
    person = user(cli, UUID(anna))
    add = ("user", "add", person.email, "--name", "N", "--role", "operator")
    known = (*add, "--instructor", anna, "--password-stdin")
    refused = [
        (1, "needs a name", ("instructor", "add", " "), b""),
        (2, "Missing argument", ("instructor", "add"), b""),
        (2, "it takes a UUID", (*add, "--instructor", "1", "--password-stdin"), b"x\n"),
        (2, "--password-stdin", (*add, "--instructor", anna), b"x\n"),
        (2, "operator", ("user", "add", "a@b.c", "--name", "N", "--role", "boss", "--instructor", anna), b""),
        (1, "no instructor", (*add, "--instructor", str(uuid4()), "--password-stdin"), b"x\n"),
        (1, "member for this instructor already", known, PASSWORD.encode()),
        (1, "another password", known, b"something else\n"),
        (1, "password is empty", known, b""),
        (1, "not an e-mail address", ("user", "add", "nobody", *known[3:]), b"x\n"),
        (1, "no user", ("user", "disable", "nobody@example.org"), b""),
        (2, "whatsapp", ("channel", "add", "telegram", "1", "--instructor", anna), b""),
        (1, "no instructor", ("channel", "add", "whatsapp", "1", "--instructor", str(uuid4())), b""),
        (2, "No such command", ("user", "promote"), b""),
        (2, "not valid UTF-8", ("instructor", "add", "\udcff"), b""),
    ]
    for code, said, arguments, stdin in refused:
        exit_code, line = failed(cli, *arguments, stdin=stdin)
        assert exit_code == code, (arguments, line)
        assert said in line


def test_an_account_belongs_to_one_instructor(cli: FlaskCliRunner):
    run(cli, "channel", "add", "whatsapp", "1", "--instructor", str(instructor(cli, "Anna")))
    arguments = ("channel", "add", "whatsapp", "1", "--instructor", str(instructor(cli, "Bruno")))
    assert failed(cli, *arguments) == (1, "Error: that account belongs to an instructor already")


@pytest.mark.parametrize("password", ["unicode pässwörd ✓", "\x00nul", "x" * 1000])
def test_any_password_works(cli: FlaskCliRunner, client: Browser, password: str):
    arguments = ("user", "add", "a@example.org", "--name", "A", "--instructor", str(instructor(cli)))
    run(cli, *arguments, "--role", "operator", "--password-stdin", stdin=password + "\n")
    assert client.sign_in("a@example.org", password).status_code == 303
