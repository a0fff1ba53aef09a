"""Dials: every kind of address, and every way in which they fail, told in words."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from h2gate.backend import dial as dial_module
from h2gate.backend.dial import DialFailed, dial
from h2gate.backend.pool import Pool
from h2gate.config.units import EndpointUrl
from h2gate.errors import Again, Failure, Reason
from h2gate.net.reactor import Reactor
from h2gate.net.transport import Transport
from tests.backend.fake_backend import FakeBackend
from tests.backend.house import House
from tests.net.support import Owner, run_until, turn
from tests.support.certificates import Authority, Site
from tests.support.ports import refusing_port


def fail(
    reactor: Reactor, url: str, tls: ssl.SSLContext | None = None, name: str | None = None, timeout: float = 5.0
) -> Failure:
    with pytest.raises(DialFailed) as raised:
        dial(reactor, EndpointUrl.parse(url), tls, name, timeout)
    return raised.value.failure


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[int]:
    """A port whose accept queue is full: a SYN is not answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            waiting.append(client)
        yield port
        for client in waiting:
            client.close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> list[str]:
    """Let every name stand for `addresses`; return the names that are asked for."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(dial_module.gevent_socket, "getaddrinfo", getaddrinfo)
    return asked


# Where to


@pytest.mark.parametrize("kind", ["ipv4", "ipv6", "unix", "name"])
def test_every_kind_of_address_is_reached(house: House, tmp_path: Path, kind: str) -> None:
    match kind:
        case "ipv6":
            fake = house.fake(family=socket.AF_INET6)
        case "unix":
            fake = house.fake(path=str(tmp_path / "backend.sock"))
        case _:
            fake = house.fake()
    url = fake.url.replace("127.0.0.1", "localhost") if kind == "name" else fake.url
    fake.answer = lambda connection, stream_id: connection.respond(stream_id, b"hello")
    request = house.request(house.pool(url))
    house.settled(request)
    assert request.data == b"hello"


def test_an_address_in_digits_is_not_looked_up(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolve_to(monkeypatch)
    with refusing_port() as port:
        for host in ("127.0.0.1", "[::1]"):
            fail(reactor, f"h2c://{host}:{port}")
    assert asked == []


def test_a_name_is_looked_up_for_each_connection(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_port() as port:
        asked = resolve_to(monkeypatch, ("127.0.0.1", port))
        for _ in range(2):
            fail(reactor, "h2c://moves.test:1")
    assert asked == ["moves.test"] * 2


def test_the_next_address_of_a_name_is_tried_when_one_refuses(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = house.fake()
    with refusing_port() as port:
        resolve_to(monkeypatch, ("127.0.0.1", port), ("127.0.0.1", fake.port))
        pool = house.pool("h2c://several.test:1")
        pool.preconnect()
        run_until(lambda: pool.connections)


def test_an_address_that_is_silent_leaves_time_for_the_next(
    house: House, full: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = house.fake()
    resolve_to(monkeypatch, ("127.0.0.1", full), ("127.0.0.1", fake.port))
    pool = house.pool("h2c://several.test:1", connect_timeout=0.3)
    pool.preconnect()
    run_until(lambda: pool.connections)


def test_a_resolver_works_in_a_forked_worker() -> None:
    """The master imports everything and makes no hub; plain os.fork then has nothing to repair in the child."""
    program = """
import os, sys
from h2gate.backend.dial import dial, DialFailed
from h2gate.config.units import EndpointUrl
from h2gate.net.deadlines import Deadlines
from h2gate.net.reactor import Reactor
pids = []
for _ in range(2):
    pid = os.fork()
    if not pid:
        import gevent
        try:
            dial(Reactor(gevent.get_hub().loop, Deadlines()), EndpointUrl.parse(sys.argv[1]), None, None, 10.0)
        except DialFailed as error:
            os._exit(1 if error.failure.word != "connect_refused" else 0)
        os._exit(2)
    pids.append(pid)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids))
