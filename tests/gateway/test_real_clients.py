"""curl, nghttp, h2load and Node's http2 as clients."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import pattern
from tests.support.house import House
from tests.support.peers import SUPPORT

MIB = 1024 * 1024
# How curl speaks, and whether it does so over TLS.
CURLS = [
    pytest.param("--http1.1", False, id="http1"),
    pytest.param("--http2-prior-knowledge", False, id="h2c"),
    pytest.param("--http1.1", True, id="http1-tls"),
    pytest.param("--http2", True, id="h2"),
]


def run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def origin(house: House, tls: bool) -> str:
    return house.gate.tls_url if tls else house.gate.url


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


@pytest.mark.parametrize(("option", "tls"), CURLS)
def test_curl_asks_for_a_head(house: House, option: str, tls: bool) -> None:
    # HEAD has the length of the body that does not come: a client that waited for it would time out.
    output = curl(house, option, "-I", "--max-time", "10", f"{origin(house, tls)}/head")
    assert "content-length: 12345" in output.lower()
    assert output.endswith("200")


@pytest.mark.parametrize(("option", "tls"), CURLS)
def test_curl_posts_a_body_and_gets_it_back(house: House, tmp_path: Path, option: str, tls: bool) -> None:
    sent, received = tmp_path / "sent", tmp_path / "received"
    sent.write_bytes(pattern.body(3 * MIB))
    # curl would ask for a 100 that this path never gives, and wait for it.
    curl(house, option, "-H", "Expect:", "--data-binary", f"@{sent}", "-o", received, f"{origin(house, tls)}/echo")
    assert received.read_bytes() == sent.read_bytes()


@pytest.mark.parametrize(("option", "tls"), CURLS)
def test_curl_uploads_a_file(house: House, tmp_path: Path, option: str, tls: bool) -> None:
    path = tmp_path / "upload"
    path.write_bytes(pattern.body(3 * MIB))
    answer = curl(house, option, "-H", "Expect:", "-T", path, f"{origin(house, tls)}/upload")
    assert f'"sha256":"{pattern.sha256(3 * MIB)}"' in answer


@pytest.mark.parametrize("option", ["--http1.1", "--http2-prior-knowledge"])
def test_curl_uploads_from_a_pipe(house: House, option: str) -> None:
    # Without a length: chunked on HTTP/1.1.
    answer = run(
        "bash", "-c", f"head -c 1000000 /dev/zero | curl -sS {option} -H Expect: -T - --fail {house.gate.url}/upload"
    )
    assert '"bytes":1000000' in answer


@pytest.mark.parametrize(("path", "status"), [("continue", "200"), ("nocontinue", "200"), ("refusecontinue", "417")])
def test_curl_waits_for_100(house: House, tmp_path: Path, path: str, status: str) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(pattern.body(MIB))
    # Longer than the gate waits for a backend that says nothing: whoever sends the 100 is in time.
    options = ["--http1.1", "-H", "Expect: 100-continue", "--expect100-timeout", "20", "-D", "-"]
    output = curl(house, *options, "-T", upload, f"{house.gate.url}/{path}")
    assert output.endswith(f"1.1 {status}")
    assert output.count("HTTP/1.1 100") == (status == "200")
    if status == "200":
        assert pattern.sha256(MIB) in output


# curl 7.88 with --http2-prior-knowledge fails on its second use of a connection, with any server (curl/curl#10634).
@pytest.mark.parametrize(("option", "tls"), [curl for curl in CURLS if curl.id != "h2c"])
def test_curl_asks_many_times_over_one_connection(house: House, option: str, tls: bool) -> None:
    urls = [f"{origin(house, tls)}/bytes/{size}" for size in range(1000, 1020)]
    outputs = [part for url in urls for part in ("-o", "/dev/null", url)]
    # %{num_connects} is 1 for a transfer that had to connect, 0 for one that did not.
    written = run(
        *("curl", "-sS", "--cacert", house.authority.cert, option, "-w", "%{num_connects} %{size_download}\\n"),
        *outputs,
    )
    expected = [f"{int(index == 0)} {size}" for index, size in enumerate(range(1000, 1020))]
    assert written.splitlines() == expected


def test_curl_sees_early_hints(house: House) -> None:
    output = curl(house, "--http2-prior-knowledge", "-i", f"{house.gate.url}/earlyhints")
    assert output.count("HTTP/2 103") == 2


@pytest.mark.parametrize("prefix", ["", "/tls"])
def test_nghttp(house: House, prefix: str) -> None:
    for url in (house.gate.url, house.gate.tls_url):
        assert run("nghttp", f"{url}{prefix}/hello") == "hello\n"
        verbose = run("nghttp", "-nv", f"{url}{prefix}/trailers")
        assert "x-checksum: abc123" in verbose


def test_nghttp_asks_for_many_things_at_once(house: House) -> None:
    for url in (house.gate.url, house.gate.tls_url):
        uris = [f"{url}/bytes/{size}" for size in range(1000, 1050)]
        # -n throws the bodies away, -s tells of each request: its number, times, status, size, path.
        told = run("nghttp", "-ns", *uris)
        found = re.findall(r" 200 +(\S+) /bytes/(\d+)$", told, re.MULTILINE)
        assert sorted(int(size) for _, size in found) == list(range(1000, 1050)), told


def test_nghttp_uploads_with_trailers(house: House, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(pattern.body(MIB))
    for url in (house.gate.url, house.gate.tls_url):
        told = run("nghttp", "-d", upload, "--trailer", "x-sent: yes", "-H", "te: trailers", f"{url}/trailers")
        answer = json.loads(told)
        assert answer["bytes"] == MIB
        assert answer["trailers"]["x-sent"] == "yes"


@pytest.mark.parametrize("protocol", [["-m", "10"], ["--h1"]], ids=["h2c", "http1"])
def test_h2load(house: House, protocol: list[str]) -> None:
    output = run("h2load", "-n", "1000", "-c", "10", *protocol, f"{house.gate.url}/hello")
    assert re.search(r"1000 succeeded, 0 failed, 0 errored, 0 timeout", output), output
    assert "status codes: 1000 2xx" in output


def test_h2load_over_tls(house: House) -> None:
    output = run("h2load", "-n", "500", "-c", "5", "-m", "10", f"{house.gate.tls_url}/tls/hello")
    assert "500 succeeded, 0 failed" in output, output


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_h2load_uploads(house: House, tmp_path: Path, scheme: str) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(pattern.body(100_000))
    url = f"{origin(house, scheme == 'https')}/echo"
    output = run("h2load", "-n", "200", "-c", "4", "-m", "10", "-d", upload, url)
    assert "200 succeeded, 0 failed, 0 errored, 0 timeout" in output, output


def test_h2load_asks_by_http1_over_tls(house: House) -> None:
    output = run("h2load", "-n", "500", "-c", "5", "--h1", f"{house.gate.tls_url}/hello")
    assert "500 succeeded, 0 failed, 0 errored, 0 timeout" in output, output


@pytest.mark.parametrize("prefix", ["", "/tls"])
@pytest.mark.parametrize("tls", [False, True], ids=["h2c", "h2"])
def test_nodes_http2_client(house: House, tls: bool, prefix: str) -> None:
    options = {"url": origin(house, tls), "prefix": prefix, **({"ca": str(house.authority.cert)} if tls else {})}
    found = json.loads(run("node", SUPPORT / "node_client.js", json.dumps(options)))
    assert found["many"] == ["200 hello\n"] * 100
    assert (found["echo"]["status"], found["echo"]["sha256"]) == (200, found["echoed"])
    assert (found["head"]["status"], found["head"]["length"], found["head"]["size"]) == (200, "12345", 0)
    assert (found["hints"]["interim"], found["hints"]["text"]) == ([103, 103], "final\n")
    assert found["trailers"]["trailers"] == {"x-checksum": "abc123", "x-second": "two"}
    assert json.loads(found["trailers"]["text"])["trailers"]["x-sent"] == "yes"
    assert found["pinged"]
