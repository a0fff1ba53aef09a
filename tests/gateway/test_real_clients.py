"""curl, nghttp and h2load as clients, nghttpd as a backend."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.gate import Gate
from tests.support.house import House
from tests.support.ports import HeldPort, is_listening
from tests.support.processes import Process
from tests.support.waiting import wait_until

# Debian puts nghttpd where only root's path leads.
NGHTTPD = shutil.which("nghttpd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def curl(house: House, *options: str | Path) -> str:
    """Return the version, status and body curl got."""
    return run("curl", "-sS", "--cacert", house.authority.cert, "-w", "\n%{http_version} %{response_code}", *options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--http1.1"], "1.1 200"),
        (["--http2-prior-knowledge"], "2 200"),
        # RFC 9113 removed the upgrade: it is ignored.
        (["--http2"], "1.1 200"),
        (["--http1.1", "-d", "x=1"], "1.1 200"),
    ],
)
def test_curl_in_clear(house: House, options: list[str], expected: str) -> None:
    assert curl(house, *options, f"{house.gate.url}/hello") == f"hello\n\n{expected}"


@pytest.mark.parametrize(("option", "expected"), [("--http1.1", "1.1 200"), ("--http2", "2 200")])
def test_curl_over_tls(house: House, option: str, expected: str) -> None:
    assert curl(house, option, f"{house.gate.tls_url}/hello") == f"hello\n\n{expected}"


@pytest.mark.parametrize("path", ["/hello", "/stream/1000"])
def test_curl_as_an_http10_client(house: House, path: str) -> None:
    output = curl(house, "--http1.0", "-D", "-", "-o", "/dev/null", f"{house.gate.url}{path}")
    assert "200" in output
    assert "chunked" not in output.lower()


@pytest.mark.parametrize("option", ["--http1.1", "--http2-prior-knowledge"])
def test_curl_uploads_a_file(house: House, tmp_path: Path, option: str) -> None:
    path = tmp_path / "upload"
    path.write_bytes(os.urandom(3_000_000))
    assert '"bytes":3000000' in curl(house, option, "-T", path, f"{house.gate.url}/upload")


def test_curl_sees_early_hints(house: House) -> None:
    output = curl(house, "--http2-prior-knowledge", "-i", f"{house.gate.url}/earlyhints")
    assert output.count("HTTP/2 103") == 2


@pytest.mark.parametrize("prefix", ["", "/tls"])
def test_nghttp(house: House, prefix: str) -> None:
    for url in (house.gate.url, house.gate.tls_url):
        assert run("nghttp", f"{url}{prefix}/hello") == "hello\n"
        verbose = run("nghttp", "-nv", f"{url}{prefix}/trailers")
        assert "x-checksum: abc123" in verbose


@pytest.mark.parametrize("protocol", [["-m", "10"], ["--h1"]], ids=["h2c", "http1"])
def test_h2load(house: House, protocol: list[str]) -> None:
    output = run("h2load", "-n", "1000", "-c", "10", *protocol, f"{house.gate.url}/hello")
    assert re.search(r"1000 succeeded, 0 failed, 0 errored, 0 timeout", output), output
    assert "status codes: 1000 2xx" in output


def test_h2load_over_tls(house: House) -> None:
    output = run("h2load", "-n", "500", "-c", "5", "-m", "10", f"{house.gate.tls_url}/tls/hello")
    assert "500 succeeded, 0 failed" in output, output


def test_nghttpd_as_the_backend(tmp_path: Path) -> None:
    assert NGHTTPD is not None
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(b"x" * 200_000)
    port = HeldPort()
    number = port.number
    # nghttpd binds without SO_REUSEADDR beside a holder of the port.
    port.release()
    options = ["--no-tls", "--address=127.0.0.1", f"--htdocs={root}", "--trailer", "x-end: yes", "--echo-upload"]
    command: list[str | Path] = [NGHTTPD, *options, str(number)]
    with Process(command, tmp_path) as backend:
        wait_until("nghttpd listens", lambda: backend.exit_code is None and is_listening(("127.0.0.1", number)))
        with Gate(tmp_path, f"h2c://127.0.0.1:{number}") as gate, gate.http1() as http1, gate.http2() as http2:
            for client in (http1, http2):
                response = client.request("GET", "/file", [("te", "trailers")])
                assert (response.status, response.body) == (200, b"x" * 200_000)
                # It says the length too, and then HTTP/1.1 has no room for trailers.
                assert response.trailers == ([("x-end", "yes")] if client is http2 else [])
                assert client.request("POST", "/", body=b"y" * 100_000).body == b"y" * 100_000
                assert client.request("GET", "/missing").status == 404
