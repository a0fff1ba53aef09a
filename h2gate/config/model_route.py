"""Routes: a match and where it leads, and what is done to requests and responses on the way."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from h2gate.config.fields import CookieDomain, CookiePath, FieldNames, Fields, MatchedFields
from h2gate.config.model_base import Model, told
from h2gate.config.pages import PageFile
from h2gate.config.patterns import PathPrefix, Regex, Replacement
from h2gate.config.units import Duration, HostPattern, Method, PathPattern, Share, Size
from h2gate.config.values import ValuePattern

ErrorStatus = Annotated[int, Field(ge=400, le=599)]


class Match(Model):
    host: HostPattern | None = Field(
        default=None,
        description="`app.example.com` or `*.example.com`; any host if not given.",
        json_schema_extra=told("A gate for one site needs no names.", 'host: "*.example.com"'),
    )
    path: PathPattern = Field(
        default=PathPattern.parse("/"),
        description="`/app/` prefix of whole segments, `exact:/x`, or `regex:^/x[0-9]+$`.",
        json_schema_extra=told("All paths begin with it.", "path: /app/"),
    )
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Methods, upper case; any if not given.",
        json_schema_extra=told("Backends know best which methods they have.", "methods: [GET, HEAD]"),
    )
    headers: MatchedFields = Field(
        default={},
        description="Fields that must be there, and their values: text, or `regex:^beta`; `X-Forwarded-*` and the like "
        "count only from trusted proxies.",
        json_schema_extra=told("Host and path tell most routes apart.", "headers: {X-Stage: regex:^beta}"),
    )
    query: dict[str, ValuePattern] = Field(
        default={},
        description="Parameters of the query that must be there, and their values, decoded.",
        json_schema_extra=told("The query is the application's own business.", 'query: {version: "2"}'),
    )


class Respond(Model):
    status: Annotated[int, Field(ge=200, le=599)] = Field(
        description="Status to answer with.",
        json_schema_extra=told("What is meant, a 200 or a 404, only the operator knows.", "status: 404"),
    )
    body: str = Field(
        default="",
        description="Text of the answer. An error without it has the body of any error, from `error_pages` perhaps.",
        json_schema_extra=told(
            "A status says it all to most clients, and errors have their pages.", '{status: 200, body: "ok\\n"}'
        ),
    )


class Redirect(Model):
    to: str = Field(
        description="Location; `{path}` is what follows the matched prefix, `{query}` the query with its `?`.",
        json_schema_extra=told("A redirect leads somewhere.", 'to: "https://www.example.com{path}{query}"'),
    )
    status: Literal[301, 302, 303, 307, 308] = Field(
        default=308,
        description="Status to answer with.",
        json_schema_extra=told(
            "308 keeps the method, and may be remembered (RFC 9110, 15.4.9); 301 turns POST into GET in browsers.",
            "{to: /elsewhere, status: 302}",
        ),
    )


class Rewrite(Model):
    """Another path for the backend: `prefix` takes the matched prefix's place, or `regex` and `to`."""

    prefix: PathPrefix | None = Field(
        default=None,
        description="What takes the place of the matched prefix.",
        json_schema_extra=told(
            "The path of a backend's URL does the same; this is for a named backend.", "prefix: /v2/"
        ),
    )
    regex: Regex | None = Field(
        default=None,
        description="Regular expression that is searched for in the path.",
        json_schema_extra=told(
            "A prefix costs nothing, and is easier to read.", "{regex: '^/user/([0-9]+)', to: '/people/\\1'}"
        ),
    )
    to: Replacement | None = Field(
        default=None,
        description="What takes the place of the regex's match; `\\1` is its group.",
        json_schema_extra=told("It goes with `regex`.", "{regex: '\\.(?P<kind>png|jpg)$', to: '.\\g<kind>.webp'}"),
    )


class FieldRules(Model):
    """Fields of a head: removed first, then set, then added."""

    remove: FieldNames = Field(
        default=(),
        description="Names of fields to take off.",
        json_schema_extra=told(
            "What a client or backend says passes, but for what is for one connection only.",
            "remove: [X-Powered-By, Server]",
        ),
    )
    set: Fields = Field(
        default={},
        description="Fields that take the place of all of their name.",
        json_schema_extra=told("The gate's own fields are told by `forwarding`.", "set: {X-Frame-Options: DENY}"),
    )
    add: Fields = Field(
        default={},
        description="Fields to put on beside those of their name.",
        json_schema_extra=told("As `set`.", "add: {Cache-Control: no-transform}"),
    )


