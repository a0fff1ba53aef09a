"""The client of the package websockets, by HTTP/1.1 Upgrade; Node and Hypercorn as its servers, by RFC 8441."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.certificates import Authority, Site
from tests.support.gate import Gate
from tests.support.peers import MIB, HypercornForWebSockets, Nghttpd, NodeSite, Peer
from tests.support.ports import refusing_port

PEERS: dict[str, type[Peer]] = {"node": NodeSite, "hypercorn": HypercornForWebSockets, "nghttpd": Nghttpd}
CLIENTS = 50


@dataclass
class Row:
    """A gate, and behind it `/NAME/` in clear and `/NAME-tls/` over TLS."""

    gate: Gate
    authority: Authority

    def websocket(self, path: str, *, tls: bool = False, **options: Any) -> connect:
        """Return what connects. (The blocking client uses a TLS socket in two threads: 1 of 800 hangs.)"""
        options |= {"proxy": None, "max_size": 16 * MIB}
        if "hypercorn" in path:
            # It never ends the stream: the client would wait for it.
            options["close_timeout"] = 0.2
        if tls:
            options["ssl"] = self.authority.client_context("http/1.1")
            return connect(f"wss://localhost:{self.gate.tls_port}{path}", **options)
        return connect(f"ws://127.0.0.1:{self.gate.port}{path}", **options)


def run(what: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(what, 60))


@pytest.fixture(scope="module")
def row(engine: str, tmp_path_factory: pytest.TempPathFactory, authority: Authority, localhost: Site) -> Iterator[Row]:
    directory: Path = tmp_path_factory.mktemp("row")
    with contextlib.ExitStack() as stack:
        backends: dict[str, dict[str, Any]] = {
            "down": {"endpoints": [f"h2c://127.0.0.1:{stack.enter_context(refusing_port())}"]}
        }
        for name, kind in PEERS.items():
            peer = kind()
            stack.enter_context(peer.running(directory, localhost))
            pool = {"max_streams": 1} if kind is HypercornForWebSockets else {}
            backends[name] = {"endpoints": [peer.url], "pool": pool}
            backends[f"{name}-tls"] = {"endpoints": [peer.tls_url], "pool": pool, "tls": {"ca": str(authority.cert)}}
        routes = [{"match": {"path": f"/{name}/"}, "backend": name} for name in backends]
        with Gate(directory, routes=routes, sites=[localhost], sections={"backends": backends}) as gate:
            yield Row(gate, authority)


@pytest.fixture(params=["node", "node-tls", "hypercorn", "hypercorn-tls"])
def path(request: pytest.FixtureRequest) -> str:
    return f"/{request.param}/"


@pytest.fixture(params=["node", "node-tls"])
def node(request: pytest.FixtureRequest) -> str:
    return f"/{request.param}/"


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def tls(request: pytest.FixtureRequest) -> bool:
    found: bool = request.param
    return found


def test_messages_of_both_kinds_come_back(row: Row, path: str, tls: bool) -> None:
    async def talk() -> None:
        async with row.websocket(path, tls=tls) as websocket:
            for message in ("text", "größer", "", b"octets \0\xff", "x" * 100_000, b"y" * MIB):
                await websocket.send(message)
                assert await websocket.recv() == message

    run(talk())


def test_the_first_subprotocol_is_agreed_on(row: Row, path: str) -> None:
    async def talk() -> None:
        async with row.websocket(path, subprotocols=["chat", "other"]) as websocket:
            assert websocket.subprotocol == "chat"

    run(talk())


def test_a_ping_is_answered_by_the_backend(row: Row, path: str) -> None:
    async def talk() -> None:
        async with row.websocket(path) as websocket:
            await (await websocket.ping())

    run(talk())


def test_the_backend_closes(row: Row, path: str) -> None:
    async def talk() -> None:
        async with row.websocket(path) as websocket:
            await websocket.send("close")
            with pytest.raises(ConnectionClosed) as caught:
                await websocket.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "as told")

    run(talk())


def test_the_client_closes(row: Row, node: str) -> None:
    async def talk() -> None:
        async with row.websocket(node) as websocket:
            await websocket.send("last")
            assert await websocket.recv() == "last"
            await websocket.close(4001, "enough")
            # Its own close frame has come back: the end was clean.
            assert (websocket.close_code, websocket.close_reason) == (4001, "enough")
            assert websocket.protocol.close_rcvd is not None

    run(talk())


def test_many_share_the_connections_to_the_backend(row: Row, node: str) -> None:
    async def talk() -> None:
        async with contextlib.AsyncExitStack() as stack:
            found = [await stack.enter_async_context(row.websocket(node)) for _ in range(CLIENTS)]
            for number, websocket in enumerate(found):
                await websocket.send(f"I am {number}")
            answers = [await websocket.recv() for websocket in found]
        assert answers == [f"I am {number}" for number in range(CLIENTS)]

    run(talk())


@pytest.mark.parametrize(("path", "status"), [("/nghttpd/", 501), ("/down/", 502)])
def test_a_backend_without_extended_connect_is_501_and_one_that_is_down_502(row: Row, path: str, status: int) -> None:
    async def talk() -> None:
        with pytest.raises(InvalidStatus) as caught:
            async with row.websocket(path):
                raise AssertionError("connected")
        assert caught.value.response.status_code == status

    run(talk())
