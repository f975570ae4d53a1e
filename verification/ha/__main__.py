"""Kill the primary again and again while operators link: what `make test-ha` runs.

Printed for each failover: how long until another node led, and until the first link was acknowledged again.
In the end every acknowledged write has to be in the conversations and in the audit trail, once.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from uuid import UUID

import click

from console import create_app
from console.config import ROOT, Settings
from testkit.factories import Person, desk, user
from verification.ha.cluster import Cluster, HaError, Node, cluster, free_ports, wait_for
from verification.ha.operators import Operator, Record

OPERATORS = 4
CONVERSATIONS = 10
"""How many each operator works on."""
CALM_SECONDS = 5

KILLS: dict[str, Callable[[Node], None]] = {
    "PostgreSQL killed": Node.kill_postgres,
    "PostgreSQL and Patroni killed": Node.kill,
}


def settings(of: Cluster, *users: str) -> Settings:
    """Return the settings of a console on the cluster, which writes, reads and ingests as these users."""
    write, read, ingest = map(of.url, users)
    key = "signs the sessions of this test alone"
    return Settings(database_url=write, read_database_url=read, ingest_database_url=ingest, secret_key=key)


def environment(of: Settings) -> dict[str, str]:
    """Return the environment of a console with these settings."""
    urls = {
        "CONSOLE_DATABASE_URL": of.database_url,
        "CONSOLE_READ_DATABASE_URL": of.read_database_url,
        "CONSOLE_INGEST_DATABASE_URL": of.ingest_database_url,
    }
    named = {name: url.render_as_string(hide_password=False) for name, url in urls.items()}
    return {**os.environ, **named, "CONSOLE_SECRET_KEY": of.secret_key, "CONSOLE_CUSTOMER_BADGE": "true"}


def flask(of: Settings, *arguments: str) -> str:
    """Run a command of the console; return its stdout."""
    command = [sys.executable, "-m", "flask", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(of), capture_output=True, text=True, check=False)
    if done.returncode:
        raise HaError(f"flask {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def served(of: Settings, log: Path) -> Iterator[str]:
    """Serve the console with gunicorn, as in production; yield its address."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = [sys.executable, str(Path(sys.executable).with_name("gunicorn")), "--bind", address, "app:app"]
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=ROOT, env=environment(of), stdout=out, stderr=out)
    try:
        wait_for("the console", lambda: answers(f"http://{address}/readyz"))
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait(60)


def answers(address: str) -> bool:
    """Say whether something answers there with 200."""
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


HEADING = (
    f"{'seconds until':<30}{'new primary':>12}{'linking again':>15}{'slowest answer':>16}"
    f"{'503 pages':>11}{'sent again':>12}"
)


@dataclass(frozen=True)
class Workplace:
    """What an operator works with: two customers to link to, and conversations."""

    person: Person
    customer_ids: tuple[UUID, UUID]
    conversation_ids: list[UUID]


def workplaces(of: Settings) -> list[Workplace]:
    """Migrate the database and fill it with an instructor, operators and conversations."""
    flask(of, "db", "upgrade")
    flask(of, "database", "roles", "--apply")
    app = create_app(of)
    with app.app_context():
        place = desk(app.test_cli_runner())
        people = [user(place.cli, place.instructor_id) for _ in range(OPERATORS)]
        customer_ids = place.customer("393330000001"), place.customer("393330000002")
        return [
            Workplace(
                person,
                customer_ids,
                [place.conversation(f"39334{number:03}{n:04}") for n in range(CONVERSATIONS)],
            )
            for number, person in enumerate(people)
        ]


@contextmanager
def load(address: str, record: Record, places: list[Workplace]) -> Iterator[None]:
    """Let operators work until the end."""
    stop = Event()
    with ThreadPoolExecutor(len(places)) as pool:
        work = [
            pool.submit(
                Operator(address, place.person, place.customer_ids, record).work, place.conversation_ids, stop
            )
            for place in places
        ]
        try:
            yield
        finally:
            stop.set()
    for write in work:
        write.result()


def fail_over(of: Cluster, record: Record, name: str, kill: Callable[[Node], None]) -> None:
    """Kill the primary, and wait until all is well again; print how long people could not link."""
    old = of.primary()
    if old is None:
        raise HaError("there is no primary to kill")
    record.slowest = 0
    pages, sent_again, killed = record.unavailable, record.sent_again, time.monotonic()
    kill(old)
    new_leader = wait_for("another primary", lambda: (new := of.primary()) is not None and new is not old)
    wait_for("an acknowledged write", lambda: record.acknowledged_after(killed + new_leader))
    again = next(write.at for write in record.acknowledged if write.at > killed + new_leader) - killed
    if old.process is None:
        of.start(old)
    wait_for("the cluster to be whole again", of.is_whole)
    waited = f"{new_leader:12.1f}{again:15.1f}{record.slowest:16.1f}"
    click.echo(f"{name:<30}{waited}{record.unavailable - pages:11}{record.sent_again - sent_again:12}")


def check(of: Settings, record: Record) -> int:
    """Compare what was acknowledged with what is there; return how much is lost or made up."""
    flask(of, "audit", "drain")
    click.echo(flask(of, "audit", "verify").strip())
    acknowledged = {
        (write.conversation_id, write.version): write.operation_id for write in record.acknowledged
    }
    worked_on = {write.conversation_id for write in record.acknowledged}
    events = [json.loads(line) for line in flask(of, "audit", "export").splitlines()]
    there = {
        (UUID(event["conversation_id"]), event["sequence"]): UUID(event["event_id"])
        for event in events
        if UUID(event["conversation_id"]) in worked_on
    }
    lost = acknowledged.items() - there.items()
    made_up = there.items() - acknowledged.items()
    click.echo(
        f"Acknowledged: {len(record.acknowledged)}. Lost: {len(lost)}. Never acknowledged: {len(made_up)}."
    )
    return len(lost) + len(made_up)


def main() -> None:
    """Fail over several times under load and check; exit 1 where anything was lost or looked wrong."""
    parser = argparse.ArgumentParser(prog="verification.ha", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=2, help="how often each kind of failure (2)")
    rounds = parser.parse_args().rounds
    record = Record()
    try:
        click.echo("Starting etcd and three nodes.", err=True)
        with cluster() as nodes:
            owner = settings(nodes, "postgres", "postgres", "postgres")
            places = workplaces(owner)
            parts = settings(nodes, "console_link", "console_read", "console_ingest")
            with served(parts, nodes.directory / "console.log") as address, load(address, record, places):
                click.echo(HEADING)
                for name, kill in list(KILLS.items()) * rounds:
                    time.sleep(CALM_SECONDS)
                    fail_over(nodes, record, name, kill)
                time.sleep(CALM_SECONDS)
            wrong = check(owner, record)
    except HaError as error:
        sys.exit(str(error))
    for problem in record.problems:
        click.echo(problem)
    sys.exit(1 if wrong or record.problems else 0)


if __name__ == "__main__":
    main()