class RouteTimeouts(Model):
    """Of one route; what is not given is as in `timeouts`."""

    request_body: Duration | None = Field(
        default=None,
        description="Between two pieces of a request body: 408.",
        json_schema_extra=told("As in `timeouts`.", "request_body: 5m"),
    )
    response_head: Duration | None = Field(
        default=None,
        description="From the last progress of the request to the response's head: 504.",
        json_schema_extra=told("As in `timeouts`; reports and exports take longer.", "response_head: 5m"),
    )
    response_idle: Duration | None = Field(
        default=None,
        description="Between two pieces of a response.",
        json_schema_extra=told("As in `timeouts`; event streams may be silent for longer.", "response_idle: 1h"),
    )
    tunnel_idle: Duration | None = Field(
        default=None,
        description="A WebSocket in which nothing moves is cut off.",
        json_schema_extra=told("As in `timeouts`.", "tunnel_idle: 5m"),
    )


class RouteRetries(Model):
    tries: Annotated[int, Field(ge=0, le=10)] = Field(
        description="How often a request that was not processed is sent again.",
        json_schema_extra=told("It is all there is to say about a route's retries.", "tries: 0"),
    )


class Mirror(Model):
    """Send a copy of requests elsewhere; what is answered there is dropped."""

    backend: str = Field(
        description="A name under `backends`, or a URL.",
        json_schema_extra=told("A copy goes somewhere.", "backend: h2c://10.0.0.9:9000"),
    )
    share: Share = Field(
        default=1.0,
        description="Share of the route's requests.",
        json_schema_extra=told("Who tries a new version wants to see what comes.", "{backend: canary, share: 5%}"),
    )


class ErrorPage(Model):
    """Bodies of the errors that the gate answers with: its own, those of `respond`, those it overrides.

    Which one a client gets is chosen by its Accept; one without it gets the first that is here of text, html and json.
    `{status}`, `{reason}` (the status in words) and `{request_id}` in a file are replaced. gRPC clients get the status
    as `grpc-status` instead.
    """

    status: tuple[ErrorStatus, ...] = Field(
        default=(),
        description="Statuses the page is for; all if not given.",
        json_schema_extra=told("One page will do for most sites.", "{status: [502, 503, 504], html: errors/down.html}"),
    )
    html: PageFile | None = Field(
        default=None,
        description="Page in HTML.",
        json_schema_extra=told("The gate's own line of text says the same.", "html: errors/any.html"),
    )
    json_: PageFile | None = Field(
        default=None,
        alias="json",
        description="Body in JSON.",
        json_schema_extra=told(
            "The gate's own line of text says the same.", "{html: errors/any.html, json: errors/any.json}"
        ),
    )
    text: PageFile | None = Field(
        default=None,
        description="Body in plain text.",
        json_schema_extra=told("The gate's own line of text says the same.", "text: errors/any.txt"),
    )


