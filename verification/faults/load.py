"""Processes that write as fast as they can, links and messages, into one SQLite file."""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from sqlalchemy import insert

from console import create_app
from console.config import Settings
from console.database import db
from console.ingestion.service import ingest_payload
from console.linking.history import export
from console.linking.verification import verify
from console.models import ChannelAccount
from testkit.databases import back_door
from testkit.factories import heal, payload
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


def follow(settings: Settings, directory: Path, *, writes: int) -> tuple[list[str], list[str], int]:
    """Let all processes link, and read the trail meanwhile, each time from the last position on.

    Returns the operations that were read, in their order, those acknowledged, and how often it read.
    """
    app = create_app(replace(settings, log_level="critical"))
    with app.app_context():
        world = populate(conversations=CONVERSATIONS * PROCESSES)
        for engine in db.engines.values():
            engine.dispose()
        pids = [
            _start(world, directory / str(number), number, writes, _acknowledged)
            for number in range(PROCESSES)
        ]
        followed: list[str] = []
        looks = 0
        while pids:
            done, _ = os.waitpid(pids[0], os.WNOHANG)
            pids = pids[1:] if done else pids
            if not pids:
                heal()  # on a busy machine the trail may have been too slow for some writes
            for position, line in export(after=len(followed)):
                followed.append(json.loads(line)["event_id"])
                assert position == len(followed), "a gap"
            looks += 1
    acknowledged = [
        line.split()[1] for record in directory.iterdir() for line in record.read_text().splitlines()
    ]
    return followed, acknowledged, looks


def _start(
    world: World, record: Path, number: int, writes: int, write: Callable[[World], str] | None = None
) -> int:
    pid = os.fork()
    if pid:
        return pid
    random.seed(number)
    write = write or (_link if number % 2 else _ingest)
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


def _acknowledged(world: World) -> str:
    """Link until a write is acknowledged; return its operation."""
    while not change(world, random.choice(world.conversation_ids), operation_id := uuid4()):
        pass
    return str(operation_id)


def _ingest(_world: World) -> str:
    counts = ingest_payload(payload(ACCOUNT, f"39{random.randrange(500):09}").encode())
    return "ingested" if counts.stored else "not ingested"
