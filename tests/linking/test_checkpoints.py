"""Checkpoints: what a checkpoint says, and that no change of the trail below one goes unnoticed (CM-2.5)."""

import hashlib
import json
import os
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from flask.testing import FlaskCliRunner
from sqlalchemy import text

from console.config import ROOT
from testkit.databases import back_door
from testkit.factories import Desk, run

CHANGES = 60
"""How many random changes the short form makes; the full form makes 1,000."""

INSERT = text(
    "INSERT INTO audit_events (position, event_id, conversation_id, instructor_id, sequence, event)"
    " VALUES (:position, :event_id, :conversation_id, :instructor_id, :sequence, :event)"
)
Rows = list[dict[str, object]]


@pytest.fixture
def checkpoint(cli: FlaskCliRunner, anna: Desk, tmp_path: Path) -> Path:
    """Return the file of a checkpoint over at least twelve events, with two more events after it."""
    customers = [anna.customer(f"39333000000{n}") for n in range(3)]
    conversations = [anna.conversation(f"39333123456{n}") for n in range(3)]
    for n in range(12):
        anna.link(conversations[n % 3], customers[(n // 3) % 3], overwrite=True)
    path = tmp_path / "checkpoint"
    path.write_text(run(cli, "audit", "checkpoint") + "\n")
    for conversation_id in conversations[:2]:
        anna.link(conversation_id, customers[1], overwrite=True)
    return path


@pytest.mark.shows("CM-2.5.9")
def test_a_checkpoint_can_be_computed_without_the_console(cli: FlaskCliRunner, checkpoint: Path):
    lines = run(cli, "audit", "export").splitlines()
    said = json.loads(checkpoint.read_text())
    assert set(said) == {"position", "sha256", "timestamp"}
    assert 12 <= said["position"] == len(lines) - 2
    digests = "".join(f"{hashlib.sha256(line.encode()).hexdigest()}\n" for line in lines[:-2])
    assert said["sha256"] == hashlib.sha256(digests.encode()).hexdigest()


def test_the_recipe_of_the_operations_guide_gives_the_same_digest(
    cli: FlaskCliRunner, checkpoint: Path, tmp_path: Path
):
    (recipe,) = re.findall(r"^head -n .*$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    (tmp_path / "export.jsonl").write_text(run(cli, "audit", "export") + "\n")
    said = json.loads(checkpoint.read_text())
    environment = {**os.environ, "n": str(said["position"])}
    done = subprocess.run(
        ["bash", "-c", recipe], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[0] == said["sha256"]


def test_the_checkpoint_of_an_empty_trail_is_the_digest_of_nothing(cli: FlaskCliRunner):
    said = json.loads(run(cli, "audit", "checkpoint"))
    assert (said["position"], said["sha256"]) == (0, hashlib.sha256().hexdigest())


@pytest.mark.parametrize("said", ["", "x", "[]", '{"position": 1}', '{"position": -1, "sha256": "00"}'])
def test_what_is_no_checkpoint_is_refused_in_one_line(cli: FlaskCliRunner, tmp_path: Path, said: str):
    path = tmp_path / "said"
    path.write_text(said)
    result = cli.invoke(args=["audit", "verify", "--checkpoint", str(path)])
    assert result.exit_code == 2
    assert "checkpoint" in result.stderr


@pytest.mark.shows("CM-2.5.9", "T5.5")
def test_every_tampering_below_a_checkpoint_is_found(cli: FlaskCliRunner, checkpoint: Path):
    tamper(cli, checkpoint, CHANGES)


@pytest.mark.faults
def test_every_tampering_below_a_checkpoint_is_found_in_full(cli: FlaskCliRunner, checkpoint: Path):
    tamper(cli, checkpoint, 1000)


def tamper(cli: FlaskCliRunner, checkpoint: Path, times: int) -> None:
    """As the owner, with the triggers gone, change the trail at random, verify, and restore it."""
    original = read_trail()
    lift_guards()
    rng = random.Random(20261125)
    verified = ["audit", "verify", "--checkpoint", str(checkpoint)]
    for n in range(times):
        how = list(TAMPERINGS)[n % len(TAMPERINGS)]
        forged = [dict(row) for row in original]
        TAMPERINGS[how](forged, rng)
        assert lines_of(forged)[:12] != lines_of(original)[:12], how
        write_trail(forged)
        assert cli.invoke(args=verified).exit_code == 1, how
        write_trail(original)
        assert cli.invoke(args=verified).exit_code == 0


def lines_of(rows: Rows) -> list[tuple[object, object]]:
    return [
        (row["position"], row["event"]) for row in sorted(rows, key=lambda row: int(str(row["position"])))
    ]


def position_of(row: dict[str, object]) -> int:
    return int(str(row["position"]))


def edit(rows: Rows, rng: random.Random) -> None:
    row = rng.choice(rows[:12])
    line = str(row["event"])
    place = rng.randrange(len(line))
    row["event"] = line[:place] + ("x" if line[place] != "x" else "y") + line[place + 1 :]


def delete(rows: Rows, rng: random.Random) -> None:
    del rows[rng.randrange(12)]


def delete_and_renumber(rows: Rows, rng: random.Random) -> None:
    delete(rows, rng)
    renumber(rows)


def insert(rows: Rows, rng: random.Random) -> None:
    row = dict(rng.choice(rows))
    row |= {"event_id": str(uuid4()), "sequence": 100 + rng.randrange(100)}
    rows.insert(rng.randrange(12), row)
    renumber(rows)


def swap(rows: Rows, rng: random.Random) -> None:
    first, second = rng.sample(range(12), 2)
    rows[first]["position"], rows[second]["position"] = rows[second]["position"], rows[first]["position"]


def truncate(rows: Rows, rng: random.Random) -> None:
    del rows[rng.randrange(12) :]


def shift(rows: Rows, rng: random.Random) -> None:
    for row in rows[rng.randrange(12) :]:
        row["position"] = position_of(row) + 1


def forge_all(rows: Rows, rng: random.Random) -> None:
    """Replace the whole trail by a consistent one: other reasons, everything else as it has to be."""
    for row in rows:
        row["event"] = json.dumps(json.loads(str(row["event"])) | {"reason": f"forged {rng.random()}"})


def renumber(rows: Rows) -> None:
    for place, row in enumerate(rows, start=1):
        row["position"] = place


TAMPERINGS: dict[str, Callable[[Rows, random.Random], None]] = {
    "edit": edit,
    "delete": delete,
    "delete and renumber": delete_and_renumber,
    "insert": insert,
    "swap": swap,
    "truncate": truncate,
    "shift": shift,
    "forge all": forge_all,
}


def read_trail() -> Rows:
    with back_door() as connection:
        rows = connection.execute(text("SELECT * FROM audit_events ORDER BY position")).mappings()
        return [dict(row) for row in rows]


def lift_guards() -> None:
    with back_door() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE audit_events DISABLE TRIGGER USER"))
            return
        names = text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_events'")
        for name in connection.scalars(names).all():
            connection.execute(text(f"DROP TRIGGER {name}"))


def write_trail(rows: Rows) -> None:
    with back_door() as connection:
        connection.execute(text("DELETE FROM audit_events"))
        if rows:
            connection.execute(INSERT, rows)
        last = max(map(position_of, rows), default=0)
        connection.execute(text("UPDATE audit_counter SET position = :last"), {"last": last})
