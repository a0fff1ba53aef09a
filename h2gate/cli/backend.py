"""`h2gate backend`: run a sample HTTP/2 backend to try the gate with."""

from __future__ import annotations

import argparse
import signal
import socket
import ssl
from typing import Any

import gevent
from gevent.event import Event as GeventEvent

from h2gate.cli.sample_backend import SampleBackend
from h2gate.config.units import ListenAddress
from h2gate.errors import ExitCode, StartError

DEFAULT_LISTEN = "127.0.0.1:9000"
BACKLOG = 512


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "backend",
        help="run a sample HTTP/2 backend",
        description="Run a sample HTTP/2 backend to try the gate with.",
        epilog="Paths: / /echo /delay/SECONDS /bytes/N /status/CODE /trailers /early-hints",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        default=DEFAULT_LISTEN,
        help=f"host:port (0: any free one) or unix:/path; default {DEFAULT_LISTEN}",
    )
    parser.add_argument("--cert", metavar="FILE", help="certificate chain, PEM: serve h2 over TLS instead of h2c")
    parser.add_argument("--key", metavar="FILE", help="key of the certificate, PEM")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. Raises StartError."""
    try:
        address = ListenAddress.parse(args.listen)
    except ValueError as error:
        raise StartError(f"--listen {args.listen}: {error}", ExitCode.USAGE) from None
    tls = _tls_context(args.cert, args.key)
    listener = _listen(address)
    backend = SampleBackend(listener, tls)
    stop = GeventEvent()
    signals = [gevent.signal_handler(number, stop.set) for number in (signal.SIGINT, signal.SIGTERM)]
    print(f"listening on {_url(listener, tls)}", flush=True)
    stop.wait()
    backend.close()
    for handler in signals:
        handler.cancel()
    if address.path is not None:
        address.path.unlink(missing_ok=True)
    return ExitCode.OK


def _tls_context(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise StartError("--cert and --key go together", ExitCode.USAGE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        # ssl.SSLError is an OSError whose strerror names OpenSSL's function, not the mistake.
        what = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise StartError(f"cannot load --cert {cert} with --key {key}: {what or error}") from None
    return context


def _listen(address: ListenAddress) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        target: Any
        if address.path is not None:
            target = str(address.path)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            target = (address.host, address.port)
        sock.bind(target)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise StartError(f"cannot listen on {address}: {error.strerror}; change --listen", ExitCode.OS_ERROR) from None
    return sock


def _url(listener: socket.socket, tls: ssl.SSLContext | None) -> str:
    scheme = "h2c" if tls is None else "h2"
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"{scheme}+unix:{name}"
    host = f"[{name[0]}]" if listener.family == socket.AF_INET6 else name[0]
    return f"{scheme}://{host}:{name[1]}"
