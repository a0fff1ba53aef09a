"""Bodies of every size stream through intact, and cost the worker no memory worth the name."""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import time
from contextlib import ExitStack
from itertools import count

import pytest

from tests.support import pattern
from tests.support.house import KINDS, House, Kind
from tests.support.http2_client import Http2Client
from tests.support.processes import forget_peak, peak_bytes, resident_bytes

KIB = 1024
MB = 1_000_000
SIZES = (0, 1, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 10 * MB)
LARGE = 1_000 * MB
# What 1 GB, and ten stalled readers together, may cost.
LARGE_GROWTH = 20 * MB
STALLED_GROWTH = 10 * MB
SHA256 = {size: pattern.sha256(size) for size in SIZES}

numbers = count()

pytestmark = pytest.mark.parametrize("kind", KINDS)
to_backend = pytest.mark.parametrize("prefix", ["", "/tls"], ids=["to_h2c", "to_h2"])


@to_backend
def test_downloads_arrive_whole(house: House, kind: Kind, prefix: str) -> None:
    with house.client(kind) as client:
        for size in SIZES:
            response = client.request("GET", f"{prefix}/bytes/{size}", keeps_body=False)
            assert response.is_complete, response
            assert (response.size, response.sha256) == (size, SHA256[size])
            assert response["content-length"] == str(size)


@to_backend
def test_downloads_of_unknown_length_arrive_whole(house: House, kind: Kind, prefix: str) -> None:
    with house.client(kind) as client:
        for size in SIZES:
            response = client.request("GET", f"{prefix}/stream/{size}", keeps_body=False)
            assert response.is_complete, response
            assert (response.size, response.sha256) == (size, SHA256[size])


@to_backend
def test_uploads_arrive_whole(house: House, kind: Kind, prefix: str) -> None:
    with house.client(kind) as client:
        for size in SIZES:
            response = client.request("POST", f"{prefix}/upload", body=pattern.body(size))
            received = response.json()
            assert (received["bytes"], received["sha256"]) == (size, SHA256[size])


@to_backend
def test_uploads_of_unknown_length_arrive_whole(house: House, kind: Kind, prefix: str) -> None:
    with house.client(kind) as client:
        for size in SIZES:
            if isinstance(client, Http2Client):
                stream = client.open("POST", f"{prefix}/upload", end_stream=False)
                for piece in pattern.pieces(size):
                    client.send_data(stream, piece)
                client.send_data(stream, b"", end_stream=True)
                response = client.response(stream)
            else:
                response = client.request("POST", f"{prefix}/upload", chunks=pattern.pieces(size))
            received = response.json()
            assert (received["bytes"], received["sha256"]) == (size, SHA256[size])
            assert "length" not in received


def test_stalled_readers_cost_little_and_delay_nobody(house: House, kind: Kind) -> None:
    worker = house.gate.worker
    with ExitStack() as stack, house.client("h2c") as other:
        for _ in range(50):
            other.request("GET", "/hello")
        forget_peak(worker)
        before = resident_bytes(worker)
        for _ in range(10):
            client = house.client(kind, receive_buffer=65_536)
            stack.callback(client.close)
            if isinstance(client, Http2Client):
                stream = client.open("GET", f"/bytes/{100 * MB}", stalls=True)
                client.head(stream)
            else:
                client.send_head("GET", f"/bytes/{100 * MB}")
                client.read_head()
        times = []
        for _ in range(200):
            began = time.monotonic()
            assert other.request("GET", "/hello").status == 200
            times.append(time.monotonic() - began)
        assert other.request("GET", f"/bytes/{10 * MB}", keeps_body=False).sha256 == SHA256[10 * MB]
        growth = peak_bytes(worker) - before
        assert growth < STALLED_GROWTH
        assert statistics.median(times) < 0.05
        assert max(times) < 0.5


@pytest.mark.large
@pytest.mark.timeout(600)
@to_backend
def test_a_large_download_arrives_whole_in_little_memory(house: House, kind: Kind, prefix: str) -> None:
    worker = _warm_worker(house)
    before = resident_bytes(worker)
    digest = hashlib.sha256()
    with subprocess.Popen([*_curl(house, kind, f"{prefix}/bytes/{LARGE}")], stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        while data := curl.stdout.read(MB):
            digest.update(data)
    assert curl.returncode == 0
    assert digest.hexdigest() == pattern.sha256(LARGE)
    assert peak_bytes(worker) - before < LARGE_GROWTH


@pytest.mark.large
@pytest.mark.timeout(600)
@to_backend
def test_a_large_upload_arrives_whole_in_little_memory(house: House, kind: Kind, prefix: str) -> None:
    worker = _warm_worker(house)
    before = resident_bytes(worker)
    command = [
        *_curl(house, kind, f"{prefix}/upload"),
        "--request",
        "POST",
        "--header",
        "Expect:",
        "--upload-file",
        "-",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as curl:
        assert curl.stdin is not None
        assert curl.stdout is not None
        for piece in pattern.pieces(LARGE):
            curl.stdin.write(piece)
        curl.stdin.close()
        received = json.loads(curl.stdout.read())
    assert (received["bytes"], received["sha256"]) == (LARGE, pattern.sha256(LARGE))
    assert peak_bytes(worker) - before < LARGE_GROWTH


def _warm_worker(house: House) -> int:
    """Let the worker meet everything once, and count its memory from there."""
    for kind in KINDS:
        with house.client(kind) as client:
            for prefix in ("", "/tls"):
                client.request("GET", f"{prefix}/bytes/{MB}", keeps_body=False)
                client.request("POST", f"{prefix}/upload", body=pattern.body(MB))
    worker = house.gate.worker
    forget_peak(worker)
    return worker


def _curl(house: House, kind: Kind, path: str) -> list[str]:
    common = ["curl", "--silent", "--show-error", "--no-buffer"]
    if kind == "h2":
        return [*common, "--http2", "--cacert", str(house.authority.cert), house.gate.tls_url + path]
    version = "--http1.1" if kind == "http1" else "--http2-prior-knowledge"
    return [*common, version, house.gate.url + path]