class Route(Model):
    """A match and where it leads: exactly one of `backend`, `weights`, `respond`, `redirect`."""

    match: Match = Field(
        default=Match(),
        description="What the route is for; first match wins.",
        json_schema_extra=told(
            "A route without it takes all that is left.", "match: {host: app.example.com, path: /app/}"
        ),
    )
    backend: str | None = Field(
        default=None,
        description="A name under `backends`, or a URL; a URL's path takes the matched prefix's place, "
        "as in ProxyPass.",
        json_schema_extra=told("It is one of four ways.", "match: {path: /app/}\nbackend: h2c://127.0.0.1:9000/base/"),
    )
    weights: dict[str, Annotated[int, Field(ge=0, le=1000)]] = Field(
        default={},
        description="Several backends by name or URL, and the share of each: `{app: 95, canary: 5}`.",
        json_schema_extra=told("Most routes have one backend.", "weights: {app: 95, canary: 5}"),
    )
    respond: Respond | None = Field(
        default=None,
        description="Answer without a backend.",
        json_schema_extra=told("It is one of four ways.", "match: {path: /private/}\nrespond: {status: 404}"),
    )
    redirect: Redirect | None = Field(
        default=None,
        description="Send the client elsewhere.",
        json_schema_extra=told("It is one of four ways.", 'match: {path: /old/}\nredirect: {to: "/new/{path}{query}"}'),
    )
    preserve_host: bool = Field(
        default=False,
        description="Send the client's authority to the backend, not the endpoint's.",
        json_schema_extra=told(
            "As ProxyPreserveHost. The client's is in X-Forwarded-Host, and URLs are mapped back in both cases.",
            "preserve_host: true",
        ),
    )
    rewrite: Rewrite | None = Field(
        default=None,
        description="Another path for the backend.",
        json_schema_extra=told(
            "Backends that know their place need none.", "match: {path: /v1/}\nrewrite: {prefix: /api/v1/}"
        ),
    )
    request_headers: FieldRules = Field(
        default=FieldRules(),
        description="Changes to the request's fields.",
        json_schema_extra=told("Requests pass as they are.", "request_headers: {set: {X-Tenant: blue}}"),
    )
    response_headers: FieldRules = Field(
        default=FieldRules(),
        description="Changes to the response's fields, also where the gate itself answers.",
        json_schema_extra=told(
            "Responses pass as they are.", "response_headers: {set: {Strict-Transport-Security: max-age=31536000}}"
        ),
    )
    cookie_domain: dict[CookieDomain, CookieDomain] = Field(
        default={},
        description="Domains in Set-Cookie: the backend's, and what the client gets.",
        json_schema_extra=told(
            "The backend's own host becomes the client's by itself.", "cookie_domain: {internal.example: example.com}"
        ),
    )
    cookie_path: dict[CookiePath, CookiePath] = Field(
        default={},
        description="Paths in Set-Cookie: how the backend's begins, and what the client gets in its place.",
        json_schema_extra=told(
            "The path of the backend's URL becomes the matched prefix by itself.",
            "cookie_path: {/session/: /app/session/}",
        ),
    )
    timeouts: RouteTimeouts = Field(
        default=RouteTimeouts(),
        description="Deadlines of this route.",
        json_schema_extra=told("Those of `timeouts` will do.", "timeouts: {response_head: 5m}"),
    )
    retries: RouteRetries | None = Field(
        default=None,
        description="Retries of this route.",
        json_schema_extra=told("As in `retries`.", "retries: {tries: 0}"),
    )
    max_body: Annotated[Size, Field(ge=1)] | None = Field(
        default=None,
        description="Bytes of a request body: 413; as in `limits` if not given.",
        json_schema_extra=told("As in `limits`.", "max_body: 10MiB"),
    )
    error_override: bool | tuple[ErrorStatus, ...] = Field(
        default=False,
        description="Answer these statuses of the backend with the gate's own page; `true` is all from 400 to 599.",
        json_schema_extra=told(
            "A backend's error tells its own clients more. As ProxyErrorOverride.", "error_override: [502, 503]"
        ),
    )
    error_pages: tuple[ErrorPage, ...] = Field(
        default=(),
        description="Before those of the top level.",
        json_schema_extra=told(
            "Those of the top level will do.", "error_pages: [{status: [404], html: errors/404.html}]"
        ),
    )
    mirror: Mirror | None = Field(
        default=None,
        description="Send a copy of requests elsewhere.",
        json_schema_extra=told("It doubles the work.", "mirror: {backend: canary, share: 10%}"),
    )
    websocket: bool = Field(
        default=True,
        description="Let WebSockets through, as extended CONNECT (RFC 8441).",
        json_schema_extra=told(
            "A backend that has none says so in its SETTINGS, and the client gets 501.", "websocket: false"
        ),
    )
    early_hints: Literal["forward", "push", "off"] = Field(
        default="forward",
        description="What becomes of 103 heads; `push` also pushes what `Link: rel=preload` names, to HTTP/2 clients "
        "that allow it.",
        json_schema_extra=told("Browsers take hints, and most of them no pushes any more.", "early_hints: push"),
    )
    access_log: bool = Field(
        default=True,
        description="Whether the route's exchanges are logged.",
        json_schema_extra=told(
            "What is not logged cannot be explained later; health checks may go without.", "access_log: false"
        ),
    )
