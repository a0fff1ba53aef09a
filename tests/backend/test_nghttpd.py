"""A pool and a server that is not ours: nghttpd, in clear and with TLS."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from h2gate.backend.connection import BackendConnection
from h2gate.errors import Failure, Reason
from h2gate.protocol.events import RequestHead
from tests.backend.house import House, Request
from tests.net.support import run_until
from tests.support.certificates import Authority, Site
from tests.support.ports import HeldPort, is_listening
from tests.support.waiting import wait_until

BODY = hashlib.sha256(b"seed").digest() * 100_000


class Fetch(Request):
    def __init__(self, path: bytes) -> None:
        super().__init__()
        self.path = path

    def on_lease(self, connection: BackendConnection) -> None:
        self.stream = connection.open_stream(RequestHead(b"GET", b"http", b"localhost", self.path), True, self)


@pytest.fixture(params=["h2c", "h2"])
def nghttpd(
    request: pytest.FixtureRequest, tmp_path: Path, localhost: Site
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    program = shutil.which("nghttpd")
    assert program is not None, "nghttpd is missing: tests/install-peers.sh installs it"
    (tmp_path / "large").write_bytes(BODY)
    (tmp_path / "small").write_bytes(b"hello")
    port = HeldPort()
    options = (
        ["--no-tls", str(port.number)]
        if request.param == "h2c"
        else [str(port.number), str(localhost.key), str(localhost.cert)]
    )
    process = subprocess.Popen([program, "-a", "127.0.0.1", "-d", str(tmp_path), *options])
    try:
        wait_until("nghttpd listens", lambda: is_listening(("127.0.0.1", port.number)))
        yield f"{request.param}://127.0.0.1:{port.number}", process
    finally:
        process.kill()
        process.wait()
        port.release()


def test_many_requests_share_connections_and_each_gets_its_own_body(
    house: House, authority: Authority, nghttpd: tuple[str, subprocess.Popen[bytes]]
) -> None:
    url, process = nghttpd
    tls = authority.client_context("h2") if url.startswith("h2:") else None
    pool = house.pool(url, tls=tls, max_connections=2, queue_timeout=60.0)
    small = [Fetch(b"/small") for _ in range(300)]
    large = [Fetch(b"/large") for _ in range(2)]
    missing = Fetch(b"/nothing")
    for request in (*large, *small, missing):
        house.request(pool, request)
    run_until(lambda: all(request.is_over for request in (*large, *small, missing)), 30)
    assert all(request.data == b"hello" for request in small)
    assert all(request.data == BODY for request in large)
    assert missing.head is not None
    assert missing.head.status == 404
    assert 1 <= len(pool.connections) <= 2

    running = house.request(pool, Fetch(b"/large"))
    process.kill()
    process.wait()
    house.settled(running)
    assert running.failure is not None
    assert running.failure.reason is Reason.BACKEND_CLOSED
    run_until(lambda: not pool.connections)
    late = house.request(pool)
    house.settled(late)
    assert late.lease_failure == Failure(Reason.CONNECT_REFUSED)
