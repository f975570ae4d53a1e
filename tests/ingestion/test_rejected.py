"""`flask rejected`: payloads that could not be stored are listed, shown and dismissed."""

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from flask.testing import FlaskCliRunner

from console.ingestion.service import ingest_payload, waiting_payloads
from testkit.databases import rows
from testkit.factories import run
from tests.ingestion.payloads import message, payload

pytestmark = pytest.mark.usefixtures("accounts")

UNKNOWN_ACCOUNT = payload(message("wamid.9"), account="100000000000009")


def ids(cli: FlaskCliRunner, *options: str) -> list[str]:
    """Return the ids that are listed."""
    return [line.split("  ")[0] for line in run(cli, "rejected", "list", *options).splitlines()]


def test_each_waiting_payload_is_a_line_with_id_moment_and_reason(cli: FlaskCliRunner):
    assert ids(cli) == []
    ingest_payload(UNKNOWN_ACCOUNT)
    ingest_payload(b"{")
    first, second = run(cli, "rejected", "list").splitlines()
    id_, received, reason = first.split("  ")
    assert id_ in {str(row) for (row,) in rows("SELECT id FROM rejected_payloads")}
    assert datetime.fromisoformat(received).tzinfo == UTC
    assert (reason, second.split("  ")[2]) == ("unknown account", "not JSON")


def test_more_than_a_page_is_listed(cli: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("console.ingestion.rejected._PAGE_SIZE", 2)
    for number in range(5):
        ingest_payload(b"{" * (number + 1))
    assert len(set(ids(cli))) == 5


def test_a_payload_is_shown_as_kept_and_controls_no_terminal(cli: FlaskCliRunner):
    ingest_payload(UNKNOWN_ACCOUNT)
    (id_,) = ids(cli)
    assert json.loads(run(cli, "rejected", "show", id_)) == json.loads(UNKNOWN_ACCOUNT)
    ingest_payload("\x1b[2J\x07\u202e\r\x9b\nnext \xe9".encode())
    assert run(cli, "rejected", "show", ids(cli)[1]) == "\\x1b[2J\\x07\\u202e\\r\\x9b\nnext \xe9"


def test_a_dismissed_payload_is_kept_and_not_tried_again(cli: FlaskCliRunner):
    ingest_payload(UNKNOWN_ACCOUNT)
    ingest_payload(b"{")
    first, second = ids(cli)
    assert waiting_payloads() == 2
    done = run(cli, "rejected", "dismiss", first, "--reason", "a group,\nnot ours", "--by", "Anna Kofler")
    assert done == "dismissed 1"
    assert (ids(cli), ids(cli, "--dismissed"), waiting_payloads()) == ([second], [first], 1)
    (line,) = run(cli, "rejected", "list", "--dismissed").splitlines()
    assert "by Anna Kofler: a group,\\nnot ours" in line
    shown = cli.invoke(args=["rejected", "show", first])
    assert json.loads(shown.stdout) == json.loads(UNKNOWN_ACCOUNT)
    assert "by Anna Kofler" in shown.stderr
    again = cli.invoke(args=["ingest", "--rejected"])
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)
    assert run(cli, "rejected", "dismiss", second, second, "--reason", "no JSON") == "dismissed 1"
    assert run(cli, "ingest", "--rejected").endswith("rejected 0")


def test_a_dismissed_payload_that_arrives_again_stays_dismissed(cli: FlaskCliRunner):
    ingest_payload(UNKNOWN_ACCOUNT)
    (id_,) = ids(cli)
    run(cli, "rejected", "dismiss", id_, "--reason", "not ours")
    assert ingest_payload(UNKNOWN_ACCOUNT).rejected == 1
    assert (ids(cli), ids(cli, "--dismissed")) == ([], [id_])


def test_all_are_dismissed_or_none(cli: FlaskCliRunner):
    ingest_payload(UNKNOWN_ACCOUNT)
    (id_,) = ids(cli)
    reason = ("--reason", "not ours")
    refused = [
        (1, "no payload waits", (id_, str(uuid4()), *reason)),
        (1, "Give a reason", (id_, "--reason", "\u200b")),
        (1, "500 characters at most", (id_, "--reason", "x" * 501)),
        (1, "control characters", (id_, "--reason", "\x1b[2J")),
        (1, "--by takes", (id_, *reason, "--by", "\x1b[2J")),
        (1, "--by takes", (id_, *reason, "--by", "")),
        (2, "it takes a UUID", (id_.replace("-", ""), *reason)),
        (2, "Missing argument", reason),
        (2, "Missing option", (id_,)),
    ]
    for code, said, arguments in refused:
        result = cli.invoke(args=["rejected", "dismiss", *arguments])
        (line,) = result.stderr.splitlines()
        assert (result.exit_code, result.stdout) == (code, ""), line
        assert said in line
    assert ids(cli) == [id_]
    run(cli, "rejected", "dismiss", id_, *reason)
    assert cli.invoke(args=["rejected", "dismiss", id_, *reason]).exit_code == 1
    assert cli.invoke(args=["rejected", "show", str(uuid4())]).exit_code == 1
