"""Measuring: contenders take turns in one process, so that whatever else the machine does hits all alike.

Each round has an order of its own, so that none always comes first or after the same other. A turn is a few
runs in a row, as a server runs nothing but its own code: right after another's turn the processor's caches
hold nothing of it, and what is short suffers most.
"""

import gc
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

ROUNDS = 50
IN_A_ROW = 5


@dataclass
class Timing:
    """What a contender took, one number a round, in seconds."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    @property
    def cpu_ms(self) -> float:
        """Return the median CPU time in milliseconds."""
        return statistics.median(self.cpu) * 1000

    @property
    def wall_ms(self) -> float:
        """Return the median wall time in milliseconds."""
        return statistics.median(self.wall) * 1000

    @property
    def spread(self) -> float:
        """Return the distance between the CPU times' quartiles, as a part of their median."""
        low, middle, high = statistics.quantiles(self.cpu, n=4)
        return (high - low) / middle


def interleave(contenders: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, Timing]:
    """Let every contender run so many times, and tell what each took."""
    timings = {name: Timing() for name in contenders}
    order = list(contenders.items())
    dice = random.Random(1)  # noqa: S311 (no secret)
    for turn in range(-1, rounds // IN_A_ROW):  # the first is to get warm
        dice.shuffle(order)
        for name, run in order:
            for _ in range(IN_A_ROW):
                cpu, wall = time.process_time(), time.perf_counter()
                run()
                spent = time.process_time() - cpu, time.perf_counter() - wall
                if turn >= 0:
                    timings[name].cpu.append(spent[0])
                    timings[name].wall.append(spent[1])
        gc.collect()  # between the rounds, so that none pays for what another left behind
    return timings
