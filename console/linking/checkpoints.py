"""Checkpoints (CM-2.5): a digest over the digests of the trail's first lines, to be kept elsewhere."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from console.linking.tombstones import line_digest

DIGEST_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A number of events, and the SHA-256 over the digests of their lines, in lower-case hex."""

    position: int
    sha256: str


def take(lines: Iterable[str]) -> Checkpoint:
    """Return the checkpoint of a trail that consists of these lines."""
    position, digest = 0, hashlib.sha256()
    for line in lines:
        digest.update(_entry(line))
        position += 1
    return Checkpoint(position, digest.hexdigest())


def problems(lines: Iterable[str], checkpoints: Sequence[Checkpoint]) -> Iterator[str]:
    """Give what is wrong for each checkpoint that the trail's lines don't agree with."""
    position, digest, rest = 0, hashlib.sha256(), iter(lines)
    for checkpoint in sorted(checkpoints, key=lambda checkpoint: checkpoint.position):
        for line in islice(rest, checkpoint.position - position):
            digest.update(_entry(line))
            position += 1
        if position < checkpoint.position:
            yield f"checkpoint {checkpoint.position}: the trail has only {position} events"
        elif digest.hexdigest() != checkpoint.sha256:
            yield (
                f"checkpoint {checkpoint.position}: an event up to it was changed, removed, inserted or moved"
            )


def read(text: str) -> list[Checkpoint]:
    """Read checkpoints, one JSON object a line, as the command prints them; ValueError for anything else."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("there is no checkpoint in it")
    return [_read(line) for line in lines]


def _read(line: str) -> Checkpoint:
    try:
        fields = json.loads(line)
        position, sha256 = fields["position"], bytes.fromhex(fields["sha256"]).hex()
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError("a line is no checkpoint: it takes what `flask audit checkpoint` prints") from None
    if type(position) is not int or position < 0 or len(sha256) != DIGEST_CHARACTERS:
        raise ValueError("a checkpoint takes a position of 0 or more and 64 hex digits")
    return Checkpoint(position, sha256)


def _entry(line: str) -> bytes:
    return f"{line_digest(line)}\n".encode()
