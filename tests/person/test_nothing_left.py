"""One of 1,000 people is erased after a life in the console: nothing of theirs is left, all else is there.

It is looked for in the database's own files, in every table of the server, in a fresh export, in what pages
and commands wrote to the log, in the metrics, and in the cookies of those who worked on it.
"""

import base64
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskCliRunner
from werkzeug.test import TestResponse

from console.config import Settings
from console.database import Base
from console.ingestion.service import ingest_payload
from testkit.databases import SQLITE, execute, file_of, rows
from testkit.factories import Desk, link_state, payload, run, trail
from testkit.pages import Browser
from testkit.postgres import Cluster
from tests.linking.test_audit import BROKEN
from tests.person.conftest import Person

PEOPLE = 1000
NUMBER, NEW_NUMBER, COUSINS_NUMBER = "393331234567", "393339876543", "447700900461"
WRITTEN = ["+39 333 123 4567", "0039 333-1234567", "+39 (333) 123.4567"]
SAID = [
    "Good morning, it is Zanzibar calling",
    "a letter from Samarkand",
    "what the instructor wrote of Kashgar",
    "in the group of Bukhara",
    "beside another's, from Khiva",
    "cut off on the way from Merv",
    "to no account, from Otrar",
]
TYPED = [
    "she rang from Timbuktu",
    "it was her cousin from Gao",
    "she came back from Djenne",
    "the cousin told us in Walata",
    "the cousin was not her, from Kumbi",
    "waits in the outbox of Audaghost",
    "refused in Sijilmasa",
]


def found(data: bytes) -> set[str]:
    """Return what of the person is in some bytes: the number with any separators, and each text."""
    digits = b"[^0-9A-Za-z]{0,3}".join(digit.encode() for digit in NUMBER)
    spelled = {text: {text.encode(), json.dumps(text)[1:-1].encode()} for text in [*SAID, *TYPED]}
    there = {text for text, spellings in spelled.items() if any(item in data for item in spellings)}
    return there | ({NUMBER} if re.search(digits, data) else set())


def everyone_else(anna: Desk) -> None:
    """Let everyone else write, and be linked in part."""
    lines = [
        payload(
            anna.phone_number_id, f"4477{number:08}", text=f"I am the {number}th", external_id=f"w.{number}"
        )
        for number in range(PEOPLE - 2)
    ]
    run(anna.cli, "ingest", "-", stdin="\n".join(lines))
    for (conversation_id,) in rows("SELECT id FROM conversations ORDER BY id LIMIT 20"):
        anna.link(UUID(conversation_id))


def change(browser: Browser, conversation_id: UUID, status: int, to: str = "", **fields: Any) -> TestResponse:
    """Open a link form and send it."""
    path = f"/links/{conversation_id}"
    answer = browser.submit(browser.get_page(path), path + to, **fields)
    assert answer.status_code == status, answer.text
    return answer


def live(anna: Desk, browser: Browser) -> tuple[list[UUID], UUID, UUID]:
    """Let the person live in the console; return their conversations, their cousin's, and their customer."""
    first = anna.conversation(NUMBER, text=SAID[0])
    second = anna.conversation(WRITTEN[0], text=SAID[1])
    cousins = anna.conversation(COUSINS_NUMBER, text="the cousin's own words")
    change(browser, first, 303, create="1", reason=TYPED[0])
    customer_id = link_state(first).customer_id
    assert customer_id
    cousin_id = anna.customer(COUSINS_NUMBER)
    relink = {"customer_id": str(cousin_id), "reason": TYPED[1]}
    change(browser, first, 409, **relink)
    change(browser, first, 303, **relink, overwrite="1")
    change(browser, first, 303, customer_id=str(customer_id), reason=TYPED[2], overwrite="1")
    change(browser, cousins, 303, customer_id=str(customer_id), reason=TYPED[3])
    change(browser, cousins, 303, "/unlink", reason=TYPED[4], confirm="1")
    change(browser, cousins, 303, customer_id=str(cousin_id), reason="the cousin is herself")
    breaks, repairs = BROKEN["missing"]
    execute(*breaks)
    change(browser, second, 303, customer_id=str(customer_id), reason=TYPED[5])
    execute(*repairs)
    change(browser, first, 422, customer_id=WRITTEN[1], reason=TYPED[6], overwrite="1")
    change(browser, first, 428, reason=TYPED[6], seen_version="")
    arrive(anna)
    return [first, second], cousins, customer_id


