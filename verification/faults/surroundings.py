"""What can happen around a running console: a full disk, a read-only file, a database that restarts."""

import contextlib
import ctypes
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator

from verification.faults.databases import Database
from verification.faults.server import Server

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE = 1
_CAP_FOWNER = 3


@contextlib.contextmanager
def disk_full(server: Server) -> Iterator[None]:
    """Let no file that the workers write grow, nor be written at all."""
    _limit_files(server, 0)
    try:
        yield
    finally:
        _limit_files(server, resource.RLIM_INFINITY)


def _limit_files(server: Server, size: int) -> None:
    for worker in server.workers():
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def obey_file_modes() -> None:
    """Give up what root may do to files whatever their mode says, for the program that is started next."""
    if os.geteuid() == 0:
        for capability in (_CAP_DAC_OVERRIDE, _CAP_FOWNER):
            ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


@contextlib.contextmanager
def read_only_files(database: Database) -> Iterator[None]:
    """Take the right to write the database's files and their directory away."""
    files = [database.path.parent, *database.path.parent.glob(f"{database.path.name}*")]
    modes = {file: file.stat().st_mode for file in files}
    for file, mode in modes.items():
        file.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for file, mode in modes.items():
            file.chmod(mode)


class Restarts(threading.Thread):
    """Stops and starts the database, so many times or until told to stop: in order, or as a crash."""

    def __init__(self, database: Database, times: int, pause: float) -> None:
        super().__init__()
        self.cluster = database.cluster
        self.times = times
        self.pause = pause
        self.over = threading.Event()
        self.done = 0

    def run(self) -> None:
        assert self.cluster
        while self.done < self.times and not self.over.wait(self.pause):
            self.cluster.stop(signal.SIGINT if self.done % 2 else signal.SIGQUIT)
            time.sleep(0.2)
            self.cluster.start()
            self.done += 1
