"""Settings: read once, checked at startup, and one line for an invalid value."""

import os
import re
import subprocess
import sys
from dataclasses import fields

import pytest

from console.config import ROOT, ConfigurationError, Oidc, Settings, load, sqlite_path

SECRET = {"CONSOLE_SECRET_KEY": "a key of 32 characters or more, so it is"}


@pytest.mark.shows("CM-2.4.5", "Review.T6.5")
def test_defaults_are_one_file_and_the_badge_off():
    settings = load(SECRET)
    assert sqlite_path(settings.database_url) == ROOT / "instance" / "console.db"
    assert settings.database_url == settings.ingest_database_url
    assert sqlite_path(settings.read_database_url) == sqlite_path(settings.database_url)
    assert settings.read_database_url.query["mode"] == "ro"
    assert settings.customer_badge is False
    assert settings.whatsapp_app_secret is None
    assert settings.metrics_token is None
    assert settings.time_zone.key == "UTC"


def test_a_time_zone_is_read_by_its_name():
    assert load({**SECRET, "CONSOLE_TIME_ZONE": "Europe/Rome"}).time_zone.key == "Europe/Rome"


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("CONSOLE_SECRET_KEY", "", "random text"),
        ("CONSOLE_SECRET_KEY", "\udcff", "text in UTF-8"),
        ("CONSOLE_SECRET_KEY_FALLBACKS", "one,,two", "separated by commas"),
        ("CONSOLE_CUSTOMER_BADGE", "maybe", "true or false"),
        ("CONSOLE_LOG_LEVEL", "loud", "debug, info"),
        ("CONSOLE_DATABASE_URL", "nonsense", "sqlite:///"),
        ("CONSOLE_DATABASE_URL", "sqlite://", "sqlite:///"),
        ("CONSOLE_DATABASE_URL", "mysql://somewhere/else", "postgresql+psycopg://"),
        ("CONSOLE_DATABASE_URL", "postgresql+psycopg://h:port/d", "postgresql+psycopg://"),
        ("CONSOLE_DATABASE_URL", "postgresql+psycopg://h/\udcff", "postgresql+psycopg://"),
        ("CONSOLE_METRICS_TOKEN", "\udcff", "text in UTF-8"),
        ("CONSOLE_READ_DATABASE_URL", "postgresql+pg8000://h/d", "postgresql+psycopg://"),
        ("CONSOLE_TIME_ZONE", "CEST", "Europe/Rome"),
        ("CONSOLE_TIME_ZONE", "Europe", "Europe/Rome"),
        ("CONSOLE_TIME_ZONE", "/etc/localtime", "Europe/Rome"),
        ("CONSOLE_TIME_ZONE", "../Rome", "Europe/Rome"),
        ("CONSOLE_TIME_ZONE", "é\0", "Europe/Rome"),
        ("CONSOLE_PUBLIC_URL", "console.example.org", "https://"),
        ("CONSOLE_PUBLIC_URL", "https://console.example.org/path", "https://"),
        ("CONSOLE_PUBLIC_URL", "https://console.example.org:port", "https://"),
        ("CONSOLE_PUBLIC_URL", f"https://{'ü' * 70}.example", "https://"),
        ("CONSOLE_PUBLIC_URL", "https://[", "https://"),
        ("CONSOLE_TRUSTED_PROXIES", "all", "0 to 9"),
        ("CONSOLE_THROTTLE_URL", "memcached://here", "redis://"),
        ("CONSOLE_THROTTLE_URL", "redis://", "redis://host"),
        ("CONSOLE_THROTTLE_URL", "redis://here:port/0", "redis://host"),
        ("CONSOLE_THROTTLE_URL", "redis://here/counts", "redis://host"),
        ("CONSOLE_THROTTLE_URL", "redis://[", "redis://host"),
        ("CONSOLE_OIDC_ISSUER", "id.example.org", "https://"),
        ("CONSOLE_OIDC_ISSUER", "http://id.example.org", "https://"),
        ("CONSOLE_PASSWORD_SIGN_IN", "false", "CONSOLE_OIDC_ISSUER"),
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


