"""`flask ingest`: payloads from a file, or those that were rejected before."""

import sys
from collections.abc import Iterator

import click

from console.commands import BadUsage, Command, Failure
from console.ingestion.service import Counts, NotStored, ingest_payload, retry_rejected

PROGRESS_EVERY = 1000


@click.command("ingest", cls=Command)
@click.argument("file", required=False)
@click.option("--rejected", is_flag=True, help="Try the payloads that were rejected before again.")
def ingest(file: str | None, rejected: bool) -> None:
    """Store the messages of WhatsApp webhook payloads: FILE (-: stdin) holds one JSON object a line.

    Exits with 1 if any payload was rejected; the others are stored all the same.
    """
    if rejected == (file is not None):
        raise BadUsage("takes a FILE (- is stdin) or --rejected")
    total = sum(_lines(file) if file is not None else _rejected(), Counts())
    for name in ("stored", "repeated", "ignored", "rejected"):
        click.echo(f"{name} {getattr(total, name)}")
    if total.rejected:
        click.get_current_context().exit(1)


def _lines(file: str) -> Iterator[Counts]:
    if file == "-" and sys.stdin is None:
        raise BadUsage("stdin is closed")
    try:
        with click.open_file(file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _line(number, line.rstrip(b"\r\n"))
                if number % PROGRESS_EVERY == 0:
                    click.echo(f"{number} lines", err=True)
    except OSError as error:
        raise BadUsage(f"{click.format_filename(file)} can't be read: {error.strerror}") from None


def _line(number: int, raw: bytes) -> Counts:
    try:
        counts = ingest_payload(raw)
    except NotStored as error:
        raise Failure(
            f"stopped at line {number}: {error}. What comes before it is stored; "
            f"run this again from line {number} on, or as a whole"
        ) from None
    if counts.rejected:
        click.echo(f"line {number}: {counts.reason}", err=True)
    return counts


def _rejected() -> Iterator[Counts]:
    try:
        for payload_id, counts in retry_rejected():
            if counts.rejected:
                click.echo(f"{payload_id}: {counts.reason}", err=True)
            yield counts
    except NotStored as error:
        raise Failure(f"stopped half-way: {error}. What was tried before is done; run this again") from None


commands: list[click.Command] = [ingest]
