"""`flask audit`: the trail as JSON Lines, moving what waits, and checking that it explains every link."""

import json
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TextIO, TypeVar
from uuid import UUID

import click

from console.commands import UUID_PARAM, Failure, Group
from console.database import now
from console.linking import audit, checkpoints, history, verification
from console.linking.events import rfc3339

T = TypeVar("T")

audit_group = Group("audit", help="The audit trail.")


@audit_group.command("export")
@click.option(
    "--after", metavar="POSITION", type=click.IntRange(0, 2**63 - 1), default=0, help="Start above it."
)
@click.option("--instructor", "instructor_id", type=UUID_PARAM, help="One instructor's events only.")
def export(after: int, instructor_id: UUID | None) -> None:
    """Write events as JSON Lines, oldest first; the last position goes to stderr."""
    last = after
    for position, line in history.export(after=after, instructor_id=instructor_id):
        click.echo(line)
        last = position
    click.echo(f"last position {last}", err=True)


@audit_group.command("drain")
def drain() -> None:
    """Move the events that wait in conversations to the trail."""
    moved, failed = audit.drain()
    click.echo(f"moved {moved}")
    if failed:
        raise Failure(f"{failed} conversations keep their events: fix what the log says, and drain again")


@audit_group.command("checkpoint")
def checkpoint() -> None:
    """Print the trail's position and digest as one JSON line, to be kept away from the database."""
    if any(verification.gaps()):
        raise Failure("positions are missing in the trail: `flask audit verify` names them")
    with _progress(history.export(), history.size()) as events:
        taken = checkpoints.take(line for _, line in events)
    click.echo(json.dumps({**asdict(taken), "timestamp": rfc3339(now())}))


@audit_group.command("verify")
@click.option(
    "--checkpoint",
    "file",
    metavar="FILE",
    type=click.File(errors="replace"),
    help="Compare the trail with the checkpoints in a file; - is stdin.",
)
def verify(file: TextIO | None) -> None:
    """Check that every conversation's events explain its link; name those where they don't."""
    try:
        kept = checkpoints.read(file.read()) if file else []
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--checkpoint") from None
    with _progress(verification.verify(), verification.count()) as conversations:
        broken = [f"{conversation_id} {problem}" for conversation_id, problem in conversations if problem]
    others = list(verification.gaps())
    if kept:
        with _progress(history.export(), history.size()) as events:
            others += checkpoints.problems((line for _, line in events), kept)
    for line in (*broken, *others):
        click.echo(line)
    total = verification.count()
    if broken:
        raise Failure(f"{len(broken)} of {total} conversations have links that their events don't explain")
    if others:
        raise Failure("the trail is not as it was written")
    click.echo(f"verified {total} conversations: their events explain every link")
    if kept:
        click.echo(f"verified {len(kept)} checkpoints: no event up to position {kept[-1].position} changed")
    erased = [f"position {place} erased {rfc3339(moment)}" for place, moment in verification.tombstones()]
    if erased:
        click.echo("\n".join([*erased, f"{len(erased)} tombstones"]))


def _progress(items: Iterable[T], length: int) -> AbstractContextManager[Iterable[T]]:
    return click.progressbar(items, length=length, file=sys.stderr, hidden=not sys.stderr.isatty())
