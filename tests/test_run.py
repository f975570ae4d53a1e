"""What `make run` adds to the environment."""

import importlib
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest

from console.config import ROOT

MachineZone = Callable[[], str]


@pytest.fixture
def machine_zone(monkeypatch: pytest.MonkeyPatch) -> MachineZone:
    """Return what finds this machine's zone."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    found: MachineZone = importlib.import_module("run").machine_zone
    return found


def test_the_machines_zone_is_the_one_that_tz_names(
    machine_zone: MachineZone, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TZ", ":Europe/Rome")
    assert machine_zone() == "Europe/Rome"


@pytest.mark.parametrize("name", ["", "CET-1CEST", "/nowhere"])
def test_an_invalid_tz_still_gives_a_zone_that_the_console_accepts(
    machine_zone: MachineZone, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setenv("TZ", name)
    assert ZoneInfo(machine_zone()).key
