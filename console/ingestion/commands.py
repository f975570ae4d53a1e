"""`flask ingest`: payloads from a file, or those that were rejected before; `flask rejected`."""

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

import click

from console.commands import UUID_PARAM, BadUsage, Command, Failure, Group, caller, printable
from console.ingestion import rejected
from console.ingestion.service import RESULTS, Counts, NotStored, ingest_payload, retry_rejected

_PROGRESS_EVERY = 1000


@click.command("ingest", cls=Command)
@click.argument("file", required=False)
@click.option("--rejected", "retry", is_flag=True, help="Try the payloads that were rejected before again.")
def ingest(file: str | None, retry: bool) -> None:
    """Store the messages of WhatsApp webhook payloads: FILE (-: stdin) holds one JSON object a line.

    Exits with 1 if any payload was rejected; the others are stored all the same.
    """
    if retry == (file is not None):
        raise BadUsage("takes a FILE (- is stdin) or --rejected")
    total: Counter[str] = Counter()
    for place, counts in _lines(file) if file is not None else _rejected():
        if counts.rejected:
            click.echo(f"{place}: {counts.reason}", err=True)
        total.update({name: getattr(counts, name) for name in RESULTS})
    for name in RESULTS:
        click.echo(f"{name} {total[name]}")
    if total["rejected"]:
        click.get_current_context().exit(1)


def _lines(file: str) -> Iterator[tuple[str, Counts]]:
    number = 0
    try:
        with click.open_file(file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"line {number}", ingest_payload(line.rstrip(b"\r\n"))
                if number % _PROGRESS_EVERY == 0:
                    click.echo(f"{number} lines", err=True)
    except OSError as error:
        raise BadUsage(f"{click.format_filename(file)} can't be read: {error.strerror}") from None
    except NotStored as error:
        raise Failure(
            f"stopped at line {number}: {error}. What comes before it is stored; "
            f"run this again from line {number} on, or as a whole"
        ) from None


def _rejected() -> Iterator[tuple[str, Counts]]:
    try:
        for payload_id, counts in retry_rejected():
            yield str(payload_id), counts
    except NotStored as error:
        raise Failure(f"stopped half-way: {error}. What was tried before is done; run this again") from None


rejected_payloads = Group(
    "rejected", help="Payloads that could not be stored.", refusals=(rejected.NotDismissed,)
)


@rejected_payloads.command("list")
@click.option("--dismissed", is_flag=True, help="Those that were dismissed, with who, when and why.")
def list_rejected(dismissed: bool) -> None:
    """List the payloads that wait, oldest first: id, when it was received, and the reason."""
    for row in rejected.listed(dismissed=dismissed):
        click.echo(
            "  ".join([str(row.id), row.received_at.isoformat(), printable(row.reason), *_decision(row)])
        )


@rejected_payloads.command("show")
@click.argument("payload_id", metavar="ID", type=UUID_PARAM)
def show_rejected(payload_id: UUID) -> None:
    """Print a payload as it was kept; characters that a terminal would obey are spelled out."""
    row = rejected.find(payload_id)
    if row is None:
        raise Failure("there is no rejected payload with that id")
    click.echo("\n".join([printable(line) for line in row.payload.split("\n")]))
    for line in _decision(row):
        click.echo(line, err=True)


@rejected_payloads.command("dismiss")
@click.argument("payload_ids", metavar="ID...", nargs=-1, required=True, type=UUID_PARAM)
@click.option("--reason", required=True, help="Why they are not to be tried again.")
@click.option("--by", default=caller, help="Who decided; by default this machine's user.")
def dismiss(payload_ids: tuple[UUID, ...], reason: str, by: str) -> None:
    """Keep payloads from being tried again: all of those named, or none."""
    rejected.dismiss(payload_ids, by=by, reason=reason)
    click.echo(f"dismissed {len(set(payload_ids))}")


def _decision(row: rejected.PayloadRow) -> list[str]:
    if row.dismissed_at is None:
        return []
    when, who, why = row.dismissed_at.isoformat(), row.dismissed_by, row.dismissed_reason
    return [printable(f"dismissed {when} by {who}: {why}")]
