"""TLS on a transport, against Python's own ssl over sockets: both directions, every end, what a peer may get wrong."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess

import gevent
import gevent.ssl
import pytest
from gevent import socket as gevent_socket

from h2gate.net.reactor import Reactor
from h2gate.net.tls import TlsLayer, describe_tls_error
from h2gate.net.transport import HIGH_WATER_BYTES, LINGER_SECONDS, MOST_PENDING_BYTES, Transport
from tests.net.support import Owner, pass_time, run_until, tcp_pair, turn
from tests.support.certificates import Authority, Site


def gevent_client(authority: Authority, *alpn: str, version: ssl.TLSVersion | None = None) -> gevent.ssl.SSLContext:
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.cert)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def gevent_server(site: Site, *alpn: str) -> gevent.ssl.SSLContext:
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(site.cert, site.key)
    context.set_alpn_protocols(list(alpn))
    return context


def serve(
    reactor: Reactor, authority: Authority, site: Site, *alpn: str
) -> tuple[Transport, Owner, gevent_socket.socket]:
    """A server's transport that waits for the peer's handshake."""
    ours, peer = tcp_pair()
    layer = TlsLayer(authority.server_context(site, *alpn), server_side=True)
    transport, owner = Transport(reactor, ours, layer), Owner()
    transport.start(owner)
    return transport, owner, peer


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    assert isinstance(request.param, ssl.TLSVersion)
    return request.param


def test_both_directions_carry_many_records(
    reactor: Reactor, authority: Authority, localhost: Site, version: ssl.TLSVersion
) -> None:
    transport, owner, peer = serve(reactor, authority, localhost, "h2", "http/1.1")
    client = gevent_client(authority, "h2", version=version).wrap_socket(peer, server_hostname="localhost")
    assert client.selected_alpn_protocol() == "h2"
    run_until(lambda: owner.secured)
    assert owner.secured == ["h2"]
    assert transport.tls_version == version.name.replace("_", ".")
    upload, download = b"u" * 700_000, b"d" * 8_000_000
    sender = gevent.spawn(client.sendall, upload)
    transport.write(download)
    assert transport.pending > 0
    got = b""
    while len(got) < len(download):
        got += client.recv(65_536)
    assert got == download
    run_until(lambda: len(owner.data) == len(upload))
    sender.join()
    assert (transport.bytes_in, transport.bytes_out) == (len(upload), len(download))
    run_until(lambda: transport.bytes_taken > len(download))
    transport.abort()
    client.close()


def test_an_owner_that_asks_for_room_never_piles_up_ciphertext(
    reactor: Reactor, authority: Authority, localhost: Site
) -> None:
    transport, owner, peer = serve(reactor, authority, localhost)
    client = gevent_client(authority).wrap_socket(peer, server_hostname="localhost")
    run_until(lambda: owner.secured)
    while transport.has_room:
        transport.write(b"x" * 65_536)
    assert transport.pending < 2 * HIGH_WATER_BYTES + 1000
    transport.abort()
    client.close()


def test_application_data_behind_the_handshake_is_delivered_in_the_same_turn(
    reactor: Reactor, authority: Authority, localhost: Site
) -> None:
    """A client that sends its last handshake message and its first request in one segment."""
    transport, owner, peer = serve(reactor, authority, localhost)
    layer = TlsLayer(authority.client_context(), server_side=False, server_name="localhost")
    while not layer.handshake():
        peer.sendall(layer.ciphertext())
        layer.feed(peer.recv(65_536))
    peer.sendall(layer.encrypt(b"GET"))
    run_until(lambda: owner.data)
    assert (owner.secured, owner.data) == ([None], b"GET")
    transport.abort()
    peer.close()


def test_data_that_came_with_the_handshakes_last_bytes_reaches_the_owner(
    reactor: Reactor, authority: Authority, localhost: Site
) -> None:
    """A server's first frames may come with its Finished: the socket is never readable for them again."""
    ours, peer = tcp_pair()
    client = TlsLayer(authority.client_context(), server_side=False, server_name="localhost")
    server = TlsLayer(authority.server_context(localhost), server_side=True)
    client.handshake()
    server.feed(client.ciphertext())
    server.handshake()
    client.feed(server.ciphertext())
    assert client.handshake()
    server.feed(client.ciphertext())
    assert server.handshake()
    client.feed(server.ciphertext() + server.encrypt(b"SETTINGS"))
    transport, owner = Transport(reactor, ours, client), Owner()
    transport.start(owner)
    assert owner.data == b""
    run_until(lambda: owner.data)
    assert owner.data == b"SETTINGS"
    transport.abort()
    peer.close()


def test_a_close_notify_is_the_end_and_is_answered(
    reactor: Reactor, authority: Authority, localhost: Site, version: ssl.TLSVersion
) -> None:
    transport, owner, peer = serve(reactor, authority, localhost)
    client = gevent_client(authority, version=version).wrap_socket(peer, server_hostname="localhost")
    client.sendall(b"last words")
    client.unwrap()  # returns only when our close_notify is there
    run_until(lambda: owner.ends)
    assert (owner.data, owner.ends) == (b"last words", [""])
    assert transport.is_closed
    client.close()
    peer.close()


