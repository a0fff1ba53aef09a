"""Backends: endpoints, TLS and pools that contradict themselves."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from h2gate.config.addresses import EndpointUrl
from h2gate.config.model import Backend, BackendTls, Limits, Pool
from h2gate.config.parts import Finding, Parts
from h2gate.config.problems import KeyPath
from h2gate.config.units import format_duration
from h2gate.config.uri import parse_address, parse_host

# Connections retire at `max_age` and up to a tenth later (backend/connection.py).
_OLDEST = 1.1


def check_backends(parts: Parts) -> Iterator[Finding]:
    for name, backend in parts.backends.items():
        path: KeyPath = ("backends", name)
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name, re.ASCII):
            yield Finding(path, "a backend's name has letters, digits, and _ . - within")
        if backend is not None:
            yield from _check_endpoints(path, backend)
            yield from _check_tls(path, backend)
            yield from _check_pool((*path, "pool"), backend.pool)
            yield from _check_source((*path, "pool", "source_address"), backend)


def _check_endpoints(path: KeyPath, backend: Backend) -> Iterator[Finding]:
    first = backend.endpoints[0].url
    seen: dict[EndpointUrl, int] = {}
    for index, endpoint in enumerate(backend.endpoints):
        here = (*path, "endpoints", index, "url")
        address = endpoint.url.without_path()
        if address in seen:
            yield Finding(here, f"endpoints[{seen[address]}] is the same: give that one a weight instead")
        seen.setdefault(address, index)
        if endpoint.url.base_path != first.base_path:
            message = (
                f"all endpoints of a backend have one path: {shown_path(first)} as endpoints[0], or a backend each"
            )
            yield Finding(here, message)


def shown_path(url: EndpointUrl) -> str:
    return "none" if url.base_path is None else url.base_path.decode("ascii")


def _check_tls(path: KeyPath, backend: Backend) -> Iterator[Finding]:
    tls = backend.tls
    path = (*path, "tls")
    if "tls" in backend.model_fields_set and not any(endpoint.url.tls for endpoint in backend.endpoints):
        yield Finding(path, "no endpoint speaks TLS: write h2:// URLs, or leave this out")
    yield from _check_client_certificate(path, tls)
    for key in ("ca", "crl"):
        if getattr(tls, key) is not None and not tls.verify:
            yield Finding((*path, key), "has no effect with `verify: false`")
    if tls.server_name is not None:
        try:
            parse_host(tls.server_name)
        except ValueError as failure:
            yield Finding((*path, "server_name"), str(failure))


def _check_client_certificate(path: KeyPath, tls: BackendTls) -> Iterator[Finding]:
    if tls.client_cert is not None and tls.client_key is None:
        yield Finding((*path, "client_cert"), "needs its `client_key`")
    if tls.client_key is not None and tls.client_cert is None:
        yield Finding((*path, "client_key"), "needs its `client_cert`")


def _check_pool(path: KeyPath, pool: Pool) -> Iterator[Finding]:
    written = pool.model_fields_set
    if "target_streams" in written and pool.target_streams > pool.max_streams:
        message = f"is never reached: a connection has {pool.max_streams} streams at most (max_streams)"
        yield Finding((*path, "target_streams"), message)
    if "queue_timeout" in written and pool.queue == 0:
        yield Finding((*path, "queue_timeout"), "has no effect with `queue: 0`: nothing waits")
    yield from check_windows(path, pool)
    for key in ("idle_timeout", "ping_after", "ping_interval"):
        seconds = getattr(pool, key)
        if key in written and seconds is not None and seconds > pool.max_age * _OLDEST:
            message = (
                f"is never reached: connections are retired at the age of {format_duration(pool.max_age)} (max_age)"
            )
            yield Finding((*path, key), message)
    if pool.ping_interval is not None:
        yield from _check_interval(path, pool, pool.ping_interval)


def _check_interval(path: KeyPath, pool: Pool, interval: float) -> Iterator[Finding]:
    shown, timeout = format_duration(interval), format_duration(pool.ping_timeout)
    if pool.ping_timeout >= interval:
        key = "ping_timeout" if "ping_timeout" in pool.model_fields_set else "ping_interval"
        message = f"the next PING ({shown}) would be due before the last has failed ({timeout})"
        yield Finding((*path, key), message)
    elif "ping_after" in pool.model_fields_set and pool.ping_after > interval + pool.ping_timeout:
        # Answers to PING are heard as anything else is.
        yield Finding((*path, "ping_after"), f"is never reached: ping_interval ({shown}) lets no connection be quiet")


def check_windows(path: KeyPath, windows: Pool | Limits) -> Iterator[Finding]:
    if "stream_window" in windows.model_fields_set and windows.stream_window > windows.connection_window:
        message = f"is never filled: connection_window is {windows.connection_window}"
        yield Finding((*path, "stream_window"), message)


def _check_source(path: KeyPath, backend: Backend) -> Iterator[Finding]:
    if backend.pool.source_address is None:
        return
    source = ipaddress.ip_address(backend.pool.source_address)
    urls = [endpoint.url for endpoint in backend.endpoints]
    if all(url.unix_path is not None for url in urls):
        yield Finding(path, "has no effect: no endpoint has an IP address")
    for url in urls:
        # A name may have addresses of both families.
        address = parse_address(f"[{url.host}]" if ":" in url.host else url.host)
        if address is not None and address.version != source.version:
            yield Finding(path, f"no connection from IPv{source.version} reaches {url}")
