"""Checkpoints (CM-2.5): a digest over the digests of the trail's first lines, to be kept elsewhere."""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

from console.linking.events import line_digest

_DIGEST_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A number of events, and the SHA-256 over the digests of their lines, in lower-case hex."""

    position: int
    sha256: str


def take(lines: Iterable[str]) -> Checkpoint:
    """Return the checkpoint of a trail that consists of these lines."""
    return next(_checkpoints(lines, [sys.maxsize]))


def problems(lines: Iterable[str], checkpoints: Iterable[Checkpoint]) -> Iterator[str]:
    """Give what is wrong for each checkpoint that the trail's lines don't agree with."""
    kept = sorted(checkpoints, key=attrgetter("position"))
    there = _checkpoints(lines, [checkpoint.position for checkpoint in kept])
    for checkpoint, found in zip(kept, there, strict=True):
        if found.position < checkpoint.position:
            yield f"checkpoint {checkpoint.position}: the trail has only {found.position} events"
        elif found != checkpoint:
            yield (
                f"checkpoint {checkpoint.position}: an event up to it was changed, removed, inserted or moved"
            )


def _checkpoints(lines: Iterable[str], positions: Iterable[int]) -> Iterator[Checkpoint]:
    """Give the checkpoint at each of these rising positions, or at the end where that comes first."""
    rest, position, digest = iter(lines), 0, hashlib.sha256()
    for until in positions:
        for line in islice(rest, until - position):
            digest.update(f"{line_digest(line)}\n".encode())
            position += 1
        yield Checkpoint(position, digest.hexdigest())


def read(text: str) -> list[Checkpoint]:
    """Read checkpoints, one JSON object a line, as the command prints them; ValueError for anything else."""
    checkpoints = [_read(line) for line in text.splitlines() if line.strip()]
    if not checkpoints:
        raise ValueError("there is no checkpoint in it")
    return checkpoints


def _read(line: str) -> Checkpoint:
    try:
        fields = json.loads(line)
        position, sha256 = fields["position"], bytes.fromhex(fields["sha256"]).hex()
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError("a line is no checkpoint: it takes what `flask audit checkpoint` prints") from None
    if type(position) is not int or position < 0 or len(sha256) != _DIGEST_CHARACTERS:
        raise ValueError("a checkpoint takes a position of 0 or more and 64 hex digits")
    return Checkpoint(position, sha256)