def arrive(anna: Desk) -> None:
    """Let a change of number arrive, and what can't be stored."""
    text = {"text": {"body": SAID[2]}}
    system = {"type": "user_changed_number", "wa_id": NEW_NUMBER}
    system["body"] = f"User A changed from {NUMBER} to {NEW_NUMBER}"
    for changes in ({"type": "system", "system": system}, {"group_id": "g", "text": {"body": SAID[3]}}):
        ingest_payload(altered(payload(anna.phone_number_id, NUMBER), **changes))
    anna.conversation(NEW_NUMBER, text="I have a new number")
    mixed = json.loads(payload(anna.phone_number_id, WRITTEN[2], text=SAID[4]))
    (messages,) = (change["value"]["messages"] for change in mixed["entry"][0]["changes"])
    messages[0]["timestamp"] = "never"
    messages.append({**messages[0], "from": COUSINS_NUMBER, "id": "w.beside", "text": {"body": "beside her"}})
    ingest_payload(json.dumps(mixed).encode())
    ingest_payload(payload(anna.phone_number_id, NUMBER, text=SAID[5]).encode()[:-4])
    ingest_payload(payload("404", NUMBER, text=SAID[6]).encode())
    ingest_payload(b"cut off on the way from someone else")
    echo = altered(payload(anna.phone_number_id, "0"), **{"from": "0", "to": NUMBER, **text})
    ingest_payload(echo)


def altered(line: str, **changes: Any) -> bytes:
    """Change the one message of a payload."""
    read = json.loads(line)
    read["entry"][0]["changes"][0]["value"]["messages"][0].update(changes)
    return json.dumps(read).encode()


def content() -> dict[str, list[str]]:
    """Return every row of every table, as it is written."""
    return {
        table: sorted(json.dumps(row, default=str) for row in rows(f"SELECT * FROM {table}"))
        for table in Base.metadata.tables
    }


def files(settings: Settings) -> Iterator[bytes]:
    """Give the bytes of SQLite's files, as they are while the console runs."""
    path = file_of(settings)
    yield from (file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def tables(cluster: Cluster, settings: Settings) -> Iterator[bytes]:
    """Give every table of the database, the server's own among them, after VACUUM FULL."""
    name = str(settings.database_url.database)
    cluster.execute("VACUUM FULL", name)
    names = (
        "SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
    )
    for (table,) in cluster.execute(f"{names} WHERE relkind IN ('r', 'm')", name):
        for (row,) in cluster.execute(f"SELECT t::text FROM {table} t", name):
            yield str(row).encode()


def cookies(browser: Browser) -> Iterator[bytes]:
    """Give what is in a browser's cookies."""
    for cookie in (browser.http._cookies or {}).values():
        yield cookie.value.encode()
        for part in cookie.value.split("."):
            try:
                data = base64.urlsafe_b64decode(part + "===")
            except ValueError:
                continue
            yield data
            if cookie.value.startswith("."):
                yield zlib.decompressobj().decompress(data) if data[:1] == b"x" else data


def test_nothing_of_one_of_a_thousand_people_is_left_and_everything_of_the_others_is(
    cli: FlaskCliRunner,
    anna: Desk,
    client: Browser,
    person: Person,
    settings: Settings,
    engine: str,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
):
    everyone_else(anna)
    client.sign_in(anna.operator.email, anna.operator.password)
    own, cousins, customer_id = live(anna, client)
    if engine == SQLITE:
        assert found(b"".join(files(settings))) >= {NUMBER, *SAID, *TYPED[:-1]}, (
            "the search would find nothing"
        )
    else:
        everything = b"\n".join(tables(request.getfixturevalue("cluster"), settings))
        assert found(everything) >= {NUMBER, *SAID, *TYPED[:-1]}, "the search would find nothing"
        execute("ANALYZE")
    run(cli, "audit", "drain")
    before = content()

    result = person("erase", NUMBER, "--reason", "asked by letter on 3 May", "--yes")
    assert result.exit_code == 0, result.output
    after = content()

    if engine == SQLITE:
        assert found(b"".join(files(settings))) == set()
    else:
        assert found(b"\n".join(tables(request.getfixturevalue("cluster"), settings))) == set()
    exported = cli.invoke(args=["audit", "export"])
    logged = capfd.readouterr()
    for written in (
        exported.output,
        logged.out + logged.err,
        result.stderr,
        client.http.get("/metrics").text,
        person("export", NUMBER).output.replace(f'"identifier": "{NUMBER}"', ""),
        *(cookie.decode("latin-1") for cookie in cookies(client)),
    ):
        assert found(written.encode()) == set()

    ids = {str(item) for item in (*own, customer_id)}
    for table, lines in before.items():
        gone = [line for line in lines if line not in after[table]]
        new = [line for line in after[table] if line not in lines]
        if table == "audit_events":
            assert len(gone) == len(new) == 6
            assert all("sha256" in line for line in new)
        elif table == "rejected_payloads":
            assert len(gone) == 4
            (rest,) = new
            assert "beside her" in rest
        elif table == "link_operations":
            assert len(gone) == len(new) == 4
            assert all(line.endswith('"00000000-0000-0000-0000-000000000000", null]') for line in new)
        else:
            assert new == []
        assert all(any(id_ in line for id_ in ids) for line in gone) or table == "rejected_payloads"
    assert [event.get("sequence") for event in trail(cousins)] == [1, 2, 3, 4, 5]
    run(cli, "audit", "verify")
