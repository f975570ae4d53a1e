"""Questions for the databases, asked in threads of their own: who wants the answers waits only so long."""

import threading
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
        self._asked: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()

    def ask(self, questions: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
        """Return the answers, by name, that came within `seconds`; raise what a question raised."""
        with self._lock:
            for name, question in questions.items():
                if name not in self._asked or self._asked[name].done():
                    self._asked[name] = self._threads.submit(self._answer, question)
            asked = {name: self._asked[name] for name in questions}
        wait(asked.values(), seconds)
        return {name: future.result() for name, future in asked.items() if future.done()}

    def _answer(self, question: Callable[[], Any]) -> Any:
        with self._app.app_context():
            return question()
