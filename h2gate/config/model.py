"""What an operator can say, typed. The frozen model every room reads; `docs/configuration.md` comes from it.

Durations are float seconds, sizes int bytes, shares float 0..1; paths are absolute once loaded. Every key does
something: a key without effect does not exist (`tests/config/test_effects.py`). The parts are in `model_listener`,
`model_backend` and `model_route`; all of them are to be had here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from h2gate.config.model_backend import Backend, BackendTls, Endpoint, Pool
from h2gate.config.model_base import Model, told
from h2gate.config.model_listener import Certificate, Listener, ListenerTls
from h2gate.config.model_route import (
    ErrorPage,
    FieldRules,
    Match,
    Mirror,
    Redirect,
    Respond,
    Rewrite,
    Route,
    RouteRetries,
    RouteTimeouts,
)
from h2gate.config.units import Duration, LogFormat, OutputPath, Pause, Share, Size

__all__ = [
    "AccessLog",
    "Backend",
    "BackendTls",
    "Certificate",
    "Config",
    "Endpoint",
    "ErrorLog",
    "ErrorPage",
    "FieldRules",
    "Forwarding",
    "Limits",
    "Listener",
    "ListenerTls",
    "Match",
    "Mirror",
    "Model",
    "Pool",
    "Redirect",
    "Respond",
    "Retries",
    "Rewrite",
    "Route",
    "RouteRetries",
    "RouteTimeouts",
    "Timeouts",
]


class Timeouts(Model):
    tls_handshake: Duration = Field(
        default=10.0,
        description="TLS handshake of a client.",
        json_schema_extra=told(
            "Two round trips and a signature, on the worst of networks. Go's clients and Linkerd have 10s.",
            "tls_handshake: 5s",
        ),
    )
    request_head: Duration = Field(
        default=10.0,
        description="From the first byte of a request, or the connection, to its whole head: 408. An HTTP/2 client has "
        "as long for its first request.",
        json_schema_extra=told(
            "A head is one packet or two; who takes longer holds connections open on purpose (Slowloris). nginx, Caddy "
            "and nghttpx wait 60s.",
            "request_head: 5s",
        ),
    )
    request_body: Duration = Field(
        default=60.0,
        description="Between two pieces of a request body: 408.",
        json_schema_extra=told("Phones lose their network for half a minute. nginx has 60s.", "request_body: 20s"),
    )
    client_write: Duration = Field(
        default=30.0,
        description="A client that takes nothing of what waits for it is cut off.",
        json_schema_extra=told(
            "A reader that is only slow takes something in this time. nghttpx has 30s, nginx 60s.", "client_write: 10s"
        ),
    )
    keepalive_http1: Duration = Field(
        default=75.0,
        description="Between two requests of an HTTP/1.1 connection.",
        json_schema_extra=told("nginx's number, which clients and balancers are used to.", "keepalive_http1: 15s"),
    )
    keepalive_http2: Duration = Field(
        default=180.0,
        description="An HTTP/2 connection without streams.",
        json_schema_extra=told(
            "There is one for each client, not six, and it takes more to set up. nghttpx has 3m.", "keepalive_http2: 1m"
        ),
    )
    response_head: Duration = Field(
        default=60.0,
        description="From the last progress of the request to the response's head: 504.",
        json_schema_extra=told("nginx and nghttpx wait as long, and so do people at most.", "response_head: 30s"),
    )
    response_idle: Duration = Field(
        default=300.0,
        description="Between two pieces of a response.",
        json_schema_extra=told(
            "Event streams are silent for minutes, and send something in five. Envoy has 5m.", "response_idle: 1m"
        ),
    )
    tunnel_idle: Duration = Field(
        default=3600.0,
        description="A WebSocket in which nothing moves is cut off.",
        json_schema_extra=told(
            "Many applications never ping; what is silent for an hour is gone. HAProxy's manual has 1h for tunnels.",
            "tunnel_idle: 10m",
        ),
    )
    drain: Duration = Field(
        default=30.0,
        description="How long a retired worker may take to finish.",
        json_schema_extra=told(
            "Kubernetes gives as much before it kills. Where downloads or WebSockets should outlive a reload, more.",
            "drain: 5m",
        ),
    )
    last_call: Duration = Field(
        default=10.0,
        description="After a reload, HTTP/2 clients of the old workers are told to leave (GOAWAY) spread over this "
        "time, busy ones last, so that they do not all come back at once. At most half of `drain`.",
        json_schema_extra=told(
            "A third of `drain`: 10 000 clients come back as 1000 handshakes a second, and there are 20s to finish.",
            "last_call: 5s",
        ),
    )
    boot: Duration = Field(
        default=30.0,
        description="How long a new worker may take to serve.",
        json_schema_extra=told(
            "A worker boots in well under a second; a machine that swaps takes longer.", "boot: 10s"
        ),
    )


class Limits(Model):
    request_line: Annotated[Size, Field(ge=1024, le=1_048_576)] = Field(
        default=16_384,
        description="Bytes of an HTTP/1.1 request line: 414.",
        json_schema_extra=told(
            "Twice of what Apache and nginx take: single sign-on makes long URLs. RFC 9112, 3 wants 8000 at least.",
            "request_line: 8KiB",
        ),
    )
    header_list: Annotated[Size, Field(ge=1024)] = Field(
        default=32_768,
        description="Bytes of a request's fields, 32 more for each: 431.",
        json_schema_extra=told(
            "As nginx (4 buffers of 8 KiB). Each field counts 32 more, for what it takes in memory (RFC 9113, 6.5.2).",
            "header_list: 16KiB",
        ),
    )
    fields: Annotated[int, Field(ge=10)] = Field(
        default=100,
        description="Fields of a request, cookie crumbs counted one by one: 431.",
        json_schema_extra=told(
            "Apache, Envoy and nghttpx have 100. A byte of HPACK can stand for a field: bytes alone are no limit.",
            "fields: 200",
        ),
    )
    response_header_list: Annotated[Size, Field(ge=1024)] = Field(
        default=65_536,
        description="The same for a response: 502.",
        json_schema_extra=told(
            "Backends are trusted more than clients: twice of it. nghttpx has 64 KiB.", "response_header_list: 32KiB"
        ),
    )
    response_fields: Annotated[int, Field(ge=10)] = Field(
        default=500,
        description="Fields of a response: 502.",
        json_schema_extra=told("nghttpx's number; some sites set hundreds of cookies.", "response_fields: 100"),
    )
    streams: Annotated[int, Field(ge=1)] = Field(
        default=100,
        description="Concurrent streams of an HTTP/2 client.",
        json_schema_extra=told(
            "The least that RFC 9113, 6.5.2 recommends: a page is loaded at once. HAProxy and nghttpx have 100.",
            "streams: 32",
        ),
    )
    stream_window: Annotated[Size, Field(ge=65_535, le=2**31 - 1)] = Field(
        default=65_536,
        description="Bytes one upload may have on the way.",
        json_schema_extra=told(
            "What a client may make the gate hold for each stream if the backend is slow. Envoy advises it for edges.",
            "stream_window: 256KiB",
        ),
    )
    connection_window: Annotated[Size, Field(ge=65_535, le=2**31 - 1)] = Field(
        default=1_048_576,
        description="Bytes all uploads of a client connection may have on the way.",
        json_schema_extra=told(
            "The most that one client may make the gate hold. Envoy advises it at the edge.", "connection_window: 4MiB"
        ),
    )
    max_body: Annotated[Size, Field(ge=1)] | None = Field(
        default=None,
        description="Bytes of a request body: 413; no limit if not given.",
        json_schema_extra=told(
            "Bodies are passed on as they come, and take no room; how much is too much the backend knows.",
            "max_body: 100MiB",
        ),
    )
    connections: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Client connections of a worker; more wait to be accepted. No limit if not given.",
        json_schema_extra=told(
            "The limit of descriptors is one already, at which the gate stops to accept.", "connections: 10000"
        ),
    )
    connections_per_address: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Client connections of one address to a worker, in IPv6 of one /64; more are closed at once. Unix "
        "sockets have no address.",
        json_schema_extra=told(
            "A company of thousands may have one address; one customer's in IPv6 are 2^64 and more (RFC 6177).",
            "connections_per_address: 200",
        ),
    )
    reset_burst: Annotated[int, Field(ge=1)] = Field(
        default=200,
        description="Requests that an HTTP/2 client may cancel at once, before its connection is ended.",
        json_schema_extra=told(
            "Who leaves a page cancels all of its streams, twice `streams` at most; CVE-2023-44487 is more of it. "
            "nghttp2 takes 1000.",
            "reset_burst: 50",
        ),
    )
    reset_rate: Annotated[int, Field(ge=1)] = Field(
        default=33,
        description="Cancelled requests that are forgiven each second.",
        json_schema_extra=told("nghttp2's number.", "reset_rate: 10"),
    )
    replay_buffer: Size = Field(
        default=65_536,
        description="A request body up to this size can be sent again.",
        json_schema_extra=told(
            "Holds what forms and APIs send. It is given back when the response begins. Linkerd has 64 KiB.",
            "replay_buffer: 256KiB",
        ),
    )


class Retries(Model):
    tries: Annotated[int, Field(ge=0, le=10)] = Field(
        default=2,
        description="How often a request that was not processed is sent again.",
        json_schema_extra=told(
            "One for a connection that drains, one more if the next does too. Envoy has 1, HAProxy 3.", "tries: 1"
        ),
    )
    budget: Share = Field(
        default=0.2,
        description="Retries at most, as a share of a worker's requests (and 3 always).",
        json_schema_extra=told(
            "A backend that is down is not hit with twice the load. Envoy and Linkerd have 20%.", "budget: 10%"
        ),
    )
    backoff_min: Pause = Field(
        default=0.025,
        description="First pause before a retry; a random part of it is waited.",
        json_schema_extra=told("Envoy's number.", "backoff_min: 0s"),
    )
    backoff_max: Pause = Field(
        default=0.25,
        description="Longest pause before a retry.",
        json_schema_extra=told("Envoy's number: people do not notice it.", "backoff_max: 1s"),
    )


class AccessLog(Model):
    path: Literal["-", "off"] | OutputPath = Field(
        default="-",
        union_mode="left_to_right",
        description="File, `-` for standard output, or `off`.",
        json_schema_extra=told("systemd and containers collect it from there.", "path: /var/log/h2gate/access.log"),
    )
    format: LogFormat = Field(
        default="combined",
        description="`combined`, `json`, or a format string in the directives of Apache's LogFormat (docs/logging.md).",
        json_schema_extra=told("What the tools for logs read that are there already.", "format: json"),
    )


class ErrorLog(Model):
    path: Literal["-"] | OutputPath = Field(
        default="-",
        union_mode="left_to_right",
        description="File, or `-` for standard error.",
        json_schema_extra=told("systemd and containers collect it from there.", "path: /var/log/h2gate/error.log"),
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Lowest level written.",
        json_schema_extra=told("Starts, reloads and failures, and nothing for each request.", "level: warning"),
    )


class Forwarding(Model):
    """Fields that tell the backend about the client, and the client about the gate."""

    x_forwarded: bool = Field(
        default=True,
        description="Send X-Forwarded-For, -Host, -Proto and -Port; without, the client's own are dropped.",
        json_schema_extra=told("Backends make links and logs from them. As ProxyAddHeaders.", "x_forwarded: false"),
    )
    forwarded: bool = Field(
        default=False,
        description="Send Forwarded (RFC 7239).",
        json_schema_extra=told("It says the same once more, and few backends read it.", "forwarded: true"),
    )
    via: Literal["on", "off", "block"] = Field(
        default="on",
        description="Add Via in both directions; `off` leaves it as it is, `block` also removes it.",
        json_schema_extra=told(
            "A gateway must send it to its backends (RFC 9110, 7.6.3); loops are found by it. ProxyVia is off.",
            "via: block",
        ),
    )
    proxy_status: bool = Field(
        default=False,
        description="Tell clients why the gate failed, by Proxy-Status (RFC 9209).",
        json_schema_extra=told("It tells strangers about the backends.", "proxy_status: true"),
    )


class Config(Model):
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        default="auto",
        description="Worker processes; `auto` is one per CPU this process may use.",
        json_schema_extra=told(
            "A worker keeps one CPU busy. Connections to backends are a worker's own: more workers take more of them.",
            "workers: 4",
        ),
    )
    engine: Literal["auto", "native", "python"] = Field(
        default="auto",
        description="Make of the protocol engines: `native` is compiled, `python` needs no compiler and costs several "
        "times the CPU; both behave alike. `auto` is native where it is built.",
        json_schema_extra=told("The gate runs everywhere, and fast where it can.", "engine: python"),
    )
    user: str | None = Field(
        default=None,
        description="Drop to this user after binding; needs root.",
        json_schema_extra=told("systemd does it before the start, and root is not needed there.", "user: h2gate"),
    )
    pidfile: OutputPath | None = Field(
        default=None,
        description="Where to write the master's process id.",
        json_schema_extra=told("systemd knows it, and `control` tells it.", "pidfile: /run/h2gate/h2gate.pid"),
    )
    control: OutputPath | None = Field(
        default=None,
        description="Unix socket for `h2gate status`, `reload` and `stop`.",
        json_schema_extra=told("Signals do without.", "control: ${RUNTIME_DIRECTORY:-/run/h2gate}/control.sock"),
    )
    listeners: Annotated[tuple[Listener, ...], Field(min_length=1)] = Field(
        description="Where clients come in.",
        json_schema_extra=told("A gate without one has nothing to do.", 'listeners: [{address: "*:8080"}]'),
    )
    backends: dict[str, Backend] = Field(
        default={},
        description="Named groups of endpoints.",
        json_schema_extra=told(
            "A route may name a URL as well.",
            "backends: {app: {endpoints: [h2c://10.0.0.2:9000, h2c://10.0.0.3:9000]}}\nroutes: [{backend: app}]",
        ),
    )
    routes: Annotated[tuple[Route, ...], Field(min_length=1)] = Field(
        description="In order; the first match wins.",
        json_schema_extra=told(
            "A gate without one has nothing to do. What no route matches is answered with 404.",
            "routes: [{match: {path: /app/}, backend: h2c://10.0.0.2:9000}]",
        ),
    )
    timeouts: Timeouts = Field(
        default=Timeouts(),
        description="Deadlines of the client side and of exchanges.",
        json_schema_extra=told("See each key.", "timeouts: {response_head: 30s, drain: 1m}"),
    )
    limits: Limits = Field(
        default=Limits(),
        description="What a client or a response may take.",
        json_schema_extra=told("See each key.", "limits: {header_list: 16KiB, max_body: 100MiB}"),
    )
    retries: Retries = Field(
        default=Retries(),
        description="Sending unprocessed requests again.",
        json_schema_extra=told("See each key.", "retries: {tries: 1, budget: 10%}"),
    )
    forwarding: Forwarding = Field(
        default=Forwarding(),
        description="What the gate tells of itself and the client.",
        json_schema_extra=told("See each key.", "forwarding: {via: block, forwarded: true}"),
    )
    error_pages: tuple[ErrorPage, ...] = Field(
        default=(),
        description="Bodies of the gate's own errors; the first that fits is taken.",
        json_schema_extra=told(
            "A line of plain text tells the status; a site has a look of its own.",
            "error_pages: [{status: [503], html: errors/down.html}, {html: errors/any.html, json: errors/any.json}]",
        ),
    )
    access_log: AccessLog = Field(
        default=AccessLog(),
        description="One line for each exchange.",
        json_schema_extra=told("See each key.", "access_log: {path: /var/log/h2gate/access.log, format: json}"),
    )
    error_log: ErrorLog = Field(
        default=ErrorLog(),
        description="What the gate says about itself.",
        json_schema_extra=told("See each key.", "error_log: {path: /var/log/h2gate/error.log, level: warning}"),
    )
