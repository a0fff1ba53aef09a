import errno
import os
import socket
import stat
import struct

import pytest

from h2gate.config.model import Listener
from h2gate.config.units import ListenAddress
from h2gate.errors import ExitCode, StartError
from h2gate.master.sockets import Sockets, address_of, from_systemd
from tests.support.forked import in_child


def listener(address, **words):
    return Listener(address=ListenAddress.parse(str(address)), **words)


@pytest.fixture
def sockets():
    sockets = Sockets()
    yield sockets
    sockets.close()


@pytest.fixture
def busy():
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield f"127.0.0.1:{other.getsockname()[1]}"


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "unix:{}/front.sock"])
def test_a_listener_of_each_family_takes_connections(sockets, tmp_path, address):
    (sock,) = sockets.open([listener(address.format(tmp_path))])
    assert not sock.getblocking()
    assert not sock.get_inheritable()
    with socket.socket(sock.family) as client:
        client.connect(sock.getsockname())
        sock.accept()[0].close()


def test_v6_and_v4_of_the_same_port_are_two_listeners(sockets):
    (v6,) = sockets.open([listener("[::]:0")])
    port = v6.getsockname()[1]
    both = sockets.open([listener(f"0.0.0.0:{port}"), listener("[::]:0")])
    assert both[1] is v6
    assert sockets.addresses() == [f"[::]:{port}", f"0.0.0.0:{port}"]


def test_an_address_that_stays_keeps_its_socket_whatever_its_spelling(sockets):
    (first,) = sockets.open([listener("[::1]:0")])
    (second,) = sockets.open([listener("[0:0:0::1]:0", backlog=7)])
    assert second is first


def test_a_listener_has_the_backlog_of_its_config(sockets):
    (first,) = sockets.open([listener("127.0.0.1:0", backlog=7)])
    # struct tcp_info: of a listening socket tcpi_sacked is its backlog (net/ipv4/tcp.c).
    assert struct.unpack_from("@I", first.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 28) == (7,)


def test_what_is_no_longer_named_is_closed_and_its_file_removed(sockets, tmp_path):
    path = tmp_path / "front.sock"
    unix, tcp = sockets.open([listener(f"unix:{path}"), listener("127.0.0.1:0")])
    assert sockets.keep_only([listener("127.0.0.1:0")]) == [f"unix:{path}"]
    assert unix.fileno() == -1
    assert tcp.fileno() != -1
    assert not path.exists()


def test_a_file_that_another_process_has_made_since_is_left_alone(sockets, tmp_path):
    path = tmp_path / "front.sock"
    sockets.open([listener(f"unix:{path}")])
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        sockets.close()
        assert path.exists()


def test_a_failing_listener_leaves_the_held_ones_and_no_new_one(sockets, tmp_path, busy):
    (held,) = sockets.open([listener("127.0.0.1:0")])
    fresh = tmp_path / "front.sock"
    with pytest.raises(
        StartError,
        match=r"^" + busy + r" is in use by another process: stop it or change "
        r"listeners\[2\]\.address$",
    ) as failure:
        sockets.open([listener("127.0.0.1:0"), listener(f"unix:{fresh}"), listener(busy)])
    assert failure.value.exit_code == ExitCode.OS_ERROR
    assert held.fileno() != -1
    assert not fresh.exists()
    assert len(sockets.addresses()) == 1


def test_an_address_of_another_machine_is_told_in_words(sockets):
    with pytest.raises(StartError, match="cannot bind: this machine has no such address: change listeners"):
        sockets.open([listener("192.0.2.1:80")])


