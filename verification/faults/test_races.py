"""Many operators at once, over HTTP, with processes killed and paused: is what happened linearizable."""

import json
import random
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from flask import Flask
from sqlalchemy import select

from console.database import command_scope, reading
from console.linking.history import export
from console.models import Conversation
from testkit.factories import heal
from verification.faults.checker import check
from verification.faults.databases import Database
from verification.faults.figures import Figures, sizes
from verification.faults.history import Answer, Call, Event, History, Link
from verification.faults.operators import operate
from verification.faults.server import Server, serve
from verification.faults.world import populate

WORKERS = 2


@dataclass(frozen=True)
class Size:
    """How much is done, and how often a worker is killed or paused meanwhile, and after how many seconds."""

    processes: int
    operators: int
    conversations: int
    calls: int
    faults: int
    pause: float


class Chaos(threading.Thread):
    """Kills and pauses workers, so many times or until told to stop."""

    def __init__(self, server: Server, size: Size) -> None:
        super().__init__()
        self.server = server
        self.size = size
        self.over = threading.Event()
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        for _ in range(self.size.faults):
            if self.over.wait(random.uniform(0, 2 * self.size.pause)):
                return
            worker = random.choice(self.server.workers() or [0])
            if worker and random.random() < 0.5:
                self.server.kill(worker)
                self.counts["kills"] += 1
            elif worker:
                self.server.pause(worker, random.uniform(0.1, 1))
                self.counts["pauses"] += 1


@sizes(
    short=Size(processes=2, operators=8, conversations=20, calls=300, faults=5, pause=0.4),
    full=Size(processes=4, operators=50, conversations=1000, calls=60_000, faults=200, pause=2),
)
def test_writes_of_many_operators_at_once_are_linearizable(
    app: Flask, database: Database, figures: Figures, tmp_path: Path, size: Size
):
    world = populate(conversations=size.conversations, operators=size.operators, customers=5)
    with serve(database.settings, tmp_path, workers=WORKERS) as server:
        chaos, follower = Chaos(server, size), Follower(app)
        for thread in (chaos, follower):
            thread.start()
        try:
            calls = operate(server.port, world, processes=size.processes, calls=size.calls)
        finally:
            for thread in (chaos, follower):
                thread.over.set()
                thread.join()
    heal()
    follower.read()
    answers = Counter(call.answer for call in calls)
    assert check(history(calls, follower.operations)) == []
    assert answers[Answer.UNAVAILABLE] == 0
    assert min(answers[Answer.DONE], answers[Answer.STALE]) > size.calls / 20
    figures("events, each of them read once by a reader who went on from its last position", follower.last)
    figures("calls by 0 of which the history stops being linearizable", len(calls))
    for answer, count in answers.most_common():
        figures(f"answered {answer}", count)
    for what, count in chaos.counts.items():
        figures(what, count)


class Follower(threading.Thread):
    """Reads the trail again and again, each time from the last position that it has."""

    def __init__(self, app: Flask) -> None:
        super().__init__()
        self.app = app
        self.over = threading.Event()
        self.last = 0
        self.operations: list[str] = []

    def run(self) -> None:
        with self.app.app_context():
            while not self.over.wait(0.05):
                self.read()

    def read(self) -> None:
        """Read what came since."""
        for position, line in export(after=self.last):
            self.last = position
            self.operations.append(json.loads(line)["event_id"])


def history(calls: list[Call], followed: list[str] | None = None) -> History:
    """Put together what was called, what a reader of the trail got, and what the database holds."""
    positions = {position: json.loads(line) for position, line in export()}
    with reading(command_scope()) as connection:
        assert (
            connection.execute(select(Conversation.id).where(Conversation.audit_outbox.is_not(None))).all()
            == []
        )
        rows = connection.execute(
            select(Conversation.id, Conversation.customer_id, Conversation.link_version)
        ).all()
    events = [
        Event(
            conversation=item["conversation_id"],
            operation=item["event_id"],
            actor=item["actor_id"],
            reason=item["reason"],
            sequence=item["sequence"],
            previous=item["previous_customer_id"],
            new=item["new_customer_id"],
            position=position,
        )
        for position, item in positions.items()
    ]
    links = {
        str(row.id): Link(str(row.customer_id) if row.customer_id else None, row.link_version) for row in rows
    }
    return History(calls, events, links, followed)
