"""What an operator can say, typed. The frozen model every room reads; `docs/configuration.md` comes from it.

Durations are float seconds, sizes int bytes, shares float 0..1; paths are absolute once loaded. Every key does
something: a key without effect does not exist. Field descriptions are the reference's text; defaults carry their
reason there.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from h2gate.config.units import (
    Duration,
    EndpointUrl,
    FilePath,
    HostPattern,
    ListenAddress,
    Method,
    Network,
    OutputPath,
    PathPattern,
    Pause,
    Share,
    Size,
)


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)


class Certificate(Model):
    """A certificate chain and its key, PEM."""

    cert: FilePath = Field(description="Certificate chain, PEM, leaf first.")
    key: FilePath = Field(description="Private key, PEM, unencrypted.")


class ListenerTls(Model):
    certificates: Annotated[tuple[Certificate, ...], Field(min_length=1)] = Field(
        description="Chosen by SNI among their subject alternative names; the first serves all other names."
    )
    min_version: Literal["1.2", "1.3"] = Field(default="1.2", description="Lowest TLS version accepted.")


class Listener(Model):
    address: ListenAddress = Field(
        description="`127.0.0.1:8080`, `[::]:80` (IPv6 only), `*:80` (IPv4) or `unix:/path`."
    )
    tls: ListenerTls | None = Field(default=None, description="Serve TLS; without it HTTP/1.1 and HTTP/2 in clear.")
    trusted_proxies: tuple[Network, ...] = Field(
        default=(), description="Networks whose X-Forwarded-* fields are believed and appended to."
    )
    backlog: Annotated[int, Field(ge=1, le=65535)] = Field(default=4096, description="Length of the accept queue.")


class BackendTls(Model):
    ca: FilePath | None = Field(default=None, description="CA bundle, PEM; the system's if not given.")
    verify: bool = Field(default=True, description="Verify chain and name.")
    server_name: str | None = Field(
        default=None, description="Name for SNI and verification; the URL's host if not given."
    )
    client_cert: FilePath | None = Field(default=None, description="Client certificate chain, PEM.")
    client_key: FilePath | None = Field(default=None, description="Key of the client certificate, PEM.")


class Pool(Model):
    """Connections of one worker to one endpoint."""

    max_connections: Annotated[int, Field(ge=1)] = Field(
        default=8, description="Connections per worker and endpoint at most."
    )
    target_streams: Annotated[int, Field(ge=1)] = Field(
        default=32, description="Above this many streams on every connection another one is dialled."
    )
    max_streams: Annotated[int, Field(ge=1)] = Field(
        default=100,
        description="Streams per connection at most, even if the backend allows more; "
        "1 for backends that run streams in turn.",
    )
    queue: Annotated[int, Field(ge=0)] = Field(
        default=1024, description="Requests that may wait for a stream; more get 503."
    )
    queue_timeout: Duration = Field(default=5.0, description="How long a request may wait for a stream before 503.")
    connect_timeout: Duration = Field(default=3.0, description="TCP, TLS and the backend's SETTINGS together.")
    idle_timeout: Duration = Field(
        default=60.0, description="A connection without streams is closed after this; one stays warm."
    )
    max_requests: Annotated[int, Field(ge=1)] = Field(
        default=10_000, description="Requests per connection, +-10 %, then it drains."
    )
    max_age: Duration = Field(default=3600.0, description="Age of a connection, +-10 %, at which it drains.")
    preconnect: bool = Field(default=False, description="Dial one connection per endpoint when the worker starts.")
    stream_window: Annotated[Size, Field(ge=65_535, le=2**31 - 1)] = Field(
        default=262_144, description="Bytes one response may have on the way; bounds the memory of a stalled one."
    )
    connection_window: Annotated[Size, Field(ge=65_535, le=2**31 - 1)] = Field(
        default=16_777_216, description="Bytes all responses of a connection may have on the way."
    )


class Endpoint(Model):
    url: EndpointUrl = Field(description="`h2c://host:port`, `h2://host:port` or `h2c+unix:/path`.")
    weight: Annotated[int, Field(ge=1, le=100)] = Field(default=1, description="Share of requests among the endpoints.")

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: object) -> object:
        """Take a plain URL for `{url: ...}`."""
        return {"url": value} if isinstance(value, (str, EndpointUrl)) else value


class Backend(Model):
    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1)] = Field(
        description="Where the requests go; a plain URL is short for `{url: ...}`."
    )
    balance: Literal["round_robin", "least_requests"] = Field(
        default="round_robin", description="How an endpoint is chosen."
    )
    tls: BackendTls = Field(default=BackendTls(), description="For `h2://` endpoints.")
    pool: Pool = Field(default=Pool(), description="The connections to each endpoint.")


class Match(Model):
    host: HostPattern | None = Field(
        default=None, description="`app.example.com` or `*.example.com`; any host if not given."
    )
    path: PathPattern = Field(
        default=PathPattern.parse("/"),
        description="`/app/` prefix of whole segments, `exact:/x`, or `regex:^/x[0-9]+$`.",
    )
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] | None = Field(
        default=None, description="Methods, upper case; any if not given."
    )


class Respond(Model):
    status: Annotated[int, Field(ge=200, le=599)] = Field(description="Status to answer with.")
    body: str = Field(default="", description="Text of the answer.")


class Redirect(Model):
    to: str = Field(
        description="Location; `{path}` is what follows the matched prefix, `{query}` the query with its `?`."
    )
    status: Literal[301, 302, 303, 307, 308] = Field(default=308, description="Status to answer with.")


class Route(Model):
    """A match and where it leads: exactly one of `backend`, `respond`, `redirect`."""

    match: Match = Field(default=Match(), description="What the route is for; first match wins.")
    backend: str | None = Field(
        default=None,
        description="A name under `backends`, or a URL; a URL's path takes the matched prefix's place, "
        "as in ProxyPass.",
    )
    respond: Respond | None = Field(default=None, description="Answer without a backend.")
    redirect: Redirect | None = Field(default=None, description="Send the client elsewhere.")
    preserve_host: bool = Field(
        default=False, description="Send the client's authority to the backend, not the endpoint's."
    )


class Timeouts(Model):
    tls_handshake: Duration = Field(default=10.0, description="TLS handshake of a client.")
    request_head: Duration = Field(
        default=10.0, description="From the first byte of a request, or the connection, to its whole head: 408."
    )
    request_body: Duration = Field(default=60.0, description="Between two pieces of a request body: 408.")
    client_write: Duration = Field(
        default=30.0, description="A client that takes nothing of what waits for it is cut off."
    )
    keepalive_http1: Duration = Field(default=75.0, description="Between two requests of an HTTP/1.1 connection.")
    keepalive_http2: Duration = Field(default=180.0, description="An HTTP/2 connection without streams.")
    response_head: Duration = Field(
        default=60.0, description="From the last progress of the request to the response's head: 504."
    )
    response_idle: Duration = Field(default=300.0, description="Between two pieces of a response.")
    drain: Duration = Field(default=30.0, description="How long a retired worker may take to finish.")
    last_call: Duration = Field(
        default=10.0,
        description="After a reload, HTTP/2 clients of the old workers are told to leave (GOAWAY) spread over this "
        "time, busy ones last, so that they do not all come back at once. At most half of `drain`.",
    )
    boot: Duration = Field(default=30.0, description="How long a new worker may take to serve.")


class Limits(Model):
    header_list: Annotated[Size, Field(ge=1024)] = Field(
        default=32_768, description="Bytes of a request's fields, 32 more for each: 431."
    )
    fields: Annotated[int, Field(ge=10)] = Field(
        default=100, description="Fields of a request, cookie crumbs counted one by one: 431."
    )
    response_header_list: Annotated[Size, Field(ge=1024)] = Field(
        default=65_536, description="The same for a response: 502."
    )
    response_fields: Annotated[int, Field(ge=10)] = Field(default=500, description="Fields of a response: 502.")
    streams: Annotated[int, Field(ge=1)] = Field(default=100, description="Concurrent streams of an HTTP/2 client.")
    stream_window: Annotated[Size, Field(ge=65_535, le=2**31 - 1)] = Field(
        default=65_536, description="Bytes one upload may have on the way."
    )
    connection_window: Annotated[Size, Field(ge=65_535, le=2**31 - 1)] = Field(
        default=1_048_576, description="Bytes all uploads of a client connection may have on the way."
    )
    replay_buffer: Size = Field(default=65_536, description="A request body up to this size can be sent again.")


class Retries(Model):
    tries: Annotated[int, Field(ge=0, le=10)] = Field(
        default=2, description="How often a request that was not processed is sent again."
    )
    budget: Share = Field(default=0.2, description="Retries at most, as a share of a worker's requests (and 3 always).")
    backoff_min: Pause = Field(default=0.025, description="First pause before a retry; a random part of it is waited.")
    backoff_max: Pause = Field(default=0.25, description="Longest pause before a retry.")


class AccessLog(Model):
    path: Literal["-", "off"] | OutputPath = Field(
        default="-", union_mode="left_to_right", description="File, `-` for standard output, or `off`."
    )
    format: Literal["combined", "json"] = Field(default="combined", description="Line format.")


class ErrorLog(Model):
    path: Literal["-"] | OutputPath = Field(
        default="-", union_mode="left_to_right", description="File, or `-` for standard error."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Lowest level written.")


class Config(Model):
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        default="auto", description="Worker processes; `auto` is one per CPU this process may use."
    )
    engine: Literal["auto", "native", "python"] = Field(
        default="auto",
        description="Make of the protocol engines: `native` is compiled, `python` needs no compiler and costs several "
        "times the CPU; both behave alike. `auto` is native where it is built.",
    )
    user: str | None = Field(default=None, description="Drop to this user after binding; needs root.")
    pidfile: OutputPath | None = Field(default=None, description="Where to write the master's process id.")
    control: OutputPath | None = Field(
        default=None, description="Unix socket for `h2gate status`, `reload` and `stop`."
    )
    listeners: Annotated[tuple[Listener, ...], Field(min_length=1)] = Field(description="Where clients come in.")
    backends: dict[str, Backend] = Field(default={}, description="Named groups of endpoints.")
    routes: Annotated[tuple[Route, ...], Field(min_length=1)] = Field(description="In order; the first match wins.")
    timeouts: Timeouts = Field(default=Timeouts(), description="Deadlines of the client side and of exchanges.")
    limits: Limits = Field(default=Limits(), description="What a client or a response may take.")
    retries: Retries = Field(default=Retries(), description="Sending unprocessed requests again.")
    access_log: AccessLog = Field(default=AccessLog(), description="One line for each exchange.")
    error_log: ErrorLog = Field(default=ErrorLog(), description="What the gate says about itself.")
