"""A real nginx with the configuration that ships, on free ports and with a certificate of its own."""

import contextlib
import datetime
import ipaddress
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from console.config import ROOT
from tests.serving.server import SECONDS, free_port

UNPACKED = ROOT / "instance" / "nginx" / "usr" / "sbin" / "nginx"

# What Debian's own configuration says around ours, compression among it.
AROUND = """
{user}
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/start.log;
worker_processes 2;
events {{ worker_connections 512; }}
http {{
    gzip on;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {site}
}}
"""


@dataclass(frozen=True)
class Front:
    """A running nginx; it is known as localhost."""

    port: int
    plain_port: int
    directory: Path

    @property
    def url(self) -> str:
        """Return the console's address."""
        return f"https://localhost:{self.port}"

    @property
    def certificate(self) -> str:
        """Return the file to check its certificate with."""
        return str(self.directory / "fullchain.pem")

    def logs(self) -> str:
        """Return everything it has written."""
        names = ("start.log", "customer-memory.log", "customer-memory.error.log")
        return "".join(path.read_text() for name in names if (path := self.directory / name).exists())


def binary() -> str:
    """Return the nginx of this machine or the one unpacked for the tests; skip where there is neither."""
    found = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") or shutil.which("nginx")
    if not found and UNPACKED.exists():
        found = str(UNPACKED)
    return found or pytest.skip("there is no nginx: python3 scripts/bootstrap.py test")


def certify(directory: Path) -> None:
    """Make a key and a certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "privkey.pem").write_bytes(private)


def configure(directory: Path, console_port: int, front: Front, changes: Mapping[str, str]) -> Path:
    """Write the configuration that ships, with ports, a name, files and changes of the test's in it."""
    site = (ROOT / "deploy" / "nginx.conf").read_text()
    site = re.sub(r"\n *listen \[::\].*", "", site)
    for old, new in (
        ("listen 443", f"listen 127.0.0.1:{front.port}"),
        ("listen 80", f"listen 127.0.0.1:{front.plain_port}"),
        ("https://console.example.org", front.url),
        ("console.example.org", "localhost"),
        ("127.0.0.1:8000", f"127.0.0.1:{console_port}"),
        ("/etc/ssl/customer-memory/", f"{directory}/"),
        ("/var/log/nginx/", f"{directory}/"),
        *changes.items(),
    ):
        assert old in site, old
        site = site.replace(old, new)
    path = directory / "nginx.conf"
    path.write_text(AROUND.format(user="user root;", directory=directory, site=site))
    return path


@contextlib.contextmanager
def in_front_of(
    console_port: int, directory: Path, port: int, changes: Mapping[str, str] | None = None
) -> Iterator[Front]:
    """Run nginx on `port` before a console, with these parts of its configuration replaced."""
    front = Front(port, free_port(), directory)
    certify(directory)
    path = configure(directory, console_port, front, changes or {})
    with (directory / "start.log").open("ab") as output:
        process = subprocess.Popen(
            [binary(), "-p", str(directory), "-e", str(directory / "start.log"), "-c", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            assert process.poll() is None, front.logs()
            assert time.monotonic() < deadline, front.logs()
            with contextlib.suppress(requests.ConnectionError):
                plain = f"http://localhost:{front.plain_port}"
                requests.get(plain, timeout=SECONDS, allow_redirects=False)
                break
            time.sleep(0.05)
        yield front
    finally:
        process.terminate()
        process.wait(SECONDS)