def test_an_end_without_close_notify_is_an_end_too(reactor: Reactor, authority: Authority, localhost: Site) -> None:
    _, owner, peer = serve(reactor, authority, localhost)
    client = gevent_client(authority).wrap_socket(peer, server_hostname="localhost")
    client.sendall(b"last words")
    client.close()
    run_until(lambda: owner.ends)
    assert (owner.data, owner.ends) == (b"last words", [""])


def test_finish_sends_close_notify_so_that_the_end_is_no_truncation(
    reactor: Reactor, authority: Authority, localhost: Site
) -> None:
    transport, owner, peer = serve(reactor, authority, localhost)
    client = gevent_client(authority).wrap_socket(peer, server_hostname="localhost", suppress_ragged_eofs=False)
    run_until(lambda: owner.secured)
    transport.write(b"all of it")
    transport.finish()
    assert client.recv(100) == b"all of it"
    assert client.recv(100) == b""
    client.close()
    run_until(lambda: transport.is_closed)
    assert owner.ends == []


def test_a_close_notify_may_close_one_side_only(
    reactor: Reactor, authority: Authority, localhost: Site, version: ssl.TLSVersion
) -> None:
    transport, owner, peer = serve(reactor, authority, localhost)
    context = authority.client_context()
    context.minimum_version = context.maximum_version = version
    client = TlsLayer(context, server_side=False, server_name="localhost")
    while not client.handshake():
        peer.sendall(client.ciphertext())
        client.feed(peer.recv(65_536))
    peer.sendall(client.ciphertext())
    run_until(lambda: owner.secured)
    half_closed: list[bytes] = []
    transport.allow_half_close(lambda: half_closed.append(owner.data))
    peer.sendall(client.encrypt(b"last words") + client.close_notify())
    run_until(lambda: half_closed)
    transport.pause()
    transport.write(b"an answer")
    transport.finish()
    received, is_over = b"", False
    while not is_over:
        client.feed(peer.recv(65_536))
        plaintext, is_over = client.plaintext()
        received += plaintext
    assert (received, client.is_ended) == (b"an answer", True)
    assert not transport.is_closed
    peer.close()
    run_until(lambda: transport.is_closed)
    assert (half_closed, owner.ends) == ([b"last words"], [])


def test_an_end_without_close_notify_is_the_end_of_both_sides(
    reactor: Reactor, authority: Authority, localhost: Site
) -> None:
    """Whoever can send a FIN could else cut a message short (RFC 8446, 6.1)."""
    transport, owner, peer = serve(reactor, authority, localhost)
    client = gevent_client(authority).wrap_socket(peer, server_hostname="localhost")
    run_until(lambda: owner.secured)
    transport.allow_half_close(lambda: pytest.fail("no orderly end"))
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    run_until(lambda: owner.ends)
    assert (owner.data, owner.ends) == (b"last words", [""])
    client.close()


def test_abort_is_seen_as_a_truncation(reactor: Reactor, authority: Authority, localhost: Site) -> None:
    transport, owner, peer = serve(reactor, authority, localhost)
    client = gevent_client(authority).wrap_socket(peer, server_hostname="localhost", suppress_ragged_eofs=False)
    run_until(lambda: owner.secured)
    transport.abort()
    with pytest.raises(OSError, match=r"reset|EOF"):
        client.recv(100)
    client.close()


def test_a_finished_client_that_goes_on_sending_records_is_ignored(
    reactor: Reactor, authority: Authority, localhost: Site
) -> None:
    transport, owner, peer = serve(reactor, authority, localhost)
    client = gevent_client(authority).wrap_socket(peer, server_hostname="localhost")
    run_until(lambda: owner.secured)
    transport.finish()
    client.sendall(b"too late")
    turn()
    pass_time(reactor, LINGER_SECONDS + 1)
    assert transport.is_closed
    assert (owner.data, owner.ends) == (b"", [])
    client.close()


def test_a_peer_that_speaks_no_tls_gets_an_alert(reactor: Reactor, authority: Authority, localhost: Site) -> None:
    transport, owner, peer = serve(reactor, authority, localhost)
    peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    run_until(lambda: owner.ends)
    assert owner.ends == ["TLS: http request"]
    assert transport.is_closed
    assert owner.secured == []
    peer.close()


