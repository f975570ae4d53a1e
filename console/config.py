"""Settings, read from the environment once and checked before anything starts."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, unquote, urlsplit
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

ROOT = Path(__file__).resolve().parent.parent
"""The directory of the project."""
VERSION = "0.1.0"
"""The release, as /metrics names it."""

DEFAULT_PORTS = {"http": ":80", "https": ":443"}
"""What a browser leaves out at the end of a host, by scheme."""

_MIN_SECRET_KEY = 32
"""How many characters a secret key needs where the console is reached over TLS."""

_SWITCHES = dict.fromkeys(("true", "1", "on", "yes"), True) | dict.fromkeys(
    ("false", "0", "off", "no"), False
)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_DATABASE = "sqlite:///path/to/file.db or postgresql+psycopg://user:password@host/name"
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
_TEXT = "text in UTF-8"
T = TypeVar("T")


class ConfigurationError(Exception):
    """An invalid setting; the message names the variable and says what is accepted."""


# These parse a setting, and raise an error of any kind for an invalid text. `_setting` says what is accepted.


def _switch(raw: str) -> bool:
    return _SWITCHES[raw.lower()]


def _number(first: int, last: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        # int() alone would take "+1", "1_0" and other scripts' digits as well.
        if raw not in map(str, range(first, last + 1)):
            raise ValueError
        return int(raw)

    return parse


def _keys(raw: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in raw.split(","))
    if not all(keys):
        raise ValueError
    return keys


def _log_level(raw: str) -> str:
    if raw.lower() not in _LOG_LEVELS:
        raise ValueError
    return raw.lower()


def _origin(raw: str) -> str:
    """Parse scheme, host and port of the console's addresses, into the form that browsers write."""
    parts = _http(raw)
    if parts.path.strip("/"):
        raise ValueError
    host = parts.netloc.encode("idna").decode().lower()
    return f"{parts.scheme}://{host.removesuffix(DEFAULT_PORTS[parts.scheme])}"


def _issuer(raw: str) -> str:
    parts = _http(raw)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError
    return raw


def _http(raw: str) -> SplitResult:
    parts = _split(raw)
    beyond = parts.query or parts.fragment or parts.username or parts.password
    if beyond or parts.scheme not in ("http", "https") or not (parts.hostname and raw.isprintable()):
        raise ValueError
    return parts


def _throttle_url(raw: str) -> str:
    parts = _split(raw)
    number = parts.path.strip("/")
    is_redis = parts.scheme in ("redis", "rediss") and parts.hostname and (number or "0").isdecimal()
    if raw != "memory://" and not is_redis:
        raise ValueError
    return raw


def _split(raw: str) -> SplitResult:
    parts = urlsplit(raw)
    _ = parts.port  # raises ValueError for an invalid port
    return parts


def _setting(parse: Callable[[str], T], default: T, takes: str = _TEXT, *, secret: bool = False) -> T:
    """Declare a setting that `load` reads from the variable of its name."""
    declared: T = field(default=default, repr=not secret, metadata={"parse": parse, "takes": takes})
    return declared


