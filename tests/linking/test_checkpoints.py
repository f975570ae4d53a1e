"""Checkpoints: what a checkpoint says, and how it is computed without the console (CM-2.5)."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from uuid import uuid4

import pytest
from flask.testing import FlaskCliRunner
from sqlalchemy import text

from console.config import ROOT, Settings
from testkit.databases import back_door, environment, on_sqlite
from testkit.factories import Desk, checkpointed, run


@pytest.fixture
def checkpoint(cli: FlaskCliRunner, anna: Desk, tmp_path: Path) -> Path:
    """Return the file of a checkpoint."""
    return checkpointed(cli, anna, tmp_path / "checkpoint")


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


def test_a_checkpoint_of_a_long_trail_takes_little_memory(cli: FlaskCliRunner, anna: Desk):
    conversation_id = anna.conversation("393331234567")
    line = "x" * 10_000
    insert = text(
        "INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event)"
        " VALUES (:event_id, :conversation_id, :instructor_id, :sequence, :event)"
    )
    of_it = {"conversation_id": str(conversation_id), "instructor_id": str(anna.instructor_id), "event": line}
    events = [{**of_it, "event_id": str(uuid4()), "sequence": number} for number in range(1, 5001)]
    with back_door() as connection:
        connection.execute(insert, events)
    tracemalloc.start()
    try:
        said = json.loads(run(cli, "audit", "checkpoint"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert said["position"] == len(events)
    assert peak < len(events) * len(line) / 2


@on_sqlite
def test_a_terminal_shows_how_far_a_command_has_come(
    cli: FlaskCliRunner, checkpoint: Path, settings: Settings
):
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "flask", "audit", "verify", "--checkpoint", str(checkpoint)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        check=True,
    )
    shown = os.read(ours, 65536).decode()
    for end in (ours, theirs):
        os.close(end)
    assert "100%" in shown
    assert "%" not in done.stdout


@pytest.mark.parametrize("said", ["", "x", "[]", '{"position": 1}', '{"position": -1, "sha256": "00"}'])
def test_an_invalid_checkpoint_is_refused_in_one_line(cli: FlaskCliRunner, tmp_path: Path, said: str):
    path = tmp_path / "said"
    path.write_text(said)
    result = cli.invoke(args=["audit", "verify", "--checkpoint", str(path)])
    assert result.exit_code == 2
    assert "checkpoint" in result.stderr
