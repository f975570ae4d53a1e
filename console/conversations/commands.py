"""`flask identifier` and `flask badge`."""

import json
from uuid import UUID

import click

from console.commands import UUID_PARAM, Command, Failure, Group
from console.conversations import queries
from console.conversations.badges import badges
from console.database import command_scope, reading
from console.identifiers import normalize_identifier

identifier = Group("identifier", help="Customer identifiers.")


@identifier.command("normalize", context_settings={"ignore_unknown_options": True})
@click.argument("raw", nargs=-1, required=True)
def normalize(raw: tuple[str, ...]) -> None:
    """Print each normalised, or null, a line each."""
    for identifier in raw:
        click.echo(normalize_identifier(identifier) or "null")


@click.command("badge", cls=Command)
@click.argument("conversation_id", metavar="UUID", type=UUID_PARAM)
def badge(conversation_id: UUID) -> None:
    """Print a conversation's badge and what it is based on, as one JSON line."""
    with reading(command_scope()) as connection:
        found = queries.subjects(connection, conversation_ids=[str(conversation_id)])
        if not found:
            raise Failure("there is no conversation with that id")
        (shown,) = badges(connection, found)
    basis = shown.basis
    told = {"state": shown.state, "resolution": basis.outcome, "reason": basis.reason}
    click.echo(json.dumps({**told, "customer_id": basis.customer_id}))
