"""An ASGI application on Hypercorn, as a program: h2c with prior knowledge on one port, h2 over TLS on another.

argv[1] is JSON: {cert, key}. It prints one JSON line with the ports.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import hypercorn.asyncio
from hypercorn.config import Config

from tests.support.pattern import body

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ETAG = b'"v1"'


async def application(scope: Message, receive: Receive, send: Send) -> None:
    match scope["type"]:
        case "http":
            await respond(scope, receive, send)
        case "websocket":
            await converse(scope, receive, send)
        case "lifespan":
            await live(receive, send)


async def respond(scope: Message, receive: Receive, send: Send) -> None:
    fields = dict(scope["headers"])
    match scope["path"].split("/")[1:]:
        case ["small"] if fields.get(b"if-none-match") == ETAG:
            await answer(send, 304, b"", [(b"etag", ETAG)])
        case ["small"]:
            await answer(send, 200, b"small\n", [(b"etag", ETAG), (b"content-type", b"text/plain")])
        case ["bytes", size]:
            await answer(send, 200, body(int(size)))
        case ["echo"]:
            await start(send, 200, [])
            async for piece in parts(receive):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
        case _:
            await answer(send, 404, b"no such path\n")


async def start(send: Send, status: int, fields: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": fields})


async def answer(send: Send, status: int, content: bytes, fields: list[tuple[bytes, bytes]] | None = None) -> None:
    length = [] if status == 304 else [(b"content-length", b"%d" % len(content))]
    await start(send, status, [*length, *(fields or [])])
    await send({"type": "http.response.body", "body": content})


async def parts(receive: Receive) -> Any:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        yield message["body"]
        if not message["more_body"]:
            return


async def converse(scope: Message, receive: Receive, send: Send) -> None:
    """Echo what comes over a WebSocket; the text `close` ends it with the code 4000."""
    while True:
        message = await receive()
        match message["type"]:
            case "websocket.connect":
                offered = scope["subprotocols"]
                await send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
            case "websocket.receive" if message.get("text") == "close":
                # The answer to it comes only to an application that still listens.
                await send({"type": "websocket.close", "code": 4000, "reason": "as told"})
            case "websocket.receive":
                await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
            case "websocket.disconnect":
                return


async def live(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def main() -> None:
    options = json.loads(sys.argv[1])
    secure, clear = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    config = Config()
    config.bind = [f"fd://{secure.fileno()}"]
    config.insecure_bind = [f"fd://{clear.fileno()}"]
    config.certfile, config.keyfile = options["cert"], options["key"]
    config.loglevel = "WARNING"
    config.websocket_max_message_size = 16 * 1024 * 1024
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    ports = {"tls": secure.getsockname()[1], "clear": clear.getsockname()[1]}
    print(json.dumps(ports), flush=True)
    await hypercorn.asyncio.serve(application, config, shutdown_trigger=stop.wait)


if __name__ == "__main__":
    asyncio.run(main())
