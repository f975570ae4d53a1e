"""Settings: read once, checked at the start, one line when they can't be read."""

import os
import subprocess
import sys

import pytest

from console.config import ROOT, ConfigurationError, load, sqlite_path

SECRET = {"CONSOLE_SECRET_KEY": "x"}


def test_defaults_are_one_file_and_the_badge_off():
    settings = load(SECRET)
    assert sqlite_path(settings.database_url) == ROOT / "instance" / "console.db"
    assert settings.database_url == settings.ingest_database_url
    assert sqlite_path(settings.read_database_url) == sqlite_path(settings.database_url)
    assert settings.read_database_url.query["mode"] == "ro"
    assert settings.customer_badge is False
    assert settings.whatsapp_app_secret is None
    assert settings.metrics_token is None


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("CONSOLE_SECRET_KEY", "", "random text"),
        ("CONSOLE_CUSTOMER_BADGE", "maybe", "true or false"),
        ("CONSOLE_LOG_LEVEL", "loud", "debug, info"),
        ("CONSOLE_DATABASE_URL", "nonsense", "sqlite:///"),
        ("CONSOLE_DATABASE_URL", "sqlite://", "sqlite:///"),
        ("CONSOLE_DATABASE_URL", "mysql://somewhere/else", "postgresql+psycopg://"),
        ("CONSOLE_READ_DATABASE_URL", "postgresql+pg8000://h/d", "postgresql+psycopg://"),
    ],
)
def test_a_bad_value_names_the_variable_and_what_it_takes(name: str, value: str, takes: str):
    with pytest.raises(ConfigurationError) as caught:
        load({**SECRET, name: value})
    message = str(caught.value)
    assert name in message
    assert takes in message
    assert "\n" not in message


@pytest.mark.parametrize("value", ["true", "1", "on", "YES"])
def test_the_badge_switch_takes_the_usual_words(value: str):
    assert load({**SECRET, "CONSOLE_CUSTOMER_BADGE": value}).customer_badge is True


def test_secrets_stay_out_of_the_repr():
    assert "hush" not in repr(load({**SECRET, "CONSOLE_SECRET_KEY": "hush", "CONSOLE_METRICS_TOKEN": "hush"}))


def test_the_start_ends_in_one_line_without_a_traceback():
    environ = {**os.environ, "CONSOLE_SECRET_KEY": ""}
    done = subprocess.run(
        [sys.executable, "-c", "import app"], cwd=ROOT, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "CONSOLE_SECRET_KEY is not set: it takes a long random text that signs sessions"
    ]
