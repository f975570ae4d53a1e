"""docs/operations.md as far as it can be tried without installing; `make test-live` runs it to the letter."""

import re
import subprocess

import pytest

from console.config import ROOT
from verification.live import faults, handbook

STEPS = handbook.steps()


def test_the_installation_has_every_step_and_leaves_out_no_block():
    section = handbook.OPERATIONS.read_text().partition(f"## {handbook.SECTION}")[2].partition("\n## ")[0]
    assert section.count("```sh\n") == len(STEPS) == 8


@pytest.mark.parametrize("title", STEPS)
def test_a_step_is_valid_shell_and_names_files_that_ship(title: str):
    done = subprocess.run(["bash", "-n"], input=STEPS[title], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for name in re.findall(r"deploy/[\w.*-]+", STEPS[title]):
        assert list(ROOT.glob(name)), name


def test_the_sample_settings_have_every_word_that_the_installation_replaces():
    sample = (ROOT / "deploy" / "environment.example").read_text()
    for role in ("link", "read", "ingest"):
        assert f"PASSWORD_OF_{role}@127.0.0.1:5432/" in sample
    assert {"THE_SECRET_KEY", "THE_METRICS_TOKEN"} <= set(re.findall(r"THE_\w+", sample))


@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda fault: fault.name)
def test_the_commands_that_break_and_repair_are_valid_shell(fault: faults.Fault):
    for script in (fault.breaks, fault.heals):
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
