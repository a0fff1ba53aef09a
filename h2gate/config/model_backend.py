"""Backends: named groups of endpoints, and the connections to them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from h2gate.config.fields import IpAddress
from h2gate.config.model_base import Model, told
from h2gate.config.units import Duration, EndpointUrl, FilePath, Size


class BackendTls(Model):
    ca: FilePath | None = Field(
        default=None,
        description="CA bundle, PEM; the system's if not given.",
        json_schema_extra=told(
            "The system's CAs are kept up to date by somebody; an own CA is named here.", "ca: tls/backend-ca.pem"
        ),
    )
    verify: bool = Field(
        default=True,
        description="Verify chain and name.",
        json_schema_extra=told(
            "TLS to somebody unknown keeps nothing secret. nginx and Envoy do not verify unless told so; Go's proxies "
            "and nghttpx do.",
            "verify: false",
        ),
    )
    server_name: str | None = Field(
        default=None,
        description="Name for SNI and verification; the URL's host if not given.",
        json_schema_extra=told(
            "The name that is dialled is the one that is meant; an address in the URL needs this key.",
            "server_name: app.internal",
        ),
    )
    client_cert: FilePath | None = Field(
        default=None,
        description="Client certificate chain, PEM.",
        json_schema_extra=told("Few backends ask for one.", "{client_cert: tls/gate.crt, client_key: tls/gate.key}"),
    )
    client_key: FilePath | None = Field(
        default=None,
        description="Key of the client certificate, PEM.",
        json_schema_extra=told("It goes with `client_cert`.", "{client_cert: tls/gate.crt, client_key: tls/gate.key}"),
    )
    min_version: Literal["1.2", "1.3"] = Field(
        default="1.2",
        description="Lowest TLS version spoken.",
        json_schema_extra=told(
            "HTTP/2 needs it (RFC 9113, 9.2); 1.3 where all backends have it.", 'min_version: "1.3"'
        ),
    )
    crl: FilePath | None = Field(
        default=None,
        description="Revoked certificates (CRLs), PEM.",
        json_schema_extra=told(
            "With one, a certificate whose issuer has no list in it is refused: it has to be complete, and renewed in "
            "time.",
            "{ca: tls/backend-ca.pem, crl: tls/backend-crl.pem}",
        ),
    )


class Pool(Model):
    """Connections of one worker to one endpoint."""

    max_connections: Annotated[int, Field(ge=1)] = Field(
        default=8,
        description="Connections per worker and endpoint at most.",
        json_schema_extra=told(
            "8 of 100 streams carry 800 requests at once. The backend sees this times the workers (`h2gate check` says "
            "how many), so more of them cost it more than they bring.",
            "max_connections: 4",
        ),
    )
    target_streams: Annotated[int, Field(ge=1)] = Field(
        default=32,
        description="Above this many streams on every connection another one is dialled.",
        json_schema_extra=told(
            "A third of `max_streams`: the next connection is there before the others are full, and a lost packet "
            "holds up 32 responses and not 100. Most gates fill a connection first, which is bad for backends that "
            "serve each by one thread.",
            "target_streams: 8",
        ),
    )
    max_streams: Annotated[int, Field(ge=1)] = Field(
        default=100,
        description="Streams per connection at most, even if the backend allows more; "
        "1 for backends that run streams in turn.",
        json_schema_extra=told(
            "The least that a backend should allow (RFC 9113, 6.5.2). HAProxy has the same, Envoy 1024.",
            "max_streams: 1",
        ),
    )
    queue: Annotated[int, Field(ge=0)] = Field(
        default=1024,
        description="Requests that may wait for a stream; more get 503.",
        json_schema_extra=told("Envoy's number. What waits longer than that is better told so at once.", "queue: 100"),
    )
    queue_timeout: Duration = Field(
        default=5.0,
        description="How long a request may wait for a stream before 503.",
        json_schema_extra=told(
            "Time for a backend to restart; people reload a page after more. Linkerd gives up after 3s.",
            "queue_timeout: 2s",
        ),
    )
    connect_timeout: Duration = Field(
        default=3.0,
        description="TCP, TLS and the backend's SETTINGS together.",
        json_schema_extra=told(
            "A lost SYN is sent again after 1s and, if lost too, after 2s more (RFC 6298). Caddy has 3s, Envoy 5s, "
            "nginx 60s.",
            "connect_timeout: 500ms",
        ),
    )
    idle_timeout: Duration = Field(
        default=60.0,
        description="A connection without streams is closed after this; one stays warm.",
        json_schema_extra=told(
            "Shorter than what most backends wait (nginx: 75s), so that it is the gate who closes.", "idle_timeout: 5m"
        ),
    )
    max_requests: Annotated[int, Field(ge=1)] = Field(
        default=10_000,
        description="Requests per connection, +-10 %, then it drains.",
        json_schema_extra=told(
            "New connections find backends that came later, behind a balancer of TCP. AWS's balancers close at 10 000 "
            "too, nginx at 1000.",
            "max_requests: 1000",
        ),
    )
    max_age: Duration = Field(
        default=3600.0,
        description="Age of a connection, +-10 %, at which it drains.",
        json_schema_extra=told("As `max_requests`, for backends with few requests. nginx has 1h.", "max_age: 10m"),
    )
    preconnect: bool = Field(
        default=False,
        description="Dial one connection per endpoint when the worker starts.",
        json_schema_extra=told(
            "A reload of 64 workers would dial all backends 64 times in the same second.", "preconnect: true"
        ),
    )
    stream_window: Annotated[Size, Field(ge=65_535, le=2**31 - 1)] = Field(
        default=262_144,
        description="Bytes one response may have on the way; bounds the memory of a stalled one.",
        json_schema_extra=told(
            "256KiB each 10ms are 26MB a second for one response. Envoy has 16MiB, nghttpx 64KiB.",
            "stream_window: 1MiB",
        ),
    )
    connection_window: Annotated[Size, Field(ge=65_535, le=2**31 - 1)] = Field(
        default=16_777_216,
        description="Bytes all responses of a connection may have on the way.",
        json_schema_extra=told(
            "64 full windows of streams: readers that stall do not hold up the others. Envoy has 24MiB.",
            "connection_window: 32MiB",
        ),
    )
    ping_after: Duration = Field(
        default=10.0,
        description="A connection that was quiet for so long is proved by PING before a request's body goes out on it.",
        json_schema_extra=told(
            "Middleboxes forget connections without telling; what was heard from 10s ago is still there. Chrome has "
            "10s, nghttpx 5s.",
            "ping_after: 5s",
        ),
    )
    ping_timeout: Duration = Field(
        default=1.0,
        description="How long the answer to a PING may take; then the request goes to another connection.",
        json_schema_extra=told("Many round trips, and little for who waits. nghttpx has 1s.", "ping_timeout: 500ms"),
    )
    ping_interval: Duration | None = Field(
        default=None,
        description="PING connections at this interval; never if not given: gRPC servers punish it.",
        json_schema_extra=told(
            "gRPC servers close a connection that is pinged more often than each 5 minutes (`too_many_pings`).",
            "ping_interval: 10m",
        ),
    )
    source_address: IpAddress | None = Field(
        default=None,
        description="Local IP address that connections come from.",
        json_schema_extra=told(
            "The kernel knows the way, and the address that belongs to it.", "source_address: 10.0.0.7"
        ),
    )


class Endpoint(Model):
    url: EndpointUrl = Field(
        description="`h2c://host:port`, `h2://host:port` or `h2c+unix:/path`.",
        json_schema_extra=told("Backends speak HTTP/2 only, which the scheme says.", "url: h2c://10.0.0.2:9000"),
    )
    weight: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1,
        description="Share of requests among the endpoints.",
        json_schema_extra=told(
            "All alike, unless one is known to be stronger.", "{url: h2c://10.0.0.2:9000, weight: 2}"
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: object) -> object:
        """Take a plain URL for `{url: ...}`."""
        return {"url": value} if isinstance(value, (str, EndpointUrl)) else value


class Backend(Model):
    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1)] = Field(
        description="Where the requests go; a plain URL is short for `{url: ...}`.",
        json_schema_extra=told(
            "A backend without one would answer 503 to all.",
            "endpoints: [h2c://10.0.0.2:9000, {url: h2c://10.0.0.3:9000, weight: 2}]",
        ),
    )
    balance: Literal["round_robin", "least_requests"] = Field(
        default="round_robin",
        description="How an endpoint is chosen.",
        json_schema_extra=told(
            "It can be foretold, and is what nginx, HAProxy and Envoy do unless told otherwise. `least_requests` is "
            "better where requests differ much in what they take.",
            "balance: least_requests",
        ),
    )
    tls: BackendTls = Field(
        default=BackendTls(),
        description="For `h2://` endpoints.",
        json_schema_extra=told("The system's CAs and the names in the URLs will do.", "tls: {ca: tls/backend-ca.pem}"),
    )
    pool: Pool = Field(
        default=Pool(),
        description="The connections to each endpoint.",
        json_schema_extra=told("Fit for most backends; see each key.", "pool: {max_connections: 4, queue_timeout: 2s}"),
    )
