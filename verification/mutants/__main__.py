"""Change the code that decides in every small way, run the tests on each, and print the score.

Fails if a mutant survives that equivalent.toml does not explain.
"""

import argparse
import os
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from testkit import postgres
from verification.mutants.plugin import Run
from verification.mutants.runner import JUDGES, KILLED, ROOT, SURVIVED, TIMEOUT, Judge, Mutant, mutants

EQUIVALENT, UNEXPLAINED = "equivalent", "unexplained"
Key = tuple[str, str, str, str]


def equivalents() -> dict[Key, str]:
    """Return the reason why each listed mutant is no other program."""
    listed = tomllib.loads(Path(__file__).with_name("equivalent.toml").read_text()).get("equivalent", [])
    return {
        (entry["module"], entry["function"], old, new): entry["reason"]
        for entry in listed
        for old, new in entry["changes"]
    }


def judged(modules: list[str], only: str, *, on_server: bool, processes: int | None) -> dict[Mutant, str]:
    """Run the tests on each mutant of these modules; name a survivor as soon as it is known."""
    made = [mutant for mutant in mutants(modules) if only in mutant.function]
    found: dict[Mutant, str] = {}
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(prefix="mutants-", dir=memory if memory.is_dir() else None) as directory,
        postgres.cluster() as cluster,
    ):
        work = Run(Path(directory), cluster, on_server=on_server)
        judge = Judge(work, modules, processes=processes)
        say(f"{len(made)} mutants; running the tests without one first")
        judge.watch()
        for mutant, verdict in judge.judge(made):
            found[mutant] = verdict
            if verdict == SURVIVED:
                say(f"{len(found)}/{len(made)} {described(mutant)}")
    return found


def explained(found: Mapping[Mutant, str], reasons: Mapping[Key, str]) -> dict[Mutant, str]:
    """Return what became of each mutant, survivors parted in equivalent and unexplained."""
    return {
        mutant: verdict if verdict != SURVIVED else EQUIVALENT if mutant.key in reasons else UNEXPLAINED
        for mutant, verdict in found.items()
    }


def described(mutant: Mutant) -> str:
    """Return what a mutant changes, on three lines."""
    return f"{mutant.module}:{mutant.line} {mutant.function}\n  - {mutant.old}\n  + {mutant.new}"


def table(found: Mapping[Mutant, str]) -> str:
    """Return the score of each module: how many mutants are killed of those that are another program."""
    columns = (KILLED, TIMEOUT, EQUIVALENT, UNEXPLAINED)
    lines = [f"{'module':36} mutants {' '.join(f'{name:>11}' for name in columns)}  score"]
    for module in [*dict.fromkeys(mutant.module for mutant in found), ""]:
        count = Counter(verdict for mutant, verdict in found.items() if module in ("", mutant.module))
        dead = count[KILLED] + count[TIMEOUT]
        score = 100 * dead / ((count.total() - count[EQUIVALENT]) or 1)
        numbers = " ".join(f"{count[name]:11}" for name in columns)
        lines.append(f"{module or 'all':36} {count.total():7} {numbers} {score:5.1f}%")
    return "\n".join(lines)


def main() -> int:
    """Print the survivors and the score; return how many survivors have no explanation."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", choices=[[], *JUDGES], help="all where none is named"
    )
    parser.add_argument("--function", default="", help="only functions with this in their name")
    parser.add_argument("--processes", type=int, help="at once, as many as there are processors if not said")
    parser.add_argument("--sqlite", action="store_true", help="no tests on PostgreSQL")
    options = parser.parse_args()
    modules = options.modules or list(JUDGES)
    os.chdir(ROOT)
    os.nice(10)

    reasons = equivalents()
    found = explained(
        judged(modules, options.function, on_server=not options.sqlite, processes=options.processes), reasons
    )
    unexplained = [mutant for mutant, verdict in found.items() if verdict == UNEXPLAINED]
    for mutant, verdict in found.items():
        if verdict == EQUIVALENT:
            say(f"equivalent: {described(mutant)}\n    {reasons[mutant.key]}")
    survived = {mutant.key for mutant, verdict in found.items() if verdict == EQUIVALENT}
    known = {mutant.key for mutant in found}
    for key in reasons if not options.function else ():
        if key[0] in modules and key not in survived:
            say(f"listed as equivalent, but {'killed' if key in known else 'no mutant any more'}: {key}")
    for mutant in unexplained:
        say(f"UNEXPLAINED {described(mutant)}")
    say(table(found))
    return len(unexplained)


def say(message: str) -> None:
    """Print at once."""
    print(message, flush=True)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