"""
    with refusing_port() as port:
        done = subprocess.run(
            [sys.executable, "-c", program, f"h2c://localhost:{port}"], timeout=60, capture_output=True, check=False
        )
    assert done.returncode == 0, done.stderr


def test_a_connection_comes_from_the_source_address(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url, source_address="127.0.0.9")
    pool.preconnect()
    run_until(lambda: fake.connections)
    assert fake.only.transport._socket.getpeername()[0] == "127.0.0.9"


def test_of_a_names_addresses_only_those_of_the_source_addresss_family_are_tried(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = house.fake()

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", fake.port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", fake.port)),
        ]

    monkeypatch.setattr(dial_module.gevent_socket, "getaddrinfo", getaddrinfo)
    pool = house.pool("h2c://both.test:1", source_address="127.0.0.9")
    pool.preconnect()
    run_until(lambda: pool.connections)
    other = house.request(house.pool("h2c://both.test:1", source_address="::1"))
    house.settled(other)
    assert other.lease_failure == Failure(Reason.CONNECT_REFUSED)


@pytest.mark.parametrize(
    ("url", "source", "detail"),
    [
        ("h2c://127.0.0.1:9", "192.0.2.1", "source_address 192.0.2.1: Cannot assign requested address"),
        ("h2c://127.0.0.1:9", "::1", "no address of the endpoint can be reached from ::1"),
    ],
)
def test_a_source_address_that_cannot_be_is_a_failure_that_names_it(
    reactor: Reactor, url: str, source: str, detail: str
) -> None:
    with pytest.raises(DialFailed) as raised:
        dial(reactor, EndpointUrl.parse(url), None, None, 5.0, source_address=source)
    assert raised.value.failure == Failure(Reason.CONNECT_FAILED, detail)


def test_the_kernel_watches_a_connection_that_stands_idle(house: House) -> None:
    pool = house.pool(house.fake().url)
    pool.preconnect()
    run_until(lambda: pool.connections)
    sock = pool.connections[0].transport._socket
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == dial_module.KEEPALIVE_SECONDS


# What goes wrong before TLS


def test_a_refused_connection(reactor: Reactor) -> None:
    with refusing_port() as port:
        assert fail(reactor, f"h2c://127.0.0.1:{port}") == Failure(Reason.CONNECT_REFUSED)


def test_a_socket_file_that_is_not_there(reactor: Reactor, tmp_path: Path) -> None:
    failure = fail(reactor, f"h2c+unix:{tmp_path}/nobody.sock")
    assert failure == Failure(Reason.CONNECT_FAILED, "No such file or directory")


def test_a_unix_socket_whose_backlog_is_full_is_waited_for(reactor: Reactor, tmp_path: Path) -> None:
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(path)
        listener.listen(0)
        code = 0
        while not code:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            code = client.connect_ex(path)
        assert code == errno.EAGAIN
        url = EndpointUrl.parse(f"h2c+unix:{path}")
        with pytest.raises(DialFailed) as raised:
            dial(reactor, url, None, None, 0.1)
        assert raised.value.failure == Failure(Reason.CONNECT_TIMEOUT, "connecting")
        greenlet = gevent.spawn(dial, reactor, url, None, None, 10.0)
        turn(10)
        assert not greenlet.ready()
        listener.accept()[0].close()
        greenlet.get().abort()


def test_a_name_that_does_not_exist(reactor: Reactor) -> None:
    assert fail(reactor, "h2c://nobody.invalid:80").reason is Reason.DNS_FAILED


def test_a_name_that_cannot_be_one(reactor: Reactor) -> None:
    url = EndpointUrl(tls=False, host="a" * 70 + ".test", port=80)
    with pytest.raises(DialFailed, match="dns_failed: not a valid name"):
        dial(reactor, url, None, None, 5.0)


def test_a_resolver_that_hangs_is_a_timeout(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial_module.gevent_socket, "getaddrinfo", lambda *_, **__: gevent.sleep(60))
    failure = fail(reactor, "h2c://hangs.test:80", timeout=0.05)
    assert failure == Failure(Reason.CONNECT_TIMEOUT, "resolving the name")


def test_silence_is_a_timeout_and_is_never_tried_again(reactor: Reactor, full: int) -> None:
    failure = fail(reactor, f"h2c://127.0.0.1:{full}", timeout=0.05)
    assert failure == Failure(Reason.CONNECT_TIMEOUT, "connecting")
    assert failure.rule.again is Again.NEVER


def test_no_descriptor_left_is_a_failure_and_not_the_end_of_the_pool(house: House) -> None:
    fake = house.fake()
    pool = house.pool(fake.url)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = socket.socket()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used.fileno() + 1, hard))
    try:
        request = house.request(pool)
        house.settled(request)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        used.close()
    assert request.lease_failure == Failure(Reason.CONNECT_FAILED, "Too many open files")
    assert pool.dialing == 0
    pool.preconnect()
    run_until(lambda: pool.connections)


# TLS


def make_tls(house: House, authority: Authority, site: Site, *alpn: str) -> FakeBackend:
    return house.fake(tls=authority.server_context(site, *alpn))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_verified_backend_serves_by_name_and_by_address(
    house: House, authority: Authority, localhost: Site, host: str
) -> None:
    fake = make_tls(house, authority, localhost, "h2")
    fake.answer = lambda connection, stream_id: connection.respond(stream_id, b"hello")
    pool = house.pool(f"h2://{host}:{fake.port}", tls=authority.client_context("h2"), max_connections=1)
    requests = [house.request(pool) for _ in range(20)]
    house.settled(*requests)
    assert all(request.data == b"hello" for request in requests)
    assert fake.only.transport.tls_version == "TLSv1.3"


def test_the_name_of_the_config_is_sent_and_verified(house: House, authority: Authority, localhost: Site) -> None:
    names: list[str | None] = []
    context = authority.server_context(authority.site("app.internal"), "h2")
    context.sni_callback = lambda _, name, __: names.append(name)
    fake = house.fake(tls=context)
    pool = house.pool(f"h2://127.0.0.1:{fake.port}", tls=authority.client_context("h2"), server_name="app.internal")
    pool.preconnect()
    run_until(lambda: pool.connections)
    assert names == ["app.internal"]


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("elsewhere.test", "hostname mismatch, certificate is not valid for 'elsewhere.test'"),
        ("127.0.0.2", "IP address mismatch, certificate is not valid for '127.0.0.2'"),
    ],
)
def test_a_certificate_for_another_name_is_not_accepted(
    house: House, authority: Authority, localhost: Site, name: str, detail: str
) -> None:
    fake = make_tls(house, authority, localhost, "h2")
    failure = fail(house.reactor, fake.url, authority.client_context("h2"), name)
    assert failure == Failure(Reason.TLS_VERIFY, detail)
    run_until(lambda: fake.only.is_over)


def test_a_certificate_of_an_unknown_authority_is_not_accepted(
    house: House, authority: Authority, localhost: Site
) -> None:
    fake = make_tls(house, authority, localhost, "h2")
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2"])
    failure = fail(house.reactor, fake.url, context, "localhost")
    assert failure.reason is Reason.TLS_VERIFY
    assert "issuer certificate" in failure.detail


def test_the_backend_is_told_by_an_alert_why_we_leave(house: House, authority: Authority, localhost: Site) -> None:
    ends: list[str] = []
    fake = make_tls(house, authority, localhost, "h2")

    class Listening(Owner):
        def on_end(self, error: str) -> None:
            ends.append(error)

    fake.greet = lambda transport: transport.change_owner(Listening())
    fail(house.reactor, fake.url, ssl.create_default_context(), "localhost")
    run_until(lambda: ends)
    assert ends == ["TLS: tlsv1 alert unknown ca"]


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)], ids=["none", "http1"])
def test_a_backend_that_does_not_choose_h2_speaks_http1(
    house: House, authority: Authority, localhost: Site, alpn: tuple[str, ...]
) -> None:
    fake = make_tls(house, authority, localhost, *alpn)
    failure = fail(house.reactor, fake.url, authority.client_context("h2"), "localhost")
    assert failure == Failure(Reason.ALPN_HTTP1, "the backend chose no protocol, not h2")


def test_a_backend_that_refuses_h2_by_an_alert_speaks_http1(
    house: House, authority: Authority, localhost: Site
) -> None:
    """OpenSSL's own server answers so, RFC 7301, 3.2."""
    with refusing_port() as port:
        pass
    server = subprocess.Popen(
        [
            *("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", localhost.cert, "-key", localhost.key),
            *("-alpn", "http/1.1", "-www"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert server.stdout is not None
    try:
        while b"ACCEPT" not in server.stdout.readline():
            pass
        failure = fail(house.reactor, f"h2://localhost:{port}", authority.client_context("h2"), "localhost")
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    assert failure == Failure(Reason.ALPN_HTTP1, "the backend refused h2")


def test_a_backend_that_speaks_clear_text_on_a_tls_port(house: House, authority: Authority) -> None:
    fake = house.fake()
    failure = fail(house.reactor, fake.url.replace("h2c", "h2"), authority.client_context("h2"), "localhost")
    assert failure == Failure(Reason.TLS_FAILED, "the backend speaks in clear")


@pytest.mark.parametrize("leave", [Transport.finish, Transport.abort])
def test_a_backend_that_leaves_during_the_handshake(house: House, authority: Authority, leave) -> None:  # type: ignore[no-untyped-def]
    fake = house.fake()
    fake.greet = leave
    failure = fail(house.reactor, fake.url.replace("h2c", "h2"), authority.client_context("h2"), "localhost")
    # A reset may be faster than our first look at the connection.
    assert failure.reason in (Reason.TLS_FAILED, Reason.CONNECT_FAILED)
    assert failure.detail in ("closed in the middle", "Connection reset by peer")


def test_a_backend_that_is_silent_in_the_handshake(reactor: Reactor, authority: Authority, silent: int) -> None:
    failure = fail(reactor, f"h2://127.0.0.1:{silent}", authority.client_context("h2"), "localhost", timeout=0.05)
    assert failure == Failure(Reason.CONNECT_TIMEOUT, "TLS handshake")


def test_a_dial_that_is_killed_leaves_nothing(reactor: Reactor, authority: Authority, silent: int) -> None:
    url = EndpointUrl.parse(f"h2://127.0.0.1:{silent}")
    greenlet = gevent.spawn(dial, reactor, url, authority.client_context("h2"), "localhost", 60.0)
    with socket.create_connection(("127.0.0.1", silent)):
        gevent.sleep(0.01)
    greenlet.kill()
    assert isinstance(greenlet.value, gevent.GreenletExit)


# Sessions


def test_a_later_connection_goes_on_with_the_session_of_an_earlier_one(
    house: House, authority: Authority, localhost: Site
) -> None:
    fake = make_tls(house, authority, localhost, "h2")
    pool = house.pool(fake.url, tls=authority.client_context("h2"))
    for resumed in (False, True, True):
        pool.preconnect()
        run_until(lambda: pool.connections and pool.connections[0].has_settings)
        tls = pool.connections[0].transport.tls
        assert tls is not None
        assert tls.is_resumed is resumed
        pool.connections[0].retire()


def test_a_session_of_a_connection_that_failed_is_not_offered_again(
    house: House, authority: Authority, localhost: Site
) -> None:
    fake = make_tls(house, authority, localhost, "h2")
    pool = house.pool(fake.url, tls=authority.client_context("h2"))
    pool.preconnect()
    run_until(lambda: pool.connections and pool.connections[0].has_settings)
    pool.connections[0].retire()
    fake.is_deaf = True
    pool.preconnect()
    run_until(lambda: len(fake.connections) == 2)
    run_until(lambda: pool.connections)
    fake.connections[1].abort()
    run_until(lambda: not pool.connections)
    fake.is_deaf = False
    pool.preconnect()
    run_until(lambda: pool.connections and pool.connections[0].has_settings)
    tls = pool.connections[0].transport.tls
    assert tls is not None
    assert not tls.is_resumed


def test_a_session_that_a_dial_failed_with_is_not_offered_again(
    house: House, authority: Authority, localhost: Site
) -> None:
    fake = make_tls(house, authority, localhost, "h2")
    pool = house.pool(fake.url, tls=authority.client_context("h2"))
    assert resumes(pool) is False
    fake.tls = authority.server_context(localhost, "http/1.1")
    house.settled(house.request(pool))
    fake.tls = authority.server_context(localhost, "h2")
    assert pool._session is None
    assert resumes(pool) is False


def test_sessions_go_on_for_an_hour_and_then_the_certificate_is_looked_at_again(
    house: House, authority: Authority, localhost: Site
) -> None:
    fake = make_tls(house, authority, localhost, "h2")
    pool = house.pool(fake.url, tls=authority.client_context("h2"))
    assert resumes(pool) is False
    house.later(1800)
    assert resumes(pool) is True
    house.later(1801)
    assert resumes(pool) is True, "the next one is of more than an hour ago"
    assert resumes(pool) is False
    assert resumes(pool) is True


def resumes(pool: Pool) -> bool:
    """Connect, retire the connection, and return whether it went on with a session."""
    pool.preconnect()
    run_until(lambda: pool.connections and pool.connections[0].has_settings)
    tls = pool.connections[0].transport.tls
    assert tls is not None
    pool.connections[0].retire()
    return tls.is_resumed
