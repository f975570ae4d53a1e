"""The systemd units: understood by systemd, locked up, and of one mind with the other settings that ship."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from console.config import ROOT

UNITS = (
    "customer-memory.service",
    "customer-memory.socket",
    "customer-memory-checkpoint.service",
    "customer-memory-checkpoint.timer",
    "customer-memory-backup.service",
    "customer-memory-backup.timer",
)
HOME = "/srv/customer-memory"
# Of 10, as systemd counts it: what is left is that it talks to databases over the network.
MAX_EXPOSED = 1.5


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Return the units with this checkout's paths in them, so that what they name is there."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze: python3 scripts/bootstrap.py test")
    for name in UNITS:
        unit = (ROOT / "deploy" / name).read_text().replace(HOME, str(ROOT))
        (tmp_path / name).write_text(unit)
    return tmp_path


def analyze(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Ask systemd about units that are not installed."""
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def setting(name: str, unit: str = UNITS[0]) -> list[str]:
    """Return what a unit sets under a name."""
    return re.findall(rf"^{name}=(.*)$", (ROOT / "deploy" / unit).read_text(), re.MULTILINE)


def test_systemd_understands_every_line(units: Path):
    done = analyze("verify", *(units / name for name in UNITS))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_is_locked_up(units: Path):
    done = analyze("security", "--offline=true", f"--threshold={int(MAX_EXPOSED * 10)}", units / UNITS[0])
    assert done.returncode == 0, done.stdout


def test_it_is_stopped_no_sooner_than_gunicorn_has_answered_everybody():
    graceful = re.search(r"^graceful_timeout = (\d+)$", (ROOT / "gunicorn.conf.py").read_text(), re.MULTILINE)
    assert graceful
    (stop,) = setting("TimeoutStopSec")
    assert int(stop) > int(graceful[1])


def test_the_port_is_the_one_that_gunicorn_and_nginx_name():
    (address,) = setting("ListenStream", UNITS[1])
    assert f'bind = "{address}"' in (ROOT / "gunicorn.conf.py").read_text()
    assert f"server {address};" in (ROOT / "deploy" / "nginx.conf").read_text()


def test_a_bad_setting_ends_in_a_failure_and_not_in_restarts_without_end():
    (check,) = setting("ExecStartPre")
    assert check == setting("ExecReload")[0]
    assert setting("Restart") == ["on-abnormal"]  # a bad setting ends the console with an exit status
    interval, burst = setting("StartLimitIntervalSec")[0], setting("StartLimitBurst")[0]
    assert (int(burst), int(interval)) == (5, 60)


def test_what_would_not_start_is_not_loaded_anew(tmp_path: Path):
    check, signal = setting("ExecReload")
    assert signal == '/bin/sh -c "kill -HUP $MAINPID"'  # a minimal system has no /bin/kill
    arguments = check.removeprefix(f"{HOME}/.venv/bin/python -c ").strip('"')
    python = ROOT / ".venv" / "bin" / "python"
    for level, status in (("info", 0), ("loud", 1)):
        environ = {"CONSOLE_SECRET_KEY": "of the tests", "CONSOLE_LOG_LEVEL": level}
        done = subprocess.run(
            [python, "-c", arguments], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
