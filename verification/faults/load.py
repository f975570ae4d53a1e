"""Processes that write as fast as they can, links and messages, into one SQLite file."""

import os
import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from sqlalchemy import insert

from console import create_app
from console.config import Settings
from console.database import db
from console.ingestion.service import ingest_payload
from console.linking.verification import verify
from console.models import ChannelAccount
from testkit.databases import back_door
from testkit.factories import payload
from verification.faults.storm import change
from verification.faults.world import CHANNEL, World, populate

PROCESSES = 8
CONVERSATIONS = 20
ACCOUNT = "123456789012345"


def load(settings: Settings, directory: Path, *, writes: int) -> tuple[Counter[str], float]:
    """Let half the processes link and half ingest; return what came of each write, and the longest wait."""
    app = create_app(replace(settings, log_level="critical"))
    with app.app_context():
        world = populate(conversations=CONVERSATIONS)
        with back_door() as connection:
            account = {"channel": CHANNEL, "account_id": ACCOUNT, "instructor_id": world.instructor_id}
            connection.execute(insert(ChannelAccount), [account])
        for engine in db.engines.values():
            engine.dispose()
        pids = [_start(world, directory / str(number), number, writes) for number in range(PROCESSES)]
        for pid in pids:
            os.waitpid(pid, 0)
        broken = [problem for _, problem in verify() if problem]
        assert not broken, broken
    lines = [line.split(" ", 1) for record in directory.iterdir() for line in record.read_text().splitlines()]
    return Counter(what for _, what in lines), max(float(seconds) for seconds, _ in lines)


def _start(world: World, record: Path, number: int, writes: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    random.seed(number)
    write = _link if number % 2 else _ingest
    with record.open("a") as file:
        for _ in range(writes):
            started = time.monotonic()
            try:
                what = write(world)
            except Exception as error:
                what = f"{error!r}".replace("\n", " ")
            file.write(f"{time.monotonic() - started} {what}\n")
    os._exit(0)


def _link(world: World) -> str:
    return "linked" if change(world, random.choice(world.conversation_ids), uuid4()) else "not linked"


def _ingest(_world: World) -> str:
    counts = ingest_payload(payload(ACCOUNT, f"39{random.randrange(500):09}").encode())
    return "ingested" if counts.stored else "not ingested"
