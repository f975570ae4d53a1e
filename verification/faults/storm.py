"""Processes that link, relink and unlink the same conversations at once, and are killed at any moment."""

import os
import random
import signal
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

from console import create_app
from console.config import Settings
from console.database import command_scope, db
from console.linking import service
from console.linking.verification import verify
from testkit.factories import heal, link_state
from verification.faults.crashes import Tally, explain
from verification.faults.world import World, populate

PROCESSES = 4
CONVERSATIONS = 20

# A process lives so many seconds, at most: from before its first statement to many writes.
MAX_LIFE = 0.12


def storm(settings: Settings, directory: Path, *, kills: int) -> Tally:
    """Kill one process after the other and start another in its place; then start anew and check all."""
    app = create_app(replace(settings, log_level="critical"))
    with app.app_context():
        world = populate(conversations=CONVERSATIONS)
        for engine in db.engines.values():
            engine.dispose()
        running = [_start(world, directory / str(number)) for number in range(PROCESSES)]
        for number in range(PROCESSES, kills):
            time.sleep(random.uniform(0, MAX_LIFE / PROCESSES))
            _kill(running.pop(random.randrange(PROCESSES)))
            running.append(_start(world, directory / str(number)))
        for pid in running:
            _kill(pid)
        heal()
        acknowledged = _check(world, directory)
    return Tally(kills=kills, acknowledged=acknowledged, restarts=1)


def _start(world: World, record: Path) -> int:
    pid = os.fork()
    if pid == 0:
        _work(world, record)
    return pid


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "a process ended by itself: see its record"


def _work(world: World, record: Path) -> None:
    """Link until killed. Intents and acknowledgements are in the record before anything else."""
    random.seed()
    with record.open("ab", buffering=0) as file:
        try:
            while True:
                conversation_id, operation_id = random.choice(world.conversation_ids), uuid4()
                file.write(f"asked {conversation_id} {operation_id}\n".encode())
                if change(world, conversation_id, operation_id):
                    file.write(f"done {conversation_id} {operation_id}\n".encode())
        except BaseException as error:
            file.write(f"failed {error!r}\n".encode())
            os._exit(1)


def change(world: World, conversation_id: UUID, operation_id: UUID) -> bool:
    """Change a link over the version it has, or just had; say whether a write was acknowledged."""
    customer_id = random.choice([None, *world.customer_ids])
    request = service.LinkRequest(
        conversation_id=conversation_id,
        customer_id=customer_id,
        unlink=customer_id is None,
        actor_id=world.operator_ids[0],
        reason="a reason",
        seen_version=link_state(conversation_id).link_version,
        operation_id=operation_id,
        confirmed=True,
    )
    try:
        outcome = service.change(request, command_scope())
    except service.LinkChanged:
        return False
    return outcome != service.LinkOutcome.UNCHANGED


def _check(world: World, directory: Path) -> int:
    said: dict[str, dict[UUID, set[UUID]]] = {"asked": defaultdict(set), "done": defaultdict(set)}
    for record in directory.iterdir():
        for line in record.read_text().splitlines():
            what, *ids = line.split()
            assert what in said, line
            conversation_id, operation_id = map(UUID, ids)
            said[what][conversation_id].add(operation_id)
    for item in world.conversation_ids:
        explain(item, attempted=said["asked"][item], acknowledged=said["done"][item])
    broken = [problem for _, problem in verify() if problem]
    assert not broken, broken
    return sum(map(len, said["done"].values()))
