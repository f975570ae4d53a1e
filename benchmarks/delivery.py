"""What a first visit weighs, and what a start costs."""

import gzip
import os
import re
import statistics
import subprocess
import sys
from html import unescape
from pathlib import Path

from sqlalchemy.engine import URL

from benchmarks.contenders import Console
from benchmarks.report import Result
from console.config import ROOT

_KILOBYTES = 45
_START_SECONDS = 0.5
_START_TIMES = 2
_STARTS = 7

_ASSETS = re.compile(r'(?:href|src)="(/static/[^"]*\.(?:css|js)\?[^"]*)"')
_START = """
import time
from app import app
client = app.test_client()
assert client.get("/login").status_code == 200
print(time.process_time())
"""
_FRAMEWORKS = "import time, flask, sqlalchemy, psycopg; print(time.process_time())"


def first_visit(url: URL) -> Result:
    """Weigh the list, its style sheet and its scripts, as they come to a browser that takes gzip."""
    visitor = Console(url).visitor
    page = _body(visitor.request("GET", "/conversations", HTTP_ACCEPT_ENCODING="gzip"), visitor.headers)
    weights = {"HTML": page[0]}
    for address in dict.fromkeys(_ASSETS.findall(page[1].decode())):
        name = address.split("?")[0].rpartition("/")[2]
        answer = visitor.request("GET", unescape(address), HTTP_ACCEPT_ENCODING="gzip")
        weights[name] = _body(answer, visitor.headers)[0]
    return Result(
        "first visit: HTML, CSS and JS",
        sum(weights.values()) / 1024,
        " KB",
        at_most=_KILOBYTES,
        made_from=", ".join(f"{name} {weight:,} B" for name, weight in weights.items()),
    )


def start(database: Path) -> list[Result]:
    """Time `import app` to the first answer, and importing the frameworks alone, each in its own process."""
    environment = {
        **os.environ,
        "CONSOLE_DATABASE_URL": f"sqlite:///{database}",
        "CONSOLE_SECRET_KEY": "signs nothing",
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installation is compiled
    pairs = [(_start(_START, environment), _start(_FRAMEWORKS, environment)) for _ in range(_STARTS)]
    ours, frameworks = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    return [
        Result(
            "start: import app to the first answer",
            ours,
            " s CPU",
            at_most=_START_SECONDS,
            made_from=f"median of {_STARTS}, {min(pairs)[0]:.2f} to {max(pairs)[0]:.2f} s",
        ),
        Result(
            "start, times importing Flask, SQLAlchemy and psycopg alone",
            ours / frameworks,
            "×",
            at_most=_START_TIMES,
            made_from=f"{ours:.2f} s of CPU; alone {frameworks:.2f} s",
        ),
    ]


def _start(code: str, environment: dict[str, str]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(f"the console did not start: {done.stderr}")
    return float(done.stdout)


def _body(answer: tuple[int, bytes], headers: dict[str, str]) -> tuple[int, bytes]:
    """Return how much was sent, and what it says."""
    _, sent = answer
    return len(sent), gzip.decompress(sent) if headers.get("content-encoding") == "gzip" else sent
