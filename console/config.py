"""Settings, read from the environment once and checked before anything starts."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote

from dotenv import dotenv_values
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

ROOT = Path(__file__).resolve().parent.parent

_SWITCH = {
    "true": True,
    "1": True,
    "on": True,
    "yes": True,
    "false": False,
    "0": False,
    "off": False,
    "no": False,
}
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
T = TypeVar("T")


class ConfigurationError(Exception):
    """A setting that can't be used; the message names the variable and says what it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the console can be told from outside. Secrets stay out of its repr."""

    database_url: URL
    read_database_url: URL
    ingest_database_url: URL
    secret_key: str = field(repr=False)
    customer_badge: bool = False
    whatsapp_app_secret: str | None = field(default=None, repr=False)
    whatsapp_verify_token: str | None = field(default=None, repr=False)
    metrics_token: str | None = field(default=None, repr=False)
    log_level: str = "info"


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`, by default the process's with `.env` beneath it.

    Raises ConfigurationError for the first value that can't be read.
    """
    if environ is None:
        file = {name: value for name, value in dotenv_values(ROOT / ".env").items() if value is not None}
        environ = {**file, **os.environ}

    def read(name: str, parse: Callable[[str], T], default: T) -> T:
        raw = environ.get(f"CONSOLE_{name}", "").strip()
        if not raw:
            return default
        try:
            return parse(raw)
        except ValueError as error:
            raise ConfigurationError(f"CONSOLE_{name} {error}") from None

    secret_key = read("SECRET_KEY", str, "")
    if not secret_key:
        raise ConfigurationError(
            "CONSOLE_SECRET_KEY is not set: it takes a long random text that signs sessions"
        )
    database = read(
        "DATABASE_URL", database_url, database_url(f"sqlite:///{ROOT / 'instance' / 'console.db'}")
    )
    return Settings(
        database_url=database,
        read_database_url=read_only(read("READ_DATABASE_URL", database_url, database)),
        ingest_database_url=read("INGEST_DATABASE_URL", database_url, database),
        secret_key=secret_key,
        customer_badge=read("CUSTOMER_BADGE", _switch, False),
        whatsapp_app_secret=read("WHATSAPP_APP_SECRET", str, None),
        whatsapp_verify_token=read("WHATSAPP_VERIFY_TOKEN", str, None),
        metrics_token=read("METRICS_TOKEN", str, None),
        log_level=read("LOG_LEVEL", _log_level, "info"),
    )


def database_url(raw: str) -> URL:
    """Parse a database address; ValueError says what it takes.

    An SQLite file is opened with `mode=rw`: only the migrations may bring a database file into being.
    """
    takes = "takes sqlite:///path/to/file.db or postgresql+psycopg://user:password@host/name"
    try:
        url = make_url(raw)
    except ArgumentError:
        raise ValueError(takes) from None
    if url.drivername == "postgresql+psycopg":
        return url
    path = sqlite_path(url)
    if path is None or url.database in ("", ":memory:"):
        raise ValueError(takes)
    return _sqlite_url(path.absolute(), "rw")


def read_only(url: URL) -> URL:
    """Return `url` so that SQLite itself refuses to write through it (PostgreSQL's is set per connection)."""
    path = sqlite_path(url)
    return url if path is None else _sqlite_url(path, "ro")


def sqlite_path(url: URL) -> Path | None:
    """Return the file behind an SQLite address, None for another engine."""
    if url.drivername != "sqlite" or url.database is None:
        return None
    return Path(unquote(url.database.removeprefix("file:")))


def _sqlite_url(path: Path, mode: str) -> URL:
    return URL.create("sqlite", database=f"file:{quote(str(path))}", query={"mode": mode, "uri": "true"})


def _switch(raw: str) -> bool:
    try:
        return _SWITCH[raw.lower()]
    except KeyError:
        raise ValueError("takes true or false") from None


def _log_level(raw: str) -> str:
    if raw.lower() not in _LOG_LEVELS:
        raise ValueError(f"takes one of {', '.join(_LOG_LEVELS)}")
    return raw.lower()
