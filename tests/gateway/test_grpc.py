"""gRPC through the gate, with grpcio on both sides: h2c to h2c, and TLS to TLS."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.grpc_backend import GrpcBackend, Stub, channel_to
from tests.support.ports import refusing_port

MIB = 1024 * 1024
# Of anything that is waited for: only a failing test reaches it.
PATIENCE = 20.0
CONCURRENT = 1000


@dataclass
class Line:
    """A gate with the server behind it."""

    gate: Gate
    backend: GrpcBackend
    authority: Authority

    def channel(self, kind: str) -> grpc.Channel:
        if kind == "h2c":
            return channel_to(f"127.0.0.1:{self.gate.port}")
        return channel_to(f"localhost:{self.gate.tls_port}", self.authority.cert)


def service(kind: str) -> str:
    """Return the service that goes to the backend in the same way as it comes from the client."""
    return "clear.Test" if kind == "h2c" else "secure.Test"


@contextlib.contextmanager
def line_in(directory: Path, authority: Authority, site: Site, **pool: Any) -> Iterator[Line]:
    with GrpcBackend(directory, site=site) as backend:
        backends = {
            "clear": {"endpoints": [backend.url], "pool": pool},
            "secure": {"endpoints": [backend.tls_url], "pool": pool, "tls": {"ca": str(authority.cert)}},
        }
        routes = [
            {"match": {"path": "/secure.Test/"}, "backend": "secure"},
            {"match": {"path": "/clear.Test/"}, "backend": "clear"},
        ]
        with Gate(directory, routes=routes, sites=[site], sections={"backends": backends}) as gate:
            yield Line(gate, backend, authority)


@pytest.fixture(scope="module")
def line(
    engine: str, tmp_path_factory: pytest.TempPathFactory, authority: Authority, localhost: Site
) -> Iterator[Line]:
    # A thousand streams at once have to fit: 12 connections of 100.
    with line_in(tmp_path_factory.mktemp("grpc"), authority, localhost, max_connections=12) as line:
        yield line


@pytest.fixture(params=["h2c", "h2"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def stub(line: Line, kind: str) -> Iterator[Stub]:
    with line.channel(kind) as channel:
        yield Stub(channel, service(kind))


class Messages:
    """The messages of a call, each given when the test wants it sent."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def send(self, message: bytes) -> None:
        self._queue.put(message)

    def end(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[bytes]:
        while (message := self._queue.get()) is not None:
            yield message


# The four shapes


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_unary(stub: Stub, size: int) -> None:
    assert stub.echo(b"x" * size, timeout=PATIENCE) == b"x" * size


def test_client_streaming(stub: Stub) -> None:
    messages = (b"x" * size for size in range(1000))
    assert json.loads(stub.total(messages, timeout=PATIENCE)) == [1000, sum(range(1000))]


def test_a_client_stream_without_a_message(stub: Stub) -> None:
    assert json.loads(stub.total(iter(()), timeout=PATIENCE)) == [0, 0]


def test_server_streaming(stub: Stub) -> None:
    assert list(stub.count(b"1000", timeout=PATIENCE)) == [str(number).encode() for number in range(1000)]


def test_a_server_stream_without_a_message_is_ok(stub: Stub) -> None:
    call = stub.count(b"0", timeout=PATIENCE)
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK


def test_each_message_of_both_directions_goes_out_at_once(stub: Stub) -> None:
    messages = Messages()
    call = stub.ping_pong(iter(messages), timeout=PATIENCE)
    for number in range(100):
        # The next ping needs this pong: whoever holds one back waits for ever.
        messages.send(b"ping %d" % number)
        assert next(call) == b"ping %d" % number
    messages.end()
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK


def test_the_first_message_comes_while_the_stream_is_open(stub: Stub) -> None:
    call = stub.trickle(b"", timeout=PATIENCE)
    assert next(call) == b"first"
    call.cancel()


def test_large_messages(stub: Stub) -> None:
    message = bytes(range(256)) * (3 * MIB // 256)
    assert stub.echo(message, timeout=PATIENCE) == message
    assert list(stub.ping_pong(iter([message] * 3), timeout=PATIENCE)) == [message] * 3


def test_compressed_messages(stub: Stub) -> None:
    message = b"x" * MIB
    assert stub.echo(message, compression=grpc.Compression.Gzip, timeout=PATIENCE) == message


# Metadata, statuses


def test_metadata_go_through_as_fields_and_as_trailers(stub: Stub) -> None:
    metadata = (("x-text", "some text"), ("x-twice", "1"), ("x-twice", "2"), ("x-octets-bin", bytes(range(256))))
    _, call = stub.echo.with_call(b"", metadata=metadata, timeout=PATIENCE)
    initial, trailing = (
        [(item.key, item.value) for item in found] for found in (call.initial_metadata(), call.trailing_metadata())
    )
    for name in ("x-text", "x-twice", "x-octets-bin"):
        expected = [pair for pair in metadata if pair[0] == name]
        assert [pair for pair in initial if pair[0] == name] == expected
        assert [pair for pair in trailing if pair[0] == name] == expected
    assert ("x-trailing", "yes") in trailing
    assert ("x-trailing", "yes") not in initial


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_an_error_comes_with_its_code_details_and_metadata(stub: Stub, code: grpc.StatusCode) -> None:
    details = "what failed: größer als 100 %\n"
    with pytest.raises(grpc.RpcError) as caught:
        stub.fail(details.encode(), metadata=(("x-code", code.name),), timeout=PATIENCE)
    error: Any = caught.value
    assert (error.code(), error.details()) == (code, details)
    trailing = {item.key: item.value for item in error.trailing_metadata()}
    assert (trailing["x-reason"], trailing["x-proof-bin"]) == ("as told", b"\0\xff")


def test_an_error_behind_messages_comes_behind_them(stub: Stub) -> None:
    call = stub.fail_late(b"3", timeout=PATIENCE)
    assert [next(call), next(call), next(call)] == [b"0", b"1", b"2"]
    with pytest.raises(grpc.RpcError):
        next(call)
    assert (call.code(), call.details()) == (grpc.StatusCode.DATA_LOSS, "after all")


def test_a_method_that_the_server_does_not_have_is_unimplemented(stub: Stub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.missing(b"", timeout=PATIENCE)
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


# Deadlines, cancellation


def test_the_server_learns_the_deadline(stub: Stub) -> None:
    # The client rounds up, to three digits at most: 10.1 s is among what it sends for 10 s.
    assert 9 < float(stub.remaining(b"", timeout=10)) <= 10.1


def test_without_a_deadline_the_server_has_none(stub: Stub) -> None:
    assert stub.remaining(b"") == b"None"


def test_a_deadline_that_passes_ends_the_call_on_both_sides(line: Line, stub: Stub, kind: str) -> None:
    call = f"deadline {kind} {line.gate.engine}"
    with pytest.raises(grpc.RpcError) as caught:
        stub.hang(b"", metadata=(("x-id", call),), timeout=0.3)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    line.backend.wait_for(call, "cancelled")


def test_a_call_cancelled_before_its_answer_is_cancelled_at_the_server(line: Line, stub: Stub, kind: str) -> None:
    call_id = f"cancel {kind} {line.gate.engine}"
    call = stub.hang.future(b"", metadata=(("x-id", call_id),))
    line.backend.wait_for(call_id, "waits")
    call.cancel()
    line.backend.wait_for(call_id, "cancelled")


def test_a_stream_cancelled_in_the_middle_is_cancelled_at_the_server(line: Line, stub: Stub, kind: str) -> None:
    call_id = f"cancel stream {kind} {line.gate.engine}"
    call = stub.trickle(b"", metadata=(("x-id", call_id),))
    assert next(call) == b"first"
    assert line.backend.events(call_id) in ([], ["waits"])
    call.cancel()
    line.backend.wait_for(call_id, "cancelled")


def test_a_client_that_goes_away_cancels_its_calls_at_the_server(line: Line, kind: str) -> None:
    call_id = f"gone {kind} {line.gate.engine}"
    with line.channel(kind) as channel:
        call = Stub(channel, service(kind)).trickle(b"", metadata=(("x-id", call_id),))
        assert next(call) == b"first"
    line.backend.wait_for(call_id, "cancelled")


# Many


def test_a_thousand_streams_run_at_once(line: Line, kind: str) -> None:
    with contextlib.ExitStack() as stack:
        # A listener allows 100 streams for each connection.
        stubs = [Stub(stack.enter_context(line.channel(kind)), service(kind)) for _ in range(CONCURRENT // 100)]
        request = str(CONCURRENT).encode()
        calls = [stub.gather(request, timeout=60) for stub in stubs for _ in range(100)]
        # None of them is answered before the last one is there.
        assert [next(call) for call in calls] == [b"all"] * CONCURRENT
        assert [list(call) for call in calls] == [[request]] * CONCURRENT


def test_many_calls_one_after_another(stub: Stub) -> None:
    for number in range(200):
        assert stub.echo(b"%d" % number, timeout=PATIENCE) == b"%d" % number


# A server that fails


def test_a_server_that_dies_in_the_middle_never_looks_ok(tmp_path: Path, authority: Authority, localhost: Site) -> None:
    for kind in ("h2c", "h2"):
        directory = tmp_path / kind
        directory.mkdir()
        with line_in(directory, authority, localhost) as line, line.channel(kind) as channel:
            stub = Stub(channel, service(kind))
            calls = [stub.trickle(b"", timeout=PATIENCE) for _ in range(10)]
            assert [next(call) for call in calls] == [b"first"] * 10
            unary = stub.hang.future(b"", metadata=(("x-id", "unary"),), timeout=PATIENCE)
            line.backend.wait_for("unary", "waits")
            line.backend.process.stop(signal.SIGKILL)
            for call in [*calls, unary]:
                with pytest.raises(grpc.RpcError):
                    call.result() if call is unary else next(call)
                assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL), call.details()


def test_a_backend_that_is_down_is_unavailable(tmp_path: Path) -> None:
    with (
        refusing_port() as port,
        Gate(tmp_path, f"h2c://127.0.0.1:{port}") as gate,
        channel_to(f"127.0.0.1:{gate.port}") as channel,
    ):
        stub = Stub(channel, "clear.Test")
        for call in (stub.echo.future(b"", timeout=PATIENCE), stub.trickle(b"", timeout=PATIENCE)):
            assert call.code() is grpc.StatusCode.UNAVAILABLE
            # In words of gRPC, not guessed by the client from a status of HTTP.
            assert "http2 header" not in call.details()