@dataclass(frozen=True, slots=True, kw_only=True)
class Oidc:
    """The provider that signs people in, and how the console is known to it."""

    issuer: str = _setting(_issuer, "", "the provider's https:// address (http:// of this machine alone)")
    client_id: str = _setting(str, "")
    client_secret: str = _setting(str, "", secret=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. Secrets are left out of the repr."""

    database_url: URL
    read_database_url: URL
    ingest_database_url: URL
    secret_key: str = field(repr=False)
    secret_key_fallbacks: tuple[str, ...] = _setting(
        _keys, (), "earlier secret keys, separated by commas", secret=True
    )
    customer_badge: bool = _setting(_switch, False, "true or false")
    whatsapp_app_secret: str | None = _setting(str, None, secret=True)
    whatsapp_verify_token: str | None = _setting(str, None, secret=True)
    metrics_token: str | None = _setting(str, None, secret=True)
    time_zone: ZoneInfo = _setting(
        ZoneInfo, ZoneInfo("UTC"), "the IANA name of a time zone, such as Europe/Rome"
    )
    log_level: str = _setting(_log_level, "info", f"one of {', '.join(_LOG_LEVELS)}")
    public_url: str | None = _setting(_origin, None, "https://name or https://name:port, http:// without TLS")
    trusted_proxies: int = _setting(_number(0, 9), 0, "how many proxies stand before the console, 0 to 9")
    throttle_url: str = _setting(
        _throttle_url, "memory://", "memory:// or redis://host:port/number", secret=True
    )
    oidc: Oidc | None = None
    password_sign_in: bool = _setting(_switch, True, "true or false")
    pool_size: int = _setting(
        _number(1, 100), 5, "how many connections a process keeps of each kind, 1 to 100"
    )
    prepared_statements: bool = _setting(_switch, True, "true or false")

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

    def read(name: str, parse: Callable[[str], T], default: T, takes: str) -> T:
        raw = environ.get(f"CONSOLE_{name}", "").strip()
        try:
            return parse(raw.encode().decode()) if raw else default  # the environment may hold any bytes
        except (ArgumentError, LookupError, OSError, ValueError):
            raise ConfigurationError(f"CONSOLE_{name} takes {takes}") from None

    def read_all(kind: type[Settings | Oidc], prefix: str = "") -> dict[str, Any]:
        return {
            each.name: read(f"{prefix}{each.name.upper()}", default=each.default, **each.metadata)
            for each in fields(kind)
            if each.metadata
        }

    if not (secret_key := read("SECRET_KEY", str, "", _TEXT)):
        raise ConfigurationError(
            "CONSOLE_SECRET_KEY is not set: it takes a long random text that signs sessions"
        )
    if not environ.get("CONSOLE_DATABASE_URL", "unset").strip():
        raise ConfigurationError(f"CONSOLE_DATABASE_URL is empty: it takes {_DATABASE}")
    own_file = database_url(f"sqlite:///{ROOT / 'instance' / 'console.db'}")
    database = read("DATABASE_URL", database_url, own_file, _DATABASE)
    oidc = read_all(Oidc, "OIDC_")
    missing = [name for name, value in oidc.items() if not value]
    if missing and any(oidc.values()):
        raise ConfigurationError(
            f"CONSOLE_OIDC_{missing[0].upper()} is not set: it goes with the other two of CONSOLE_OIDC_"
        )
    settings = Settings(
        database_url=database,
        read_database_url=read_only(read("READ_DATABASE_URL", database_url, database, _DATABASE)),
        ingest_database_url=read("INGEST_DATABASE_URL", database_url, database, _DATABASE),
        secret_key=secret_key,
        oidc=None if missing else Oidc(**oidc),
        **read_all(Settings),
    )
    if not (settings.password_sign_in or settings.oidc):
        raise ConfigurationError("CONSOLE_PASSWORD_SIGN_IN takes false only where CONSOLE_OIDC_ISSUER is set")
    if settings.behind_tls and min(map(len, settings.secret_keys)) < _MIN_SECRET_KEY:
        name = "SECRET_KEY" if len(secret_key) < _MIN_SECRET_KEY else "SECRET_KEY_FALLBACKS"
        raise ConfigurationError(
            f"CONSOLE_{name} takes at least {_MIN_SECRET_KEY} characters where CONSOLE_PUBLIC_URL is https://"
        )
    return settings


def database_url(raw: str) -> URL:
    """Parse a database address; raises ValueError or ArgumentError for one of another kind.

    An SQLite file is opened with `mode=rw`: only the migrations may create a database file.
    """
    url = make_url(raw)
    if url.drivername == "postgresql+psycopg":
        return url
    path = sqlite_path(url)
    if path is None or url.database in ("", ":memory:"):
        raise ValueError
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