OIDC = {
    "CONSOLE_OIDC_ISSUER": "https://id.example.org/realm",
    "CONSOLE_OIDC_CLIENT_ID": "console",
    "CONSOLE_OIDC_CLIENT_SECRET": "hush",
}


@pytest.mark.parametrize("missing", OIDC)
def test_a_provider_takes_three_settings(missing: str):
    assert load({**SECRET, **OIDC}).oidc
    with pytest.raises(ConfigurationError, match=missing):
        load({**SECRET, **OIDC, missing: ""})


def test_passwords_can_be_turned_off_where_a_provider_signs_people_in():
    assert load({**SECRET, **OIDC, "CONSOLE_PASSWORD_SIGN_IN": "false"}).password_sign_in is False


def test_the_public_address_says_whether_there_is_tls():
    assert load({**SECRET, "CONSOLE_PUBLIC_URL": "https://console.example.org/"}).behind_tls
    assert not load({**SECRET, "CONSOLE_PUBLIC_URL": "http://console.example.org"}).behind_tls
    assert not load(SECRET).behind_tls


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://Console.Example.org/", "https://console.example.org"),
        ("https://console.example.org:443", "https://console.example.org"),
        ("http://console.example.org:80", "http://console.example.org"),
        ("https://console.example.org:8443", "https://console.example.org:8443"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_the_public_address_is_kept_as_browsers_write_it(given: str, kept: str):
    assert load({**SECRET, "CONSOLE_PUBLIC_URL": given}).public_url == kept


LONG = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("key", "fallbacks", "named"),
    [
        ("x", "", "CONSOLE_SECRET_KEY takes"),
        (LONG[1:], "", "CONSOLE_SECRET_KEY takes"),
        (LONG, "x", "CONSOLE_SECRET_KEY_FALLBACKS takes"),
        (LONG, f"{LONG}, {LONG[1:]}", "CONSOLE_SECRET_KEY_FALLBACKS takes"),
    ],
)
def test_behind_https_a_short_secret_key_is_refused(key: str, fallbacks: str, named: str):
    keys = {"CONSOLE_SECRET_KEY": key, "CONSOLE_SECRET_KEY_FALLBACKS": fallbacks}
    with pytest.raises(ConfigurationError, match=f"^{named} at least 32 characters"):
        load({**keys, "CONSOLE_PUBLIC_URL": "https://console.example.org"})
    assert load({**keys, "CONSOLE_PUBLIC_URL": "http://console.example.org"}).secret_key == key


def test_earlier_keys_are_accepted_and_the_new_one_signs():
    keys = {"CONSOLE_SECRET_KEY": "new", "CONSOLE_SECRET_KEY_FALLBACKS": " older , old "}
    assert load(keys).secret_keys == ["older", "old", "new"]
    assert load({"CONSOLE_SECRET_KEY": "new"}).secret_keys == ["new"]


def test_secrets_stay_out_of_the_repr():
    hushed = {
        "CONSOLE_SECRET_KEY": "hush",
        "CONSOLE_SECRET_KEY_FALLBACKS": "hush",
        "CONSOLE_METRICS_TOKEN": "hush",
    }
    assert "hush" not in repr(
        load({**SECRET, **OIDC, **hushed, "CONSOLE_THROTTLE_URL": "redis://:hush@host"})
    )


def test_the_start_ends_in_one_line_without_a_traceback():
    environ = {**os.environ, "CONSOLE_SECRET_KEY": ""}
    done = subprocess.run(
        [sys.executable, "-c", "import app"], cwd=ROOT, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "CONSOLE_SECRET_KEY is not set: it takes a long random text that signs sessions"
    ]


def test_an_empty_database_address_is_an_error():
    with pytest.raises(ConfigurationError, match=r"^CONSOLE_DATABASE_URL is empty: it takes sqlite:///"):
        load({"CONSOLE_SECRET_KEY": "k" * 40, "CONSOLE_DATABASE_URL": " "})


def test_the_readme_lists_every_setting_and_no_other():
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `CONSOLE_")]
    listed = {name for row in rows for name in re.findall(r"`CONSOLE_(\w+)`", row.split("|")[1])}
    settings = {field.name.upper() for field in fields(Settings)} - {"OIDC"}
    assert listed == settings | {f"OIDC_{field.name.upper()}" for field in fields(Oidc)}
