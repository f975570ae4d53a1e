"""`flask audit`: the trail as JSON Lines, moving what waits, and checking that it explains every link."""

from uuid import UUID

import click

from console.commands import UUID_PARAM, Failure, Group
from console.linking import audit, history
from console.linking.verification import tombstones
from console.linking.verification import verify as verify_all

audit_group = Group("audit", help="The audit trail.")
commands: list[click.Command] = [audit_group]


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
        raise Failure(
            f"{failed} conversations keep their events for now: see the log, mend it, and drain again"
        )


@audit_group.command("verify")
def verify() -> None:
    """Check that every conversation's events explain its link; name those where they don't."""
    checked = broken = 0
    for conversation_id, problem in verify_all():
        checked += 1
        if problem:
            broken += 1
            click.echo(f"{conversation_id} {problem}")
    if broken:
        raise Failure(f"{broken} of {checked} conversations have links that their events don't explain")
    click.echo(f"verified {checked} conversations: their events explain every link")
    if erased := [
        f"position {place} erased {moment:%Y-%m-%dT%H:%M:%S.%fZ}" for place, moment in tombstones()
    ]:
        click.echo("\n".join([*erased, f"{len(erased)} tombstones"]))
