"""A headless Chromium on one page."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.certificates import Site
from tests.support.peers import program
from tests.support.processes import Process
from tests.support.waiting import wait_until


@contextlib.contextmanager
def browser_on(url: str, directory: Path, site: Site) -> Iterator[Process]:
    """Run a browser that trusts `site` and knows no host but localhost. Its files are in `directory`."""
    key = x509.load_pem_x509_certificate(site.cert.read_bytes()).public_key()
    pin = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    profile = directory / "profile"
    browser = Process(
        [
            program("chromium"),
            "--headless=new",
            # Its sandbox needs rights that a container has not.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={profile}",
            f"--ignore-certificate-errors-spki-list={base64.b64encode(pin).decode()}",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-breakpad",
            url,
        ],
        directory,
        name="chromium",
        environment={"HOME": str(directory), "XDG_CONFIG_HOME": str(directory), "XDG_CACHE_HOME": str(directory)},
    )
    with browser:
        yield browser
    # Its crash handlers are in sessions of their own, and end when they see that it has.
    wait_until("nothing of the browser is left", lambda: not _processes_of(profile))


def _processes_of(profile: Path) -> list[str]:
    """Return the commands that name the profile."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_text(errors="replace").replace("\0", " ")
            if str(profile) in command:
                found.append(command)
    return found
