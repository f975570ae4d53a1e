"""`flask instructor`, `flask user`, `flask channel`: the id alone on stdout, or one line on why not."""

from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskCliRunner

from console.config import Settings
from testkit.databases import as_owner, file_of
from testkit.factories import PASSWORD, Person, instructor, run, user
from testkit.pages import Browser


def failed(cli: FlaskCliRunner, *arguments: str, stdin: str | bytes = b"") -> tuple[int, str]:
    """Run a command that has to fail in one line; return its exit code and that line."""
    result = cli.invoke(args=arguments, input=stdin)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return result.exit_code, line


BAD_NAMES = ["", "\u200b", "\u3164", "a\x1b[2J", "a\nb", "a\x00b", "a\u202eb", "x" * 201, "x" * 100_000]


def test_each_command_prints_only_the_id(cli: FlaskCliRunner):
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


def test_a_membership_is_changed_and_removed_from_the_next_request_on(cli: FlaskCliRunner, client: Browser):
    anna, bruno = instructor(cli, "Anna"), instructor(cli, "Bruno")
    person = user(cli, anna, "operator")
    client.sign_in(person.email, person.password)
    assert client.get_page(f"/links?instructor={anna}")
    for role, status in (("instructor", 403), ("operator", 200), ("operator", 200)):
        change = ("membership", "set", person.email.upper(), "--instructor", str(anna), "--role", role)
        assert run(cli, *change) == str(person.id)
        client.get_page(f"/links?instructor={anna}", status)
    client.get_page(f"/conversations?instructor={bruno}", 404)
    set_ = ("membership", "set", person.email, "--instructor", str(bruno), "--role", "instructor")
    assert run(cli, *set_) == str(person.id)
    assert client.get_page(f"/conversations?instructor={bruno}")
    assert run(cli, "membership", "remove", person.email, "--instructor", str(anna)) == str(person.id)
    client.get_page(f"/conversations?instructor={anna}", 404)
    client.get_page("/links", 403)
    assert client.get_page(f"/conversations?instructor={bruno}")


def test_bad_input_is_refused_in_one_line(cli: FlaskCliRunner):
    anna = str(instructor(cli))
    person = user(cli, UUID(anna))
    add = ("user", "add", person.email, "--name", "N", "--role", "operator")
    known = (*add, "--instructor", anna, "--password-stdin")
    role, elsewhere = ("--instructor", anna, "--role", "operator"), ("--instructor", str(uuid4()))
    refused: list[tuple[int, str, tuple[str, ...], bytes]] = [
        (1, "needs a name", ("instructor", "add", " "), b""),
        *((1, "needs a name", ("instructor", "add", name), b"") for name in BAD_NAMES),
        *((1, "needs a name", (*known[:4], name, *known[5:]), b"x\n") for name in BAD_NAMES),
        *(
            (1, "1 to 64 digits", ("channel", "add", "whatsapp", name, "--instructor", anna), b"")
            for name in ("", " ", "1 2", "1\x1b[2J", "\u0661", "1\n", "9" * 65, "9" * 100_000)
        ),
        *(
            (1, "not an e-mail address", ("user", "add", name, *known[3:]), b"x\n")
            for name in ("a\x1b[2J@example.org", "a\u202e@example.org", "a" * 100_000 + "@example.org", "@")
        ),
        (1, "no user", ("membership", "set", "unknown@example.org", *role), b""),
        (1, "no user", ("membership", "remove", "unknown@example.org", *role[:2]), b""),
        (1, "no instructor", ("membership", "set", person.email, *elsewhere, *role[2:]), b""),
        (1, "not a member", ("membership", "remove", person.email, *elsewhere), b""),
        (
            2,
            "it takes a UUID",
            ("membership", "remove", person.email, "--instructor", anna.replace("-", "")),
            b"",
        ),
        (2, "operator", ("membership", "set", person.email, *role[:3], "boss"), b""),
        (2, "Missing argument", ("instructor", "add"), b""),
        (2, "it takes a UUID", (*add, "--instructor", "1", "--password-stdin"), b"x\n"),
        (2, "--password-stdin", (*add, "--instructor", anna), b"x\n"),
        (2, "operator", ("user", "add", "a@b.c", "--name", "N", "--role", "boss", "--instructor", anna), b""),
        (1, "no instructor", (*add, "--instructor", str(uuid4()), "--password-stdin"), b"x\n"),
        (1, "member for this instructor already", known, PASSWORD.encode()),
        (1, "another password", known, b"something else\n"),
        (1, "password is empty", known, b""),
        (1, "not an e-mail address", ("user", "add", "no-at-sign", *known[3:]), b"x\n"),
        (1, "no user", ("user", "disable", "unknown@example.org"), b""),
        (1, "no user", ("user", "enable", "unknown@example.org"), b""),
        (1, "no user", ("user", "sign-out", "unknown@example.org"), b""),
        (
            1,
            "no user",
            ("user", "password", "unknown@example.org", "--password-stdin"),
            b"long enough for it\n",
        ),
        (1, "0 characters", ("user", "password", person.email, "--password-stdin"), b""),
        (2, "--password-stdin", ("user", "password", person.email), b"long enough for it\n"),
        (2, "whatsapp", ("channel", "add", "telegram", "1", "--instructor", anna), b""),
        (1, "no instructor", ("channel", "add", "whatsapp", "1", "--instructor", str(uuid4())), b""),
        (2, "No such command", ("user", "promote"), b""),
        (2, "no command 'promote'", ("promote",), b""),
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


def add(cli: FlaskCliRunner) -> tuple[str, ...]:
    """Return the command that adds a user, who is yet to have a password."""
    person = ("user", "add", "marta.rossi@example.org", "--name", "Marta Rossi Steiner")
    return (*person, "--instructor", str(instructor(cli)), "--role", "operator", "--password-stdin")


@pytest.mark.parametrize(
    "password",
    [
        "unicode pässwörd ✓",
        "\x00nul and others",
        "kq3f7admzz2p",
        "".join(chr(0x4E00 + 37 * place) for place in range(128)),
        "  spaces around it  ",
        "four words of which none matters",
    ],
)
def test_any_password_of_12_to_128_characters_that_is_hard_to_guess_works(
    cli: FlaskCliRunner, client: Browser, password: str
):
    run(cli, *add(cli), stdin=password + "\n")
    assert client.sign_in("marta.rossi@example.org", password).status_code == 303


def test_a_password_is_the_same_however_its_accents_are_typed(cli: FlaskCliRunner, client: Browser):
    composed, apart = "Gr\u00fc\u00dfe aus den Bergen", "Gru\u0308\u00dfe aus den Bergen"
    run(cli, *add(cli), stdin=apart + "\n")
    assert client.sign_in("marta.rossi@example.org", composed).status_code == 303
    assert Browser(client.http.application).sign_in("marta.rossi@example.org", apart).status_code == 303


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("x" * 11, "the password has 11 characters: it takes 12 to 128"),
        ("x" * 129, "the password has 129 characters: it takes 12 to 128"),
        ("u\u0308" * 6, "the password has 6 characters: it takes 12 to 128"),
        ("qwerty123456", "the password is easy to guess: This is a very common password."),
        ("QwertyAsdfgh", "the password is easy to guess: This is similar to a commonly used password."),
        ("123456789012", "the password is easy to guess: This is similar to a commonly used password."),
        ("Password123!", "the password is easy to guess: This is similar to a commonly used password."),
        (" " * 12, "the password is easy to guess: Repeats"),
        ("x" * 128, "the password is easy to guess: Repeats"),
        ("🎿" * 128, "the password is easy to guess: Repeats"),
        ("abcdefghijkl", "the password is easy to guess: Sequences"),
        ("Winter2026!!", "the password is easy to guess: It is short"),
        ("MartaRossi2026!", "the password is easy to guess: "),
        ("example.org-rossi", "the password is easy to guess: "),
        ("customermemory2026", "the password is easy to guess: "),
        ("marta.rossi@example.org", "the password is a name that others know"),
        ("MARTA_ROSSI!", "the password is a name that others know"),
        ("Marta-Rossi Steiner", "the password is a name that others know"),
        ("customer-memory", "the password is a name that others know"),
    ],
)
def test_a_password_that_others_would_try_is_refused_in_one_line(
    cli: FlaskCliRunner, password: str, said: str
):
    code, line = failed(cli, *add(cli), stdin=password + "\n")
    assert code == 1
    assert line.startswith(f"Error: {said}")
    assert password not in line


