"""Endpoint URLs and listen addresses."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from h2gate.config.units import EndpointUrl, ListenAddress


def refusal(kind, text: str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is what the tests compare
        kind.parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "url", "authority"),
    [
        ("h2c://127.0.0.1:9000", EndpointUrl(False, "127.0.0.1", 9000), b"127.0.0.1:9000"),
        ("h2c://app", EndpointUrl(False, "app", 80), b"app"),
        ("h2c://app:443", EndpointUrl(False, "app", 443), b"app:443"),
        ("h2://app.internal", EndpointUrl(True, "app.internal", 443), b"app.internal"),
        ("h2://app:80", EndpointUrl(True, "app", 80), b"app:80"),
        ("h2://[2001:db8::1]:8443", EndpointUrl(True, "2001:db8::1", 8443), b"[2001:db8::1]:8443"),
        ("h2c://h:9000/base/", EndpointUrl(False, "h", 9000, None, b"/base/"), b"h:9000"),
        ("h2c://h:9000/", EndpointUrl(False, "h", 9000, None, b"/"), b"h:9000"),
        ("h2c+unix:/run/app.sock", EndpointUrl(False, "localhost", 0, "/run/app.sock"), b"localhost"),
    ],
)
def test_a_url_is_read_and_written_alike(text, url, authority):
    assert EndpointUrl.parse(text) == url
    assert str(url) == text
    assert url.authority == authority


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("H2C://APP.Example", "h2c://app.example"),
        ("h2c://app:80", "h2c://app"),
        ("h2://app:443/x", "h2://app/x"),
        ("h2c://[0:0::1]:9", "h2c://[::1]:9"),
        ("h2c+unix:///run/../run/app.sock", "h2c+unix:/run/app.sock"),
    ],
)
def test_equal_urls_have_one_form(text, same):
    assert str(EndpointUrl.parse(text)) == same
    assert EndpointUrl.parse(text) == EndpointUrl.parse(same)
    assert hash(EndpointUrl.parse(text)) == hash(EndpointUrl.parse(same))


def test_the_path_can_be_taken_off_a_url():
    assert str(EndpointUrl.parse("h2c://h:9/base").without_path()) == "h2c://h:9"
    unix = EndpointUrl.parse("h2c+unix:/run/a")
    assert unix.without_path() == unix


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("http://h:9000", "backends speak HTTP/2 only: write h2c://h:9000"),
        ("https://h/x", "backends speak HTTP/2 only: write h2://h/x"),
        ("unix:/run/a", "write h2c+unix:/run/a"),
        ("h2+unix:/run/a", "TLS over a unix socket is not supported: write h2c+unix:/run/a"),
        ("127.0.0.1:9000", "write h2c://host:port, h2://host:port (TLS) or h2c+unix:/path"),
        ("h2c:h:9000", "write h2c://host:port, h2://host:port (TLS) or h2c+unix:/path"),
        ("", "write h2c://host:port, h2://host:port (TLS) or h2c+unix:/path"),
        ("h2c://me@h", "a backend URL has no user: leave out what stands before the @"),
        ("h2c://h:0", "0 is no port: write a number from 1 to 65535"),
        ("h2c://h:", "nothing is no port: write a number from 1 to 65535"),
        ("h2c://h:99999", "99999 is no port: write a number from 1 to 65535"),
        ("h2c://", "nothing is no host: write a name, an IPv4 address or [an IPv6 address]"),
        ("h2c://-a", "-a is no host: write a name, an IPv4 address or [an IPv6 address]"),
        ("h2c://" + "a." * 127 + "b", "a." * 127 + "b is no host: write a name, an IPv4 address or [an IPv6 address]"),
        ("h2c://a b", "a b is no host: write a name, an IPv4 address or [an IPv6 address]"),
        ("h2c://1.2.3.400", "1.2.3.400 is no IPv4 address"),
        ("h2c://2001:db8::1:9", "write an IPv6 address in brackets, as [2001:db8::1]"),
        ("h2c://[::g]:9", "[::g] is no host: write a name, an IPv4 address or [an IPv6 address]"),
        ("h2c://h/?q", "write the path alone, without ? and #: the query goes through as it is"),
        ("h2c+unix:run/a", "write an absolute path behind h2c+unix:, as h2c+unix:/run/app.sock"),
        ("h2c+unix:/run/", "write an absolute path behind h2c+unix:, as h2c+unix:/run/app.sock"),
        ("h2c+unix:/" + "ä" * 54, "the path of a unix socket has 107 bytes at most"),
    ],
)
def test_what_is_no_backend_url_is_told_what_to_write(text, hint):
    assert refusal(EndpointUrl, text) == hint


@given(st.text())
def test_any_text_is_a_url_or_a_value_error(text):
    try:
        url = EndpointUrl.parse(text)
    except ValueError:
        return
    assert EndpointUrl.parse(str(url)) == url


@pytest.mark.parametrize(
    ("text", "address", "family"),
    [
        ("127.0.0.1:8080", ListenAddress("127.0.0.1", 8080), socket.AF_INET),
        ("[::]:80", ListenAddress("::", 80), socket.AF_INET6),
        ("unix:/run/gate.sock", ListenAddress("", 0, Path("/run/gate.sock")), socket.AF_UNIX),
        ("127.0.0.1:0", ListenAddress("127.0.0.1", 0), socket.AF_INET),
    ],
)
def test_a_listen_address_is_read_and_written_alike(text, address, family):
    assert ListenAddress.parse(text) == address
    assert str(address) == text
    assert address.family is family


def test_a_star_is_all_of_ipv4_and_ipv6_has_one_form():
    assert str(ListenAddress.parse("*:80")) == "0.0.0.0:80"
    assert ListenAddress.parse("[0:0::1]:80") == ListenAddress.parse("[::1]:80")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("localhost:80", "names are not looked up here: write 127.0.0.1:80 or [::1]:80"),
        ("example.com:80", "example.com is no IP address: write one of this machine's, or *:80 for all of IPv4"),
        (":80", "nothing is no IP address: write one of this machine's, or *:80 for all of IPv4"),
        ("::1:80", "write an IPv6 address in brackets, as [::1]:80"),
        ("8080", "write an address and a port, as 127.0.0.1:8080, [::]:80, *:80 or unix:/path"),
        ("[::1]", "write an address and a port, as 127.0.0.1:8080, [::]:80, *:80 or unix:/path"),
        ("127.0.0.1:x", "x is no port: write a number from 1 to 65535"),
        ("unix:gate.sock", "write an absolute path behind unix:, as unix:/run/app.sock"),
    ],
)
def test_what_is_no_listen_address_is_told_what_to_write(text, hint):
    assert refusal(ListenAddress, text) == hint


@given(st.text())
def test_any_text_is_a_listen_address_or_a_value_error(text):
    try:
        address = ListenAddress.parse(text)
    except ValueError:
        return
    assert ListenAddress.parse(str(address)) == address


def test_a_number_where_an_address_belongs_gets_the_hint_of_its_text():
    adapter = TypeAdapter(ListenAddress)
    with pytest.raises(ValueError, match="write an address and a port"):
        adapter.validate_python(8080)
    with pytest.raises(ValueError, match="write an address and a port"):
        adapter.validate_python(None)
    address = ListenAddress.parse("*:80")
    assert adapter.validate_python(address) is address


def test_an_address_is_text_in_json_and_in_the_schema():
    adapter = TypeAdapter(ListenAddress)
    assert adapter.dump_json(ListenAddress.parse("*:80")) == b'"0.0.0.0:80"'
    assert adapter.json_schema() == {"type": "string"}
