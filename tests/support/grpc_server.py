"""A gRPC server on grpcio, as a program: h2c on one port, with a certificate also TLS on another.

argv[1] is JSON: {cert, key, port}. It prints one JSON line with the ports, then one for each thing that happened
({"event", "method", "id"}). A method is found by the last segment of its path: routes may choose by the service.
Messages are bytes; what a call is asked to do stands in its metadata, all of it text.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

# Above the 4 MB that gRPC takes by default.
OPTIONS = [("grpc.max_receive_message_length", 64 * 1024 * 1024), ("grpc.max_send_message_length", 64 * 1024 * 1024)]

Context = Any  # grpc.aio.ServicerContext, which has no types
gathered = 0
all_are_there: dict[int, asyncio.Event] = {}


def say(event: str, method: str, context: Context, **more: object) -> None:
    print(json.dumps({"event": event, "method": method, "id": asked(context).get("x-id", ""), **more}), flush=True)


def asked(context: Context) -> dict[str, Any]:
    return dict(context.invocation_metadata() or ())


async def forever(method: str, context: Context) -> None:
    """Wait until the call is cancelled, and say so."""
    say("waits", method, context)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        say("cancelled", method, context)
        raise


# The methods, by their shape


async def echo(request: bytes, context: Context) -> bytes:
    """Return the message, and the metadata `x-*` as initial and as trailing metadata."""
    metadata = [(name, value) for name, value in context.invocation_metadata() if name.startswith("x-")]
    await context.send_initial_metadata(metadata)
    context.set_trailing_metadata([("x-trailing", "yes"), *metadata])
    return request


async def fail(request: bytes, context: Context) -> bytes:
    """End with the status and the details that the metadata say."""
    facts = asked(context)
    code = next(code for code in grpc.StatusCode if code.name == facts["x-code"])
    await context.abort(code, request.decode(), trailing_metadata=(("x-reason", "as told"), ("x-proof-bin", b"\0\xff")))
    raise AssertionError("abort raises")


async def remaining(request: bytes, context: Context) -> bytes:
    """Return the seconds that are left of the client's deadline."""
    return str(context.time_remaining()).encode()


async def hang(request: bytes, context: Context) -> bytes:
    await forever("Hang", context)
    return b""


async def total(requests: AsyncIterator[bytes], context: Context) -> bytes:
    """Return how many messages and bytes came."""
    count = size = 0
    async for request in requests:
        count += 1
        size += len(request)
    return json.dumps([count, size]).encode()


async def count(request: bytes, context: Context) -> AsyncIterator[bytes]:
    """Send as many messages as the request says."""
    for number in range(int(request)):
        yield str(number).encode()


async def trickle(request: bytes, context: Context) -> AsyncIterator[bytes]:
    """Send one message, and then nothing any more."""
    yield b"first"
    await forever("Trickle", context)


async def fail_late(request: bytes, context: Context) -> AsyncIterator[bytes]:
    """Send messages, then end with an error."""
    for number in range(int(request)):
        yield str(number).encode()
    await context.abort(grpc.StatusCode.DATA_LOSS, "after all")


async def gather(request: bytes, context: Context) -> AsyncIterator[bytes]:
    """Send a message once as many calls are open as the request says; a second one follows."""
    global gathered
    gathered += 1
    there = all_are_there.setdefault(int(request), asyncio.Event())
    if gathered == int(request):
        gathered = 0
        there.set()
        del all_are_there[int(request)]
    await there.wait()
    yield b"all"
    yield request


async def ping_pong(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    """Answer each message by itself."""
    async for request in requests:
        yield request


METHODS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "Echo": (grpc.unary_unary_rpc_method_handler, echo),
    "Fail": (grpc.unary_unary_rpc_method_handler, fail),
    "Remaining": (grpc.unary_unary_rpc_method_handler, remaining),
    "Hang": (grpc.unary_unary_rpc_method_handler, hang),
    "Total": (grpc.stream_unary_rpc_method_handler, total),
    "Count": (grpc.unary_stream_rpc_method_handler, count),
    "Trickle": (grpc.unary_stream_rpc_method_handler, trickle),
    "FailLate": (grpc.unary_stream_rpc_method_handler, fail_late),
    "Gather": (grpc.unary_stream_rpc_method_handler, gather),
    "PingPong": (grpc.stream_stream_rpc_method_handler, ping_pong),
}


class ByLastSegment(grpc.GenericRpcHandler):
    def service(self, details: Any) -> Any:
        found = METHODS.get(details.method.rsplit("/", 1)[-1])
        if found is None:
            return None
        handler, method = found
        return handler(method)


async def main() -> None:
    options = json.loads(sys.argv[1])
    server = grpc.aio.server(options=[*OPTIONS, ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((ByLastSegment(),))
    ports = {"clear": server.add_insecure_port(f"127.0.0.1:{options.get('port', 0)}")}
    if "cert" in options:
        pair = (Path(options["key"]).read_bytes(), Path(options["cert"]).read_bytes())
        ports["tls"] = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    print(json.dumps(ports), flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
