"""One target under atheris: `-m verification.fuzz.run <target> <libFuzzer options and directories>`."""

import importlib
import sys

import atheris

from verification.fuzz.mutation import mutate

# The slow reading of CM-1 too: it has branches where the other has a regular expression.
_WATCHED = ["console.identifiers", "console.ingestion.whatsapp", "testkit.identifiers"]


def main() -> None:
    """Fuzz until libFuzzer has enough; it ends the process."""
    target = sys.argv.pop(1)
    # libFuzzer starts itself again by this name, through a shell.
    sys.argv[0] = f"{sys.executable} -m verification.fuzz.run {target}"
    with atheris.instrument_imports(include=_WATCHED):
        targets = importlib.import_module("verification.fuzz.targets")
    if target == "payloads":
        atheris.Setup(sys.argv, targets.TARGETS[target], custom_mutator=_change)
    else:
        atheris.Setup(sys.argv, targets.TARGETS[target])
    atheris.Fuzz()


def _change(data: bytes, most: int, seed: int) -> bytes:
    """Change a payload: every fourth time its bytes, else what it says."""
    changed = mutate(data, seed) if seed % 4 else None
    return changed if changed and len(changed) <= most else bytes(atheris.Mutate(data, most))


if __name__ == "__main__":
    main()
