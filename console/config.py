"""Settings, read from the environment once and checked before anything starts."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

ROOT = Path(__file__).resolve().parent.parent
"""The directory of the project."""
VERSION = "0.1.0"
"""The release, as /metrics names it."""

_TRUE, _FALSE = ("true", "1", "on", "yes"), ("false", "0", "off", "no")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
"""What a browser leaves out at the end of a host, by scheme."""

_MIN_SECRET_KEY = 32
"""How many characters a secret key needs where the console is reached over TLS."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TAKES_DATABASE = "takes sqlite:///path/to/file.db or postgresql+psycopg://user:password@host/name"
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
T = TypeVar("T")


class ConfigurationError(Exception):
    """An invalid setting; the message names the variable and says what is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oidc:
    """The provider that signs people in, and how the console is known to it."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)


def _switch(raw: str) -> bool:
    if raw.lower() not in _TRUE + _FALSE:
        raise ValueError("takes true or false")
    return raw.lower() in _TRUE


def _time_zone(raw: str) -> ZoneInfo:
    try:
        return ZoneInfo(raw)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("takes the IANA name of a time zone, such as Europe/Rome") from None


def _keys(raw: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in raw.split(","))
    if not all(keys):
        raise ValueError("takes earlier secret keys, separated by commas")
    return keys


def _log_level(raw: str) -> str:
    if raw.lower() not in _LOG_LEVELS:
        raise ValueError(f"takes one of {', '.join(_LOG_LEVELS)}")
    return raw.lower()


def _origin(raw: str) -> str:
    """Parse what comes before the path in every address of the console, into the form browsers write."""
    takes = "takes https://name or https://name:port, http:// without TLS"
    parts = _http(raw)
    if parts is None or parts.path.strip("/"):
        raise ValueError(takes)
    try:
        host = parts.netloc.encode("idna").decode().lower()
    except UnicodeError:
        raise ValueError(takes) from None
    return f"{parts.scheme}://{host.removesuffix(DEFAULT_PORTS[parts.scheme])}"


def _issuer(raw: str) -> str:
    parts = _http(raw)
    if parts is None or (parts.scheme == "http" and parts.hostname not in _LOOPBACK):
        raise ValueError("takes the provider's https:// address (http:// of this machine alone)")
    return raw


def _http(raw: str) -> SplitResult | None:
    parts = _split(raw)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or not raw.isprintable():
        return None
    return None if parts.query or parts.fragment or parts.username or parts.password else parts


def _split(raw: str) -> SplitResult | None:
    try:
        parts = urlsplit(raw)
        _ = parts.port  # raises for an invalid port
    except ValueError:
        return None
    return parts


def _number(first: int, last: int, what: str) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        if raw not in map(str, range(first, last + 1)):
            raise ValueError(f"takes {what}, {first} to {last}")
        return int(raw)

    return parse


def _throttle_url(raw: str) -> str:
    if raw == "memory://":
        return raw
    parts = _split(raw)
    if parts and parts.scheme in ("redis", "rediss") and parts.hostname:
        number = parts.path.strip("/")
        if not number or number.isdecimal():
            return raw
    raise ValueError("takes memory:// or redis://host:port/number")


def _setting(parse: Callable[[str], T], default: T, *, secret: bool = False) -> T:
    """Declare a setting that `load` reads from the variable of its name."""
    declared: T = field(default=default, repr=not secret, metadata={"parse": parse})
    return declared


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. Secrets are left out of the repr."""

    database_url: URL
    read_database_url: URL
    ingest_database_url: URL
    secret_key: str = field(repr=False)
    secret_key_fallbacks: tuple[str, ...] = _setting(_keys, (), secret=True)
    customer_badge: bool = _setting(_switch, False)
    whatsapp_app_secret: str | None = _setting(str, None, secret=True)
    whatsapp_verify_token: str | None = _setting(str, None, secret=True)
    metrics_token: str | None = _setting(str, None, secret=True)
    time_zone: ZoneInfo = _setting(_time_zone, ZoneInfo("UTC"))
    log_level: str = _setting(_log_level, "info")
    public_url: str | None = _setting(_origin, None)
    trusted_proxies: int = _setting(_number(0, 9, "how many proxies stand before the console"), 0)
    throttle_url: str = _setting(_throttle_url, "memory://", secret=True)
    oidc: Oidc | None = None
    password_sign_in: bool = _setting(_switch, True)
    pool_size: int = _setting(_number(1, 100, "how many connections a process keeps of each kind"), 5)
    prepared_statements: bool = _setting(_switch, True)

    @property
    def secret_keys(self) -> list[str]:
        """Return every key whose signatures are accepted; the last one signs."""
        return [*self.secret_key_fallbacks, self.secret_key]

    @property
    def behind_tls(self) -> bool:
        """Say whether people reach the console over TLS."""
        return self.public_url is not None and self.public_url.startswith("https://")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`: by default the environment, and `.env` for what that leaves out.

    Raises ConfigurationError for the first invalid value.
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
    if not environ.get("CONSOLE_DATABASE_URL", "unset").strip():
        raise ConfigurationError(f"CONSOLE_DATABASE_URL is empty: it {_TAKES_DATABASE}")
    database = read(
        "DATABASE_URL", database_url, database_url(f"sqlite:///{ROOT / 'instance' / 'console.db'}")
    )
    oidc = _oidc(
        read("OIDC_ISSUER", _issuer, ""), read("OIDC_CLIENT_ID", str, ""), read("OIDC_CLIENT_SECRET", str, "")
    )
    others: dict[str, Any] = {
        setting.name: read(setting.name.upper(), setting.metadata["parse"], setting.default)
        for setting in fields(Settings)
        if setting.metadata
    }
    settings = Settings(
        database_url=database,
        read_database_url=read_only(read("READ_DATABASE_URL", database_url, database)),
        ingest_database_url=read("INGEST_DATABASE_URL", database_url, database),
        secret_key=secret_key,
        oidc=oidc,
        **others,
    )
    if not settings.password_sign_in and oidc is None:
        raise ConfigurationError("CONSOLE_PASSWORD_SIGN_IN takes false only where CONSOLE_OIDC_ISSUER is set")
    if settings.behind_tls and min(map(len, settings.secret_keys)) < _MIN_SECRET_KEY:
        name = "SECRET_KEY" if len(secret_key) < _MIN_SECRET_KEY else "SECRET_KEY_FALLBACKS"
        raise ConfigurationError(
            f"CONSOLE_{name} takes at least {_MIN_SECRET_KEY} characters where CONSOLE_PUBLIC_URL is https://"
        )
    return settings


def database_url(raw: str) -> URL:
    """Parse a database address; ValueError says what it takes.

    An SQLite file is opened with `mode=rw`: only the migrations may bring a database file into being.
    """
    try:
        url = make_url(raw)
    except ArgumentError:
        raise ValueError(_TAKES_DATABASE) from None
    if url.drivername == "postgresql+psycopg":
        return url
    path = sqlite_path(url)
    if path is None or url.database in ("", ":memory:"):
        raise ValueError(_TAKES_DATABASE)
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


def _oidc(issuer: str, client_id: str, client_secret: str) -> Oidc | None:
    given = {"ISSUER": issuer, "CLIENT_ID": client_id, "CLIENT_SECRET": client_secret}
    if not any(given.values()):
        return None
    if missing := [name for name, value in given.items() if not value]:
        raise ConfigurationError(
            f"CONSOLE_OIDC_{missing[0]} is not set: it goes with the other two of CONSOLE_OIDC_"
        )
    return Oidc(issuer=issuer, client_id=client_id, client_secret=client_secret)
