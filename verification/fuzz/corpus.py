"""The inputs that are kept: one a line, a JSON string with a character for each byte."""

import json
from collections.abc import Iterable
from pathlib import Path

_DIRECTORY = Path(__file__).with_name("corpus")


def path(target: str) -> Path:
    """Return the file in which a target's inputs are kept."""
    return _DIRECTORY / f"{target}.jsonl"


def read(file: Path) -> list[bytes]:
    """Return the inputs of a file, the shortest first."""
    return [json.loads(line).encode("latin-1") for line in file.read_text("ascii").splitlines()]


def keep(file: Path, inputs: Iterable[bytes]) -> None:
    """Keep these inputs in a file, and no others."""
    kept = sorted(set(inputs), key=lambda item: (len(item), item))
    lines = (json.dumps(item.decode("latin-1")) for item in kept)
    file.write_text("".join(f"{line}\n" for line in lines), "ascii")
