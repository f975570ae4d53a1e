"""How often a sign-in may fail before the next one has to wait (docs/decisions/0019).

Failures are counted in this process or in a shared Redis. A sign-in that has to wait costs no hash.
"""

import math
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import TypeVar

import redis
import structlog
from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from console.accounts import devices

log = structlog.get_logger()

ACCOUNT = (RateLimitItemPerMinute(5), RateLimitItemPerMinute(10, 15), RateLimitItemPerDay(30))
"""Failures for one account: of all strangers, of one known browser, of the known browsers at one address."""
ADDRESS = (RateLimitItemPerHour(100), RateLimitItemPerDay(500))
"""Failures of strangers, or of known browsers, from one client address, which an office may share."""

STORE_SECONDS = 1
"""How long Redis may take to connect, and to answer."""
STORE_REST_SECONDS = 5
"""How long a Redis that didn't answer is left alone, so that not every sign-in waits for it."""

Counter = tuple[RateLimitItem, str]
T = TypeVar("T")


class _Redis(RedisStorage):
    """Counts by plain commands: the console's Redis user needs no right to run scripts."""

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        name = self.prefixed_key(key)
        with self.storage.pipeline() as transaction:
            transaction.set(name, 0, ex=expiry, nx=True)
            transaction.incrby(name, amount)
            return int(transaction.execute()[1])


class Throttle:
    """The counts of one console."""

    def __init__(self, url: str) -> None:
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._shared: FixedWindowRateLimiter | None = None
        self.rests_until = 0.0
        if url != "memory://":
            pool = redis.ConnectionPool.from_url(
                url,
                socket_connect_timeout=STORE_SECONDS,
                socket_timeout=STORE_SECONDS,
                # Retries once without a pause: a pooled connection may have been cut.
                retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            )
            store = _Redis(url, connection_pool=pool, key_prefix="console", wrap_exceptions=True)
            self._shared = FixedWindowRateLimiter(store)

    def wait(self, counters: Sequence[Counter]) -> int:
        """Return how many seconds the next attempt has to wait; 0 where it may be made."""
        return self._ask(lambda counts: _wait(counts, counters))

    def count(self, counters: Sequence[Counter]) -> None:
        """Count a failure."""
        self._ask(lambda counts: [counts.hit(limit, key) for limit, key in counters])

    def _ask(self, question: Callable[[FixedWindowRateLimiter], T]) -> T:
        """Ask the shared counts, or this process's own while those don't answer."""
        if self._shared and time.monotonic() >= self.rests_until:
            try:
                return question(self._shared)
            except StorageError as error:
                self.rests_until = time.monotonic() + STORE_REST_SECONDS
                log.warning("throttle_store_does_not_answer", kind=type(error.storage_error).__name__)
        return question(self._own)


def counters(email: str, client: str | None, device: str | None) -> list[Counter]:
    """Return what an attempt at this account, as its address is kept, counts for.

    A browser that was used to sign in to the account before has a `device` and counts apart from strangers.
    So no stranger can make it wait, not even from the same client address. Known browsers at one address
    count together as well, so that several kept cookies guess no more often than one.
    """
    account = devices.masked("account", email)
    network = devices.masked("client", _network(client))
    if device:
        accounts, address = [f"device/{device}/{account}", f"known/{network}/{account}"], f"known/{network}"
    else:
        accounts, address = [f"account/{account}"], f"client/{network}"
    return [(limit, key) for key in accounts for limit in ACCOUNT] + [(limit, address) for limit in ADDRESS]


def _network(client: str | None) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        address = ip_address(client or "")
    except ValueError:
        return "elsewhere"
    if address.version == 6:
        return str(address.ipv4_mapped or int(address) >> 64)
    return str(address)


def _wait(counts: FixedWindowRateLimiter, counters: Sequence[Counter]) -> int:
    """Return the longest wait of the limits that are reached; 0 where none is."""
    ends = [counts.get_window_stats(limit, key)[0] for limit, key in counters if not counts.test(limit, key)]
    return max(1, math.ceil(max(ends) - time.time())) if ends else 0
