"""Customer Memory: builds the application from its parts."""

import sys

from flask import Flask
from flask_wtf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from console import accounts, commands, conversations, database, ingestion, linking, operations, person, web
from console.config import ROOT, ConfigurationError, Settings, load
from console.web import guard, origins

MAX_FORM_BYTES = 1024 * 1024
"""Reading a larger form would cost much processor time, signed in or not."""
MAX_FORM_PARTS = 50
"""Fields and files of one form."""


def create_app(settings: Settings | None = None) -> Flask:
    """Build the WSGI application from `settings`, by default those of the environment.

    Ends the process with one line where a setting of the environment can't be used.
    """
    if settings is None:
        try:
            settings = load()
        except ConfigurationError as error:
            sys.exit(str(error))

    app = Flask("console", template_folder=str(ROOT / "templates"), static_folder=str(ROOT / "static"))
    app.config.update(
        CONSOLE=settings,
        SECRET_KEY=settings.secret_key,
        SECRET_KEY_FALLBACKS=settings.secret_key_fallbacks,
        # Flask-WTF knows no fallbacks; the serializer behind it takes a list of keys and signs by the last.
        WTF_CSRF_SECRET_KEY=settings.secret_keys,
        # Browsers keep a cookie of this name to this host and to TLS; without TLS they refuse it.
        SESSION_COOKIE_NAME="__Host-session" if settings.behind_tls else "session",
        SESSION_COOKIE_SECURE=settings.behind_tls,
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,
        # Flask-WTF would refuse browsers that send no Referer over TLS; check_changes checks the sender.
        WTF_CSRF_SSL_STRICT=False,
        MAX_CONTENT_LENGTH=MAX_FORM_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_FORM_BYTES,
        MAX_FORM_PARTS=MAX_FORM_PARTS,
    )
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    web.init_app(app, settings)

    database.init_app(app, settings)
    commands.init_app(app)
    operations.init_app(app)
    accounts.init_app(app)
    ingestion.init_app(app)
    conversations.init_app(app, settings)
    linking.init_app(app)
    person.init_app(app)
    guard.init_app(app)
    origins.check_changes(app, settings)
    CSRFProtect(app).exempt(ingestion.webhooks)
    if proxies := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]  # Flask's own way to wrap an application
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies, x_port=proxies
        )
    return app
