"""`normalize_identifier` against what phonenumbers does for the same question."""

import random
from collections.abc import Callable, Iterator
from functools import partial

import phonenumbers

from benchmarks.clock import IN_A_ROW, interleave
from benchmarks.report import Result, against
from console.identifiers import normalize_identifier

IDENTIFIERS = 100_000

_BATCH = 2_000
_TIMES = 25
# Written as people write them: international, with and without separators.
_FORMS = ("39{0}", "+39{0}", "0039{0}", "+39 {1} {2} {3}", "+39 {1}-{2}-{3}", "+39 ({1}) {2} {3}")


def measure() -> list[Result]:
    """Normalise 100,000 distinct identifiers, in batches that take turns."""
    written = _written()
    batches = [written[start : start + _BATCH] for start in range(0, len(written), _BATCH)]
    timings = interleave(
        {"console": _over(batches, normalize_identifier), "phonenumbers": _over(batches, _by_numbering_plan)},
        rounds=len(batches),
    )
    ours, theirs = timings["console"], timings["phonenumbers"]
    return [
        Result(
            "phonenumbers takes, times normalize_identifier",
            theirs.cpu_ms / ours.cpu_ms,
            "×",
            at_least=_TIMES,
            made_from=f"{_BATCH:,} at a time: {against(ours, theirs, 'phonenumbers')}",
        )
    ]


def _written() -> list[str]:
    numbers = random.Random(6).sample(range(3_200_000_000, 3_499_999_999), IDENTIFIERS)  # noqa: S311 (no secret)
    return [
        _FORMS[place % len(_FORMS)].format(number, *(str(number)[cut] for cut in _CUTS))
        for place, number in enumerate(numbers)
    ]


_CUTS = (slice(3), slice(3, 6), slice(6, 10))


def _over(batches: list[list[str]], normalize: Callable[[str], str | None]) -> Callable[[], None]:
    # The first batches are warmed up on and then come again, so that every round has one.
    turns = iter([*batches[:IN_A_ROW], *batches])
    return partial(_next_batch, turns, normalize)


def _next_batch(turns: Iterator[list[str]], normalize: Callable[[str], str | None]) -> None:
    for raw in next(turns):
        if normalize(raw) is None:
            raise RuntimeError(f"{normalize} knows no {raw!r}")


def _by_numbering_plan(raw: str) -> str | None:
    """Do what an application does that normalises with the usual library: parse, check, format."""
    international = raw if raw.startswith("+") else f"+{raw.removeprefix('00')}"
    number = phonenumbers.parse(international)
    if not phonenumbers.is_valid_number(number):
        return None
    formatted: str = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return formatted
