"""`flask identifier`."""

import click

from console.commands import Group
from console.identifiers import normalize_identifier

identifier = Group("identifier", help="Customer identifiers.")


@identifier.command("normalize")
@click.argument("raw", nargs=-1, required=True)
def normalize(raw: tuple[str, ...]) -> None:
    """Print each normalised, or null, a line each."""
    for one in raw:
        click.echo(normalize_identifier(one) or "null")


commands: list[click.Command] = [identifier]
