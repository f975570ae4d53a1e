"""`flask person`: exports and erases what is held about a person."""

from uuid import UUID

import click
import structlog

from console.commands import UUID_PARAM, BadUsage, Group, caller
from console.database import NotOwner, NotScrubbed, scrub
from console.person import erasure
from console.person.export import export as export_person
from console.person.identity import Person
from console.person.records import PersonError
from console.text import is_visible

log = structlog.get_logger()

person = Group(
    "person",
    help="What is held about a person with one instructor.",
    refusals=(PersonError, NotOwner, NotScrubbed),
)

_identifier = click.argument("who", metavar="IDENTIFIER", type=Person)
_instructor = click.option("--instructor", "instructor_id", type=UUID_PARAM, required=True)


@person.command("export")
@_identifier
@_instructor
def export(who: Person, instructor_id: UUID) -> None:
    """Write what is held about the person as JSON, and nothing about anyone else."""
    click.echo(export_person(who, instructor_id))


@person.command("erase")
@_identifier
@_instructor
@click.option(
    "--reason", required=True, help="By whose decision. It is kept in the log, and names no person."
)
@click.option("--yes", is_flag=True, help="Don't ask.")
def erase(who: Person, instructor_id: UUID, reason: str, yes: bool) -> None:
    """Erase what is held about the person, for good; their link events become tombstones."""
    if not is_visible(reason) or who.is_named_in(reason):
        raise BadUsage(
            "the reason is kept in the log: it says by whose decision, and doesn't name the person"
        )
    found = erasure.find(who, instructor_id)
    click.echo(f"to erase: {found}")
    for conversation_id in found.named_in:
        click.echo(f"stays: WhatsApp names this identifier in someone else's conversation {conversation_id}")
    if not yes:
        click.confirm("Erase this? It can't be undone", abort=True)
    account = {"instructor_id": str(instructor_id), "by": caller(), "why": reason}
    log.warning("person_to_erase", **account)
    erased = str(erasure.erase(who, instructor_id))
    log.warning("person_erased", **account, what=erased)
    click.echo(f"erased: {erased}")
    scrub()
