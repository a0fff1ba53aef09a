"""The gRPC backend (`grpc_server.py`), and channels to it or to a gate before it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from tests.support.certificates import Site
from tests.support.processes import Process
from tests.support.waiting import wait_until

PROGRAM = Path(__file__).with_name("grpc_server.py")
MESSAGE_BYTES = 64 * 1024 * 1024


class GrpcBackend:
    """A running server: h2c on `port`, with a `site` also h2 on `tls_port`."""

    def __init__(self, directory: Path, *, site: Site | None = None) -> None:
        options = {} if site is None else {"cert": str(site.cert), "key": str(site.key)}
        self.process = Process([sys.executable, PROGRAM, json.dumps(options)], directory, name="grpc_server")
        try:
            ports = json.loads(wait_until("the gRPC server says its ports", self._lines, timeout=20)[0])
        except BaseException:
            self.process.stop()
            raise
        self.port: int = ports["clear"]
        self.tls_port: int | None = ports.get("tls")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.stop()
        if error is None:
            assert "Traceback" not in self.process.stderr, f"the gRPC server complained:\n{self.process.stderr}"

    @property
    def url(self) -> str:
        return f"h2c://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        assert self.tls_port is not None
        return f"h2://localhost:{self.tls_port}"

    def events(self, call: str) -> list[str]:
        """Return what happened to the call with metadata x-id `call`."""
        return [event["event"] for event in map(json.loads, self._lines()[1:]) if event["id"] == call]

    def wait_for(self, call: str, event: str) -> None:
        wait_until(f"call {call} {event} at the server", lambda: event in self.events(call), timeout=5)

    def _lines(self) -> list[str]:
        """Return the whole lines of its output."""
        return self.process.stdout.split("\n")[:-1]


class Stub:
    """The methods of a service behind a channel, with bytes as messages."""

    def __init__(self, channel: grpc.Channel, service: str) -> None:
        self.channel = channel
        path = f"/{service}/"
        self.echo = channel.unary_unary(path + "Echo")
        self.fail = channel.unary_unary(path + "Fail")
        self.remaining = channel.unary_unary(path + "Remaining")
        self.hang = channel.unary_unary(path + "Hang")
        self.missing = channel.unary_unary(path + "Missing")
        self.total = channel.stream_unary(path + "Total")
        self.count = channel.unary_stream(path + "Count")
        self.trickle = channel.unary_stream(path + "Trickle")
        self.fail_late = channel.unary_stream(path + "FailLate")
        self.gather = channel.unary_stream(path + "Gather")
        self.ping_pong = channel.stream_stream(path + "PingPong")


def channel_to(target: str, ca: Path | None = None) -> grpc.Channel:
    """Return a channel with a connection of its own; over TLS if there is a `ca`."""
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        # Channels to one target share a connection otherwise, for ever, one test with the next.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
    ]
    if ca is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(ca.read_bytes()), options)