def test_a_failed_handshake_tells_the_peer_why_and_closes(
    reactor: Reactor, authority: Authority, localhost: Site
) -> None:
    ours, peer = tcp_pair()
    context = authority.server_context(localhost)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    transport, owner = Transport(reactor, ours, TlsLayer(context, server_side=True)), Owner()
    transport.start(owner)
    client = gevent_client(authority, version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        client.wrap_socket(peer, server_hostname="localhost")
    run_until(lambda: owner.ends)
    assert owner.ends == ["TLS: unsupported protocol"]
    peer.close()


def test_a_peer_that_leaves_during_the_handshake_is_an_end(
    reactor: Reactor, authority: Authority, localhost: Site
) -> None:
    _, owner, peer = serve(reactor, authority, localhost)
    peer.sendall(b"\x16\x03\x01\x02\x00")
    peer.shutdown(socket.SHUT_WR)
    run_until(lambda: owner.ends)
    assert owner.ends == ["TLS: closed in the middle"]
    peer.close()


def test_garbage_after_the_handshake_ends_the_connection(
    reactor: Reactor, authority: Authority, localhost: Site
) -> None:
    transport, owner, peer = serve(reactor, authority, localhost)
    layer = TlsLayer(authority.client_context(), server_side=False, server_name="localhost")
    while not layer.handshake():
        peer.sendall(layer.ciphertext())
        layer.feed(peer.recv(65_536))
    peer.sendall(layer.ciphertext())
    run_until(lambda: owner.secured)
    peer.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    run_until(lambda: owner.ends)
    assert owner.ends[0].startswith("TLS: ")
    assert transport.is_closed
    peer.close()


def test_a_key_update_is_followed(reactor: Reactor, authority: Authority, localhost: Site) -> None:
    """`K` typed into s_client updates both keys (RFC 8446, 4.6.3); what follows is under the new ones."""
    assert talk_to_s_client(reactor, authority, localhost, "-tls1_3", b"K\n", b"KEYUPDATE") == (b"after\n", [])


def test_a_peer_that_changes_its_keys_and_reads_no_answer_is_dropped(
    reactor: Reactor, authority: Authority, localhost: Site
) -> None:
    class Updated(TlsLayer):
        """To everything there is an answer, as to a key update that asks for one."""

        def feed(self, data: bytes) -> None:
            pass

        def plaintext(self) -> tuple[bytes, bool]:
            return b"", False

        def ciphertext(self) -> bytes:
            return bytes(65_536)

    ours, peer = tcp_pair()
    layer = Updated(authority.server_context(localhost), server_side=True)
    layer.is_established = True
    transport, owner = Transport(reactor, ours, layer), Owner()
    transport.start(owner)
    while not owner.ends:
        assert transport.pending <= MOST_PENDING_BYTES
        with contextlib.suppress(ConnectionError):
            peer.sendall(b"x")
        gevent.sleep(0)
    assert owner.ends == ["TLS: key updates whose answers are not read"]
    peer.close()


def test_a_client_cannot_renegotiate(reactor: Reactor, authority: Authority, localhost: Site) -> None:
    """`R` typed into s_client asks for it; the answer is an alert, and OpenSSL's client gives up."""
    data, ends = talk_to_s_client(reactor, authority, localhost, "-tls1_2", b"R\n", b"RENEGOTIATING")
    assert (data, len(ends)) == (b"", 1)


def talk_to_s_client(
    reactor: Reactor, authority: Authority, site: Site, option: str, command: bytes, echo: bytes
) -> tuple[bytes, list[str]]:
    """Let openssl's client connect, obey a command and send a line; return what came of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = subprocess.Popen(
            ["openssl", "s_client", option, "-connect", f"127.0.0.1:{port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        ours, _ = server.accept()
    ours.setblocking(False)
    owner = Owner()
    transport = Transport(reactor, ours, TlsLayer(authority.server_context(site), server_side=True))
    transport.start(owner)
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        run_until(lambda: owner.secured)
        client.stdin.write(command)
        client.stdin.flush()
        while echo not in client.stdout.readline():
            pass
        with contextlib.suppress(BrokenPipeError):
            client.stdin.write(b"after\n")
            client.stdin.flush()
        run_until(lambda: owner.data or owner.ends)
        transport.abort()
    finally:
        client.kill()
        client.wait()
        client.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            client.stdin.close()
    return owner.data, owner.ends


def test_errors_are_told_in_a_few_words(authority: Authority, localhost: Site) -> None:
    def fail(client_context: ssl.SSLContext, name: str) -> str:
        client = TlsLayer(client_context, server_side=False, server_name=name)
        server = TlsLayer(authority.server_context(localhost), server_side=True)
        client.handshake()
        server.feed(client.ciphertext())
        server.handshake()
        client.feed(server.ciphertext())
        with pytest.raises(ssl.SSLError) as raised:
            client.handshake()
        assert client.ciphertext(), "there is an alert to send"
        return describe_tls_error(raised.value)

    trusting = authority.client_context()
    assert fail(trusting, "example.com") == "hostname mismatch, certificate is not valid for 'example.com'"
    assert fail(trusting, "127.0.0.2") == "IP address mismatch, certificate is not valid for '127.0.0.2'"
    assert "unable to get local issuer certificate" in fail(ssl.create_default_context(), "localhost")
