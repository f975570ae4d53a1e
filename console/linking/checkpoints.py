"""Checkpoints (CM-2.5): a digest over the digests of the trail's first lines, to be kept elsewhere."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from console.linking.events import line_digest

_DIGEST_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A number of events, and the SHA-256 over the digests of their lines, in lower-case hex."""

    position: int
    sha256: str


class _Trail:
    """Lines that are read one after the other, and their digest so far."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._position = 0
        self._digest = hashlib.sha256()

    def read(self, until: int | None = None) -> Checkpoint:
        """Read up to a position, or to the end, and return the checkpoint there."""
        for line in islice(self._lines, None if until is None else until - self._position):
            self._digest.update(f"{line_digest(line)}\n".encode())
            self._position += 1
        return Checkpoint(self._position, self._digest.hexdigest())


def take(lines: Iterable[str]) -> Checkpoint:
    """Return the checkpoint of a trail that consists of these lines."""
    return _Trail(lines).read()


def problems(lines: Iterable[str], checkpoints: Sequence[Checkpoint]) -> Iterator[str]:
    """Give what is wrong for each checkpoint that the trail's lines don't agree with."""
    trail = _Trail(lines)
    for checkpoint in sorted(checkpoints, key=lambda checkpoint: checkpoint.position):
        found = trail.read(checkpoint.position)
        if found.position < checkpoint.position:
            yield f"checkpoint {checkpoint.position}: the trail has only {found.position} events"
        elif found != checkpoint:
            yield (
                f"checkpoint {checkpoint.position}: an event up to it was changed, removed, inserted or moved"
            )


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
