"""Lists, names and many users at once; and the event that every change of an account leaves."""

import json
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from testkit.databases import rows
from testkit.factories import Desk, Person, instructor, run
from testkit.pages import Browser
from tests.accounts.test_commands import failed

HEAD = "email,name,instructor,role,password\n"
PASSWORD = "snow that fell in the night"


def listed(cli: FlaskCliRunner, what: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in run(cli, what, "list").splitlines()]


def test_lists_name_all_users_with_their_memberships(cli: FlaskCliRunner, anna: Desk, marta: Person):
    run(cli, "user", "disable", marta.email)
    assert listed(cli, "instructor") == [{"id": str(anna.instructor_id), "name": "Anna Kofler"}]
    membership = {"instructor_id": str(anna.instructor_id), "role": "operator"}
    assert listed(cli, "user") == [
        {
            "id": str(marta.id),
            "email": marta.email,
            "name": "Marta Rossi",
            "active": False,
            "memberships": [membership],
        }
    ]


def test_renaming_changes_the_name_alone(cli: FlaskCliRunner, client: Browser, anna: Desk, marta: Person):
    client.sign_in(marta.email, marta.password)
    assert run(cli, "user", "rename", marta.email, "--name", " Marta Bianchi ") == str(marta.id)
    run(cli, "instructor", "rename", str(anna.instructor_id), "Anna Kofler-Moser")
    assert [row["name"] for what in ("user", "instructor") for row in listed(cli, what)] == [
        "Marta Bianchi",
        "Anna Kofler-Moser",
    ]
    assert client.http.get("/conversations").status_code == 200
    assert failed(cli, "user", "rename", "unknown@example.org", "--name", "N")[0] == 1
    assert failed(cli, "user", "rename", marta.email, "--name", " ")[0] == 1
    assert failed(cli, "instructor", "rename", str(marta.id), "N")[0] == 1


def test_an_equal_name_is_warned_of_and_added(cli: FlaskCliRunner, anna: Desk):
    result = cli.invoke(args=("instructor", "add", " ANNA kofler"))
    assert result.exit_code == 0
    assert f"Note: instructor {anna.instructor_id} has the same name" in result.stderr
    assert len(rows("SELECT id FROM instructors")) == 2
    assert "same name" not in cli.invoke(args=("instructor", "add", "Bruno Pichler")).stderr


def test_a_csv_file_adds_many_at_once(
    app: Flask, cli: FlaskCliRunner, anna: Desk, marta: Person, tmp_path: Path
):
    bruno = instructor(cli, "Bruno Pichler")
    file = tmp_path / "people.csv"
    file.write_text(
        f"\ufeff{HEAD}{marta.email.upper()},,{bruno},instructor,\n".replace(",,", ",Marta,")
        + f'luis@example.org,"Trenker, Luis",{anna.instructor_id},instructor,{PASSWORD}\n'
        + f"luis@example.org,Luis,{bruno},operator,\n"
        + f"ada@example.org,Ada,{bruno},operator,\n"
    )
    ids = run(cli, "user", "import", str(file)).splitlines()
    assert ids[0] == str(marta.id)
    assert ids[1] == ids[2]
    people = {str(row["email"]): row for row in listed(cli, "user")}
    assert people["luis@example.org"]["name"] == "Trenker, Luis"
    assert len(people["luis@example.org"]["memberships"]) == 2  # type: ignore[arg-type]  # a list
    assert people[marta.email]["name"] == "Marta Rossi"
    assert Browser(app).sign_in(marta.email, marta.password).status_code == 303
    assert Browser(app).sign_in("luis@example.org", PASSWORD).status_code == 303
    assert Browser(app).sign_in("ada@example.org", "").status_code == 422


def test_a_file_with_a_fault_adds_no_user_and_every_fault_is_told(
    cli: FlaskCliRunner, anna: Desk, marta: Person
):
    before = rows("SELECT * FROM users") + rows("SELECT * FROM memberships")
    good = f"luis@example.org,Luis,{anna.instructor_id},instructor,{PASSWORD}\n"
    faulty = (
        f"no-at-sign,N,{anna.instructor_id},instructor,\n"
        f"a@example.org, ,{anna.instructor_id},instructor,\n"
        f"a@example.org,A,{anna.instructor_id},boss,\n"
        f"a@example.org,A,1,instructor,\n"
        f"a@example.org,A,{marta.id},instructor,\n"
        f"a@example.org,A,{anna.instructor_id},instructor,Password123!\n"
        f"{marta.email},M,{anna.instructor_id},operator,{PASSWORD}\n"
        f"{marta.email},M,{anna.instructor_id},operator,\n"
    )
    result = cli.invoke(args=("user", "import", "-"), input=HEAD + good + faulty)
    assert (result.exit_code, result.stdout) == (1, "")
    told = [line for line in result.stderr.splitlines() if line.startswith("line ")]
    assert [line.split(":")[0] for line in told] == [f"line {number}" for number in range(3, 11)]
    assert result.stderr.splitlines()[-1] == "Error: nothing was written"
    assert PASSWORD not in result.stderr
    assert rows("SELECT * FROM users") + rows("SELECT * FROM memberships") == before


@pytest.mark.parametrize(
    "content",
    [b"", b"email,name\n", HEAD.encode() + b"a,b\n", HEAD.encode() + b'"a\n', HEAD.encode() + b"\xff,"],
)
def test_an_invalid_file_of_users_is_refused(cli: FlaskCliRunner, content: bytes):
    result = cli.invoke(args=("user", "import", "-"), input=content)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Traceback" not in result.stderr
    assert rows("SELECT * FROM users") == []


def test_every_change_leaves_an_event_of_its_own(
    cli: FlaskCliRunner, anna: Desk, marta: Person, capfd: pytest.CaptureFixture[str]
):
    told: list[dict[str, str]] = []
    stdin = f"{PASSWORD}\n"
    member = ("--instructor", str(anna.instructor_id))
    for arguments, change in [
        (("instructor", "add", "Bruno"), "instructor added"),
        (("instructor", "rename", str(anna.instructor_id), "Anna"), "instructor renamed"),
        (
            (
                "user",
                "add",
                "a@example.org",
                "--name",
                "A",
                *member,
                "--role",
                "operator",
                "--password-stdin",
            ),
            "user added",
        ),
        (("user", "rename", marta.email, "--name", "M"), "user renamed"),
        (("user", "password", marta.email, "--password-stdin"), "password changed"),
        (("user", "disable", marta.email), "user disabled"),
        (("user", "enable", marta.email), "user enabled"),
        (("user", "sign-out", marta.email), "user signed out"),
        (("membership", "set", marta.email, *member, "--role", "instructor"), "membership set"),
        (("membership", "remove", marta.email, *member), "membership removed"),
        (("channel", "add", "whatsapp", "4711", *member), "channel added"),
    ]:
        result = cli.invoke(args=arguments, input=stdin)
        assert result.exit_code == 0, result.stderr
        (line,) = [json.loads(item) for item in result.stderr.splitlines() if "account_changed" in item]
        assert line["change"] == change
        told.append(line)
    assert {line["event"] for line in told} == {"account_changed"}
    assert not {marta.email, "Bruno", "4711", PASSWORD} & {
        str(value) for line in told for value in line.values()
    }
