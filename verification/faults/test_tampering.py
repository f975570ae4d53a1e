"""Every change of the trail below a checkpoint is found, the database owner's too (CM-2.5)."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskCliRunner
from sqlalchemy import text

from console.database import now
from console.linking.events import Tombstone
from testkit.databases import back_door
from testkit.factories import checkpointed, desk
from verification.faults.figures import Figures, sizes

BELOW = 12
"""Changes are made among the first so many events; the checkpoint covers at least these."""

INSERT = text(
    "INSERT INTO audit_events (position, event_id, conversation_id, instructor_id, sequence, event)"
    " VALUES (:position, :event_id, :conversation_id, :instructor_id, :sequence, :event)"
)
Rows = list[dict[str, object]]


@pytest.fixture
def checkpoint(cli: FlaskCliRunner, tmp_path: Path) -> Path:
    """Return the file of a checkpoint."""
    return checkpointed(cli, desk(cli), tmp_path / "checkpoint")


@pytest.mark.shows("CM-2.5.9", "T5.5")
@sizes(short=45, full=1206)
def test_every_change_below_a_checkpoint_is_found(
    cli: FlaskCliRunner, checkpoint: Path, figures: Figures, size: int
):
    original = read_trail()
    lift_guards()
    rng = random.Random(size)
    verify = ["audit", "verify", "--checkpoint", str(checkpoint)]
    found: Counter[str] = Counter()
    for number in range(size):
        name, change = list(CHANGES.items())[number % len(CHANGES)]
        forged = [dict(row) for row in original]
        change(forged, rng)
        assert lines_of(forged) != lines_of(original), name
        write_trail(forged)
        assert cli.invoke(args=verify).exit_code == 1, name
        if change in (forge_all, false_tombstone):  # which nothing but a checkpoint shows
            assert cli.invoke(args=["audit", "verify"]).exit_code == 0
        write_trail(original)
        assert cli.invoke(args=verify).exit_code == 0
        found[name] += 1
    for name, count in found.items():
        figures(f"times: {name}, each of them found", count)


def lines_of(rows: Rows) -> list[tuple[object, object]]:
    """Return what a reader of the first events gets."""
    return [(row["position"], row["event"]) for row in sorted(rows, key=position_of)][:BELOW]


def position_of(row: dict[str, object]) -> int:
    return int(str(row["position"]))


def edit(rows: Rows, rng: random.Random) -> None:
    row = rng.choice(rows[:BELOW])
    line = str(row["event"])
    place = rng.randrange(len(line))
    row["event"] = line[:place] + ("x" if line[place] != "x" else "y") + line[place + 1 :]


def delete(rows: Rows, rng: random.Random) -> None:
    del rows[rng.randrange(BELOW)]


def delete_and_renumber(rows: Rows, rng: random.Random) -> None:
    delete(rows, rng)
    renumber(rows)


def insert(rows: Rows, rng: random.Random) -> None:
    row = dict(rng.choice(rows))
    forged = {"event_id": str(uuid4()), "sequence": 100 + rng.randrange(100)}
    row |= {**forged, "event": json.dumps(json.loads(str(row["event"])) | forged)}
    rows.insert(rng.randrange(BELOW), row)
    renumber(rows)


def swap(rows: Rows, rng: random.Random) -> None:
    first, second = rng.sample(range(BELOW), 2)
    rows[first]["position"], rows[second]["position"] = rows[second]["position"], rows[first]["position"]


def truncate(rows: Rows, rng: random.Random) -> None:
    del rows[rng.randrange(BELOW) :]


def shift(rows: Rows, rng: random.Random) -> None:
    for row in rows[rng.randrange(BELOW) :]:
        row["position"] = position_of(row) + 1


def forge_all(rows: Rows, rng: random.Random) -> None:
    """Replace the whole trail by a consistent one: other ids and reasons, the same links."""
    for row in rows:
        forged = {"event_id": str(uuid4()), "reason": f"forged {rng.random()}"}
        row["event"] = json.dumps(json.loads(str(row["event"])) | forged)
        row["event_id"] = forged["event_id"]


def false_tombstone(rows: Rows, rng: random.Random) -> None:
    """Put a tombstone with another digest into an event's place."""
    row = rng.choice(rows[:BELOW])
    fields = json.loads(str(row["event"]))
    tombstone = Tombstone(now(), UUID(fields["conversation_id"]), fields["sequence"], rng.randbytes(32).hex())
    row["event"] = tombstone.to_json()


def renumber(rows: Rows) -> None:
    for place, row in enumerate(rows, start=1):
        row["position"] = place


CHANGES: dict[str, Callable[[Rows, random.Random], None]] = {
    "edit": edit,
    "delete": delete,
    "delete and renumber": delete_and_renumber,
    "insert": insert,
    "swap": swap,
    "truncate": truncate,
    "shift": shift,
    "forge all": forge_all,
    "false tombstone": false_tombstone,
}


def read_trail() -> Rows:
    with back_door() as connection:
        rows = connection.execute(text("SELECT * FROM audit_events ORDER BY position")).mappings()
        return [dict(row) for row in rows]


def lift_guards() -> None:
    """Take the triggers away, as the owner of the tables can."""
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
