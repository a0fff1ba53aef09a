from __future__ import annotations

import logging
import socket
import sys
from types import SimpleNamespace

import gevent
import pytest
from gevent import socket as gevent_socket

from h2gate.worker.main import _handle_error, _handle_unraisable


def raised_by_resolver() -> tuple[object, object, object]:
    try:
        gevent_socket.getaddrinfo("nosuch.invalid", 80)
    except socket.gaierror:
        return sys.exc_info()
    raise AssertionError("there is such a name")


def test_a_name_that_does_not_exist_is_no_internal_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gevent.get_hub(), "handle_error", _handle_error)
    with caplog.at_level(logging.DEBUG, "h2gate"):
        raised_by_resolver()
        gevent.get_hub().threadpool.kill()
    assert caplog.records == []


def test_a_mistake_of_ours_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    _handle_error(None, KeyError, KeyError("x"), None)
    (record,) = caplog.records
    assert (record.getMessage(), record.levelname) == ("internal error", "ERROR")


def test_a_server_name_that_is_not_ascii_is_no_internal_error_and_what_else_is_lost_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = b"\xff.test"
    with pytest.raises(UnicodeDecodeError) as caught:
        name.decode("ascii")
    for error in (caught.value, KeyError("x")):
        _handle_unraisable(
            SimpleNamespace(exc_type=type(error), exc_value=error, exc_traceback=None, object=name, err_msg=None)
        )
    (record,) = caplog.records
    assert record.getMessage() == "internal error"
