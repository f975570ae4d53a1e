"""Django admin on the console's tables: the inbox as its documentation builds a list.

The settings are those of `startproject`. Last message and state come from methods of the admin class, which
are called for each row. Users and sessions are Django's own, in a database of their own
beside the console's.
"""

import tempfile
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import django
from django.conf import settings
from sqlalchemy.engine import URL

from console.config import sqlite_path

ADMIN = "admin"
PASSWORD = "the peer's own password"  # noqa: S105 (opens nothing but a temporary database)

_APPS = ("admin", "auth", "contenttypes", "sessions", "messages")
_MIDDLEWARE = (
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
)
_CONTEXT = (
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
)


class Router:
    """Sends the console's tables to one of the console's databases."""

    database = ""

    def db_for_read(self, model: Any, **_hints: object) -> str:
        """Pick the database."""
        return self.database if model._meta.app_label == "inbox" else "default"

    def allow_migrate(self, db: str, *_model: object, **_hints: object) -> bool:
        """Make Django's own tables in Django's own database only."""
        return db == "default"


def application(databases: Mapping[str, URL], instructor_id: UUID) -> Any:
    """Return the WSGI application, showing one instructor's conversations to its one user.

    `use` says from which of the databases.
    """
    directory = tempfile.mkdtemp(prefix="console-bench-")
    settings.configure(
        INSTRUCTOR_ID=instructor_id,
        SECRET_KEY="signs the peer's sessions",  # noqa: S106 (as it says)
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF="benchmarks.peers.inbox.urls",
        INSTALLED_APPS=[*(f"django.contrib.{name}" for name in _APPS), "benchmarks.peers.inbox"],
        MIDDLEWARE=_MIDDLEWARE,
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": _CONTEXT},
            }
        ],
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{directory}/django.db"},
            **{name: _database(url) for name, url in databases.items()},
        },
        DATABASE_ROUTERS=["benchmarks.peers.admin_django.Router"],
        STATIC_URL="/static/",
    )
    django.setup()
    from django.contrib.auth.models import User  # models can't be imported before the settings are there
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application

    call_command("migrate", verbosity=0)
    User.objects.create_superuser(ADMIN, password=PASSWORD)
    return get_wsgi_application()


def use(name: str) -> None:
    """Read from this database from now on."""
    Router.database = name


def _database(url: URL) -> dict[str, Any]:
    if path := sqlite_path(url):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}
    where = {"NAME": url.database, "USER": url.username, "HOST": url.host, "PORT": url.port}
    return {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": None, **where}
