"""`flask ingest`: what it prints, what it stores, and how it fails."""

import os
from pathlib import Path

import pytest
from click.testing import Result
from flask.testing import FlaskCliRunner

from testkit.databases import POSTGRESQL, SQLITE, execute
from testkit.factories import run
from tests.ingestion.payloads import ACCOUNT, SAMPLES, message, messages, payload, rejected
from tests.ingestion.test_samples import EXPECTED

pytestmark = pytest.mark.usefixtures("accounts")

UNKNOWN_ACCOUNT = payload(message("wamid.9"), account="100000000000009")


def ingest(cli: FlaskCliRunner, *arguments: str, stdin: bytes = b"") -> Result:
    """Run `flask ingest`."""
    return cli.invoke(args=["ingest", *arguments], input=stdin)


def counts(stored: int = 0, repeated: int = 0, ignored: int = 0, rejected: int = 0) -> str:
    """Return what the command prints."""
    return f"stored {stored}\nrepeated {repeated}\nignored {ignored}\nrejected {rejected}\n"


def test_a_file_is_stored_and_counted(cli):
    stored = sum(len(stored) for _, stored, _, _ in EXPECTED.values())
    ignored = sum(ignored for _, _, ignored, _ in EXPECTED.values())
    reasons = [reason.split("; ") for _, _, _, reason in EXPECTED.values() if reason]
    rest = {"ignored": ignored, "rejected": sum(map(len, reasons))}
    first = ingest(cli, str(SAMPLES))
    assert (first.exit_code, first.stdout) == (1, counts(stored=stored, **rest))
    again = ingest(cli, str(SAMPLES))
    assert (again.exit_code, again.stdout) == (1, counts(repeated=stored, **rest))
    assert len(messages()) == stored
    assert len(rejected()) == len(reasons)


def test_rejected_lines_are_named_by_number_and_reason_and_quote_nothing(cli):
    result = ingest(cli, str(SAMPLES))
    rejected_lines = [f"line {line}: {reason}" for line, _, _, reason in EXPECTED.values() if reason]
    assert result.stderr.splitlines() == rejected_lines


def test_stdin_is_read_and_silence_means_that_all_is_stored(cli):
    result = ingest(cli, "-", stdin=payload(message("1")) + b"\n" + payload(message("2")))
    assert (result.exit_code, result.stdout, result.stderr) == (0, counts(stored=2), "")


def test_an_empty_input_stores_nothing(cli):
    assert ingest(cli, os.devnull).stdout == counts()


def test_empty_lines_count_as_lines_and_nothing_else(cli):
    result = ingest(cli, "-", stdin=b"\n  \r\n" + payload(message()) + b"\r\n\nnonsense\n")
    assert (result.exit_code, result.stdout) == (1, counts(stored=1, rejected=1))
    assert result.stderr == "line 5: not JSON\n"


def test_a_line_that_is_not_text_is_rejected_and_the_next_is_stored(cli):
    result = ingest(cli, "-", stdin=b"\xff\xfe\n\x00\n" + payload(message()))
    assert (result.exit_code, result.stdout) == (1, counts(stored=1, rejected=2))
    assert [kept for _, kept in rejected()] == [r"\xff\xfe", r"\x00"]


def test_a_line_longer_than_the_webhook_takes_is_stored_like_any_other(cli):
    raw = payload(message(text={"body": "a" * 4 * 1024 * 1024}))
    assert ingest(cli, "-", stdin=raw).stdout == counts(stored=1)


def test_the_same_payload_is_the_same_whether_it_ends_in_a_newline_or_not(cli):
    ingest(cli, "-", stdin=UNKNOWN_ACCOUNT + b"\r\n" + UNKNOWN_ACCOUNT + b"\n" + UNKNOWN_ACCOUNT)
    assert rejected() == [("unknown account", UNKNOWN_ACCOUNT.decode())]


def test_progress_is_said_every_thousand_lines(cli):
    line = payload(messages=None)
    result = ingest(cli, "-", stdin=b"\n".join([line] * 2001))
    assert (result.exit_code, result.stdout) == (0, counts(ignored=2001))
    assert result.stderr == "1000 lines\n2000 lines\n"


def test_rejected_payloads_are_tried_again(cli):
    assert ingest(cli, "-", stdin=UNKNOWN_ACCOUNT + b"\n{}").exit_code == 1
    still = ingest(cli, "--rejected")
    assert (still.exit_code, still.stdout) == (1, counts(rejected=2))
    assert [line.split(": ")[1] for line in still.stderr.splitlines()] == [
        "unknown account",
        "no list of entry",
    ]

    owner = run(cli, "instructor", "add", "Carla")
    run(cli, "channel", "add", "whatsapp", "100000000000009", "--instructor", owner)
    now = ingest(cli, "--rejected")
    assert (now.exit_code, now.stdout) == (1, counts(stored=1, rejected=1))
    assert [reason for reason, _ in rejected()] == ["no list of entry"]


def test_retry_has_nothing_to_do_without_rejected_payloads(cli):
    result = ingest(cli, "--rejected")
    assert (result.exit_code, result.stdout, result.stderr) == (0, counts(), "")


@pytest.mark.parametrize("arguments", [[], ["--rejected", "-"], ["-", "-"], ["--resume"]])
def test_bad_usage_is_one_line(cli, arguments):
    result = ingest(cli, *arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("name", "why"), [("missing.jsonl", "No such file or directory"), (".", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_one_line(cli, tmp_path: Path, name, why):
    path = str(tmp_path / name)
    result = ingest(cli, path)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {path} can't be read: {why}\n"
    assert result.stdout == ""


# A database that fails on one message.
FAILING = {
    SQLITE: (
        (
            "CREATE TRIGGER failing BEFORE INSERT ON messages WHEN NEW.external_id = 'wamid.3' "
            "BEGIN SELECT json('not JSON'); END"
        ),
    ),
    POSTGRESQL: (
        (
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE undefined_table USING MESSAGE = 'malformed JSON'; END $$"
        ),
        (
            "CREATE TRIGGER failing BEFORE INSERT ON messages FOR EACH ROW "
            "WHEN (NEW.external_id = 'wamid.3') EXECUTE FUNCTION fail()"
        ),
    ),
}


def test_ingest_names_the_line_to_continue_from_when_the_database_fails(cli, engine):
    execute(*FAILING[engine])
    lines = [payload(message(f"wamid.{number}")) for number in range(1, 5)]
    result = ingest(cli, "-", stdin=b"\n".join(lines))
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "stopped at line 3: malformed JSON" in result.stderr
    assert [row[3] for row in messages()] == ["wamid.1", "wamid.2"]


def test_rejected_payloads_stay_when_the_database_fails_on_them(cli):
    ingest(cli, "-", stdin=UNKNOWN_ACCOUNT)
    execute(
        f"UPDATE channel_accounts SET account_id = '100000000000009' WHERE account_id = '{ACCOUNT}'",
        "DROP TABLE messages",
    )
    result = ingest(cli, "--rejected")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert [reason for reason, _ in rejected()] == ["unknown account"]