@pytest.mark.parametrize(
    ("number", "address", "words", "code"),
    [
        (errno.EACCES, "127.0.0.1:80", "ports below 1024 need root or CAP_NET_BIND_SERVICE", ExitCode.NO_PERMISSION),
        (errno.EACCES, "unix:/x.sock", "no permission to make the socket file", ExitCode.NO_PERMISSION),
        (errno.EAFNOSUPPORT, "[::1]:80", "this machine has no IPv6", ExitCode.OS_ERROR),
        (errno.EMFILE, "127.0.0.1:80", "Too many open files", ExitCode.OS_ERROR),
    ],
)
def test_each_refusal_says_what_to_do(sockets, monkeypatch, number, address, words, code):
    class Refusing(socket.socket):
        def bind(self, _):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(StartError, match=words) as failure:
        sockets.open([listener(address)])
    assert failure.value.exit_code == code


def test_a_directory_that_does_not_exist_is_told(sockets, tmp_path):
    with pytest.raises(StartError, match="its directory does not exist"):
        sockets.open([listener(f"unix:{tmp_path}/none/front.sock")])


def test_a_dead_socket_file_is_replaced_and_everybody_may_connect(sockets, tmp_path):
    path = tmp_path / "front.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    sockets.open([listener(f"unix:{path}")])
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("backlog", [0, 5])
def test_a_living_socket_file_is_left_alone_even_if_its_backlog_is_full(sockets, tmp_path, backlog):
    path = tmp_path / "front.sock"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(path))
        other.listen(backlog)
        client.connect(str(path))
        with pytest.raises(StartError, match=f"unix:{path} is in use by another process"):
            sockets.open([listener(f"unix:{path}")])
        assert path.exists()


def test_a_file_that_is_no_socket_is_never_removed(sockets, tmp_path):
    path = tmp_path / "front.sock"
    path.write_text("precious")
    with pytest.raises(StartError, match="exists and is no socket: remove it or change"):
        sockets.open([listener(f"unix:{path}")])
    assert path.read_text() == "precious"


def test_a_child_closes_what_is_not_its_own_and_touches_no_file(sockets, tmp_path):
    path = tmp_path / "front.sock"
    kept, other = sockets.open([listener("127.0.0.1:0"), listener(f"unix:{path}")])

    def child():
        sockets.close_others([kept])
        return kept.fileno() != -1 and other.fileno() == -1

    assert in_child(child) == 0
    assert path.exists()


def test_passed_sockets_are_used_for_the_address_they_have_and_their_file_stays(tmp_path):
    path = str(tmp_path / "front.sock")
    passed = socket.socket(socket.AF_UNIX)
    passed.bind(path)
    sockets = Sockets([passed])
    (sock,) = sockets.open([listener(f"unix:{path}")])
    assert sock is passed
    sockets.close()
    assert os.path.exists(path)


@pytest.mark.parametrize("pid", ["", "1", "x"])
def test_what_systemd_passed_to_another_process_is_not_ours(pid):
    environ = {"LISTEN_PID": pid, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http", "HOME": "/"}
    assert from_systemd(environ) == []
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize("count", ["", "-1", "two", "0"])
def test_a_count_that_is_none_passes_nothing(count):
    assert from_systemd({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}) == []


@pytest.mark.parametrize("make", [lambda: os.pipe()[0], lambda: socket.socket(type=socket.SOCK_DGRAM).detach()])
def test_a_passed_descriptor_that_is_no_stream_socket_is_told(make, monkeypatch):
    descriptor = make()
    monkeypatch.setattr("h2gate.master.sockets.LISTEN_FDS_START", descriptor)
    with pytest.raises(StartError, match=f"systemd passed descriptor {descriptor}, which is no"):
        from_systemd({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})


def test_a_passed_socket_is_taken_non_blocking_and_not_for_children(monkeypatch):
    made = socket.create_server(("127.0.0.1", 0))
    address = address_of(made)
    made.set_inheritable(True)
    monkeypatch.setattr("h2gate.master.sockets.LISTEN_FDS_START", made.detach())
    (sock,) = from_systemd({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
    with sock:
        assert address_of(sock) == address
        assert not sock.getblocking()
        assert not sock.get_inheritable()


def test_an_abstract_name_is_shown_with_an_at_sign():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(b"\0h2gate-test")
        assert address_of(sock) == "unix:@h2gate-test"
