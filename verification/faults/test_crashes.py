"""A process that links is killed: at every boundary, once and persistently, and at any moment under load."""

from pathlib import Path

from verification.faults.crashes import apart, sweep
from verification.faults.databases import Database
from verification.faults.figures import Figures, sizes
from verification.faults.storm import storm


@sizes(short={"every": 9, "rounds": 1}, full={"every": 1, "rounds": 3})
def test_a_kill_at_any_boundary_loses_doubles_and_invents_nothing(
    database: Database, figures: Figures, size: dict[str, int]
):
    tally = apart(sweep, database.settings, **size)
    figures("kills", tally.kills)
    figures("restarts, after each 0 events lost, doubled, invented or waiting", tally.restarts)


@sizes(short=40, full=1000)
def test_a_kill_at_any_moment_under_load_loses_doubles_and_invents_nothing(
    database: Database, figures: Figures, tmp_path: Path, size: int
):
    records = tmp_path / "records"
    records.mkdir()
    tally = apart(storm, database.settings, records, kills=size)
    assert tally.acknowledged > size / 4, "too little was written for the kills to matter"
    figures("kills", tally.kills)
    figures("writes acknowledged, each of them there once", tally.acknowledged)