@pytest.mark.parametrize("password", ["x" * 11, "qwerty123456", "{email}"])
def test_no_user_can_change_to_such_a_password(
    cli: FlaskCliRunner, client: Browser, marta: Person, password: str
):
    change = ("user", "password", marta.email, "--password-stdin")
    code, _ = failed(cli, *change, stdin=password.format(email=marta.email) + "\n")
    assert code == 1
    assert client.sign_in(marta.email, marta.password).status_code == 303


def test_a_password_that_is_not_text_is_refused(cli: FlaskCliRunner, marta: Person):
    said = "Error: the password is not valid UTF-8"
    assert failed(cli, *add(cli), stdin=b"latin-1 p\xe4ssword\n") == (1, said)
    change = ("user", "password", marta.email, "--password-stdin")
    assert failed(cli, *change, stdin=b"latin-1 p\xe4ssword\n") == (1, said)


def test_a_changed_password_is_the_only_one(cli: FlaskCliRunner, client: Browser, marta: Person):
    changed = run(cli, "user", "password", marta.email, "--password-stdin", stdin="quite another one\n")
    assert changed == str(marta.id)
    client.check(client.sign_in(marta.email, marta.password), 422)
    assert client.sign_in(marta.email, "quite another one").status_code == 303


def test_an_enabled_user_can_sign_in_again(cli: FlaskCliRunner, client: Browser, marta: Person):
    run(cli, "user", "disable", marta.email)
    client.check(client.sign_in(marta.email, marta.password), 422)
    assert run(cli, "user", "enable", marta.email) == str(marta.id)
    assert client.sign_in(marta.email, marta.password).status_code == 303


def test_a_command_whose_result_means_nothing_without_it_names_its_database(
    cli: FlaskCliRunner, settings: Settings
):
    url = as_owner(settings).database_url
    place = file_of(settings) if url.get_backend_name() == "sqlite" else url.render_as_string()
    result = cli.invoke(args=["audit", "verify"])
    assert (result.exit_code, result.stderr) == (0, f"database: {place}\n")
    assert cli.invoke(args=["identifier", "normalize", "x"]).stderr == ""
