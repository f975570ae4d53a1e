"""`make truth`: a world on each engine, with a progress bar, and the figures that come of them."""

import contextlib
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Any

import click
from flask_migrate import upgrade
from sqlalchemy import URL

from console import create_app
from console.config import Settings
from console.database import db
from testkit.databases import ENGINES, OWNER, SQLITE, as_owner, hanging_up, settings_for
from testkit.factories import run
from testkit.postgres import Cluster, cluster
from verification.truth.run import Figures, live_apart
from verification.truth.world import Size

POLL_SECONDS = 0.5

LINE = (
    "{engine}: {judged:,} sentences on {pages:,} pages, {false:,} false; {messages:,} messages of"
    " {people:,} people: {lost:,} lost, {doubled:,} doubled, {misattributed:,} under the wrong author;"
    " {writes:,} links changed by people, {unmade:,} links that no person made"
)


@click.command()
@click.option("--people", default=2000, show_default=True, help="How many people write.")
@click.option("--messages", default=200_000, show_default=True, help="How many messages are written.")
@click.option("--instructors", default=20, show_default=True, help="How many instructors they write to.")
@click.option(
    "--visits-every", default=200, show_default=True, help="Events of the world from one visit to the next."
)
@click.option("--seed", default=12, show_default=True, help="Makes another world.")
@click.option(
    "--engine", "engines", multiple=True, type=click.Choice(ENGINES), default=ENGINES, show_default=True
)
def truth(
    people: int, messages: int, instructors: int, visits_every: int, seed: int, engines: tuple[str, ...]
) -> None:
    """Judge everything that the console says of a world whose truth is known."""
    size = Size(people, messages, instructors)
    spawn = multiprocessing.get_context("spawn")
    queue: Queue[tuple[str, Any]] = spawn.Queue()
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(cluster()) if set(engines) - {SQLITE} else None
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        worlds = {
            engine: spawn.Process(
                target=live_apart,
                args=(engine, _settings(engine, folder, server), seed, size, visits_every, queue),
                daemon=True,
            )
            for engine in engines
        }
        for world in worlds.values():
            world.start()
        found = _watch(queue, worlds, messages)
    for engine, figures in found.items():
        _tell(engine, size, figures)
    click.echo(
        f"{sum(judge.judged for judge in found.values()):,} sentences in {time.monotonic() - started:,.0f} s"
    )
    if len(found) < len(engines) or any(map(_is_wrong, found.values())):
        sys.exit(1)


def _is_wrong(figures: Figures) -> bool:
    wrong = (figures.false, figures.lost, figures.doubled, figures.misattributed, figures.unmade)
    return any(wrong) or bool(figures.unknown) or figures.messages != figures.written


def _watch(queue: "Queue[tuple[str, Any]]", worlds: dict[str, Any], messages: int) -> dict[str, Figures]:
    """Show how far the worlds have come, until each has told its figures or ended without."""
    found: dict[str, Figures] = {}
    # Each message is delivered, and read in the end.
    with click.progressbar(length=2 * messages * len(worlds), label="Living and judging") as bar:
        while len(found) < len(worlds):
            try:
                engine, told = queue.get(timeout=POLL_SECONDS)
            except Empty:
                if not any(world.is_alive() for world in worlds.values()):
                    break
                continue
            if isinstance(told, int):
                bar.update(told)
            else:
                found[engine] = told
    for world in worlds.values():
        world.join()
    return found


def _tell(engine: str, size: Size, figures: Figures) -> None:
    click.echo(
        LINE.format(engine=engine, people=size.people, writes=figures.visits["writes"], **figures.__dict__)
    )
    click.echo(f"  the world: {figures.world}")
    click.echo(f"  the visits: {figures.visits}")
    for text, times in figures.unknown.items():
        click.echo(f"  not known to the judge, {times} times: {text}")
    for example in figures.examples:
        click.echo(f"  {example}")


def _settings(engine: str, folder: Path, server: Cluster | None) -> Settings:
    """Return the settings of a console on a fresh, migrated database."""
    where: Path | URL = folder / "console.db"
    if server and engine != SQLITE:
        server.execute(f"CREATE ROLE {OWNER} LOGIN CREATEROLE")
        where = server.create_database(owner=OWNER)
    settings = settings_for(where, log_level="critical")
    app = create_app(as_owner(settings))
    with hanging_up(), app.app_context():
        upgrade()
        if engine != SQLITE:
            run(app.test_cli_runner(), "database", "roles", "--apply")
        db.engine.dispose()
    return settings


if __name__ == "__main__":
    truth()
