"""Many operators at once, over HTTP, with processes killed and paused: is what happened linearizable."""

import random
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from flask import Flask
from sqlalchemy import select

from console.database import reading
from console.models import Conversation
from testkit.factories import heal, trail
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
def test_what_many_operators_do_at_once_is_linearizable(
    app: Flask, database: Database, figures: Figures, tmp_path: Path, size: Size
):
    world = populate(conversations=size.conversations, operators=size.operators, customers=5)
    with serve(database.settings, tmp_path, workers=WORKERS) as server:
        chaos = Chaos(server, size)
        chaos.start()
        try:
            calls = operate(server.port, world, processes=size.processes, calls=size.calls)
        finally:
            chaos.over.set()
            chaos.join()
    heal()
    answers = Counter(call.answer for call in calls)
    assert check(history(calls)) == []
    assert answers[Answer.UNAVAILABLE] == 0
    assert min(answers[Answer.DONE], answers[Answer.STALE]) > size.calls / 20
    figures("calls by 0 of which the history stops being linearizable", len(calls))
    for answer, count in answers.most_common():
        figures(f"answered {answer}", count)
    for what, count in chaos.counts.items():
        figures(what, count)


def history(calls: list[Call]) -> History:
    """Put together what was called and what the database holds."""
    with reading() as connection:
        assert (
            connection.execute(select(Conversation.id).where(Conversation.audit_outbox.is_not(None))).all()
            == []
        )
        rows = connection.execute(
            select(Conversation.id, Conversation.customer_id, Conversation.link_version)
        ).all()
    events = [
        Event(
            conversation=one["conversation_id"],
            operation=one["event_id"],
            actor=one["actor_id"],
            reason=one["reason"],
            sequence=one["sequence"],
            previous=one["previous_customer_id"],
            new=one["new_customer_id"],
        )
        for one in trail()
    ]
    links = {
        str(row.id): Link(str(row.customer_id) if row.customer_id else None, row.link_version) for row in rows
    }
    return History(calls, events, links)
