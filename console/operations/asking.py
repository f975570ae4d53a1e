"""Questions for the databases, asked in threads of their own, so that a caller waits for a limited time."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from flask import Flask

_THREADS = 8


class Asking:
    """One process's questions. Everyone who asks the same at the same time shares one question."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(_THREADS, "asking")
        self._asked: dict[str, tuple[Future[Any], float]] = {}
        self._lock = threading.Lock()

    def ask(self, questions: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
        """Return the answers, by name, that came within `seconds` of asking; raise what a question raised.

        Who joins a question that waits already waits for the rest of its time only.
        """
        with self._lock:
            for name, question in questions.items():
                if name not in self._asked or self._asked[name][0].done():
                    self._asked[name] = (self._threads.submit(self._answer, question), time.monotonic())
            asked = {name: self._asked[name] for name in questions}
        for future, asked_at in asked.values():
            wait([future], max(0, asked_at + seconds - time.monotonic()))
        return {name: future.result() for name, (future, _) in asked.items() if future.done()}

    def _answer(self, question: Callable[[], Any]) -> Any:
        with self._app.app_context():
            return question()
