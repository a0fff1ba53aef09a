"""Listeners: where clients come in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from h2gate.config.model_base import Model, told
from h2gate.config.units import FilePath, ListenAddress, Network


class Certificate(Model):
    """A certificate chain and its key, PEM."""

    cert: FilePath = Field(
        description="Certificate chain, PEM, leaf first.",
        json_schema_extra=told(
            "The gate makes none of its own. It is read again with each reload.",
            "{cert: tls/site.crt, key: tls/site.key}",
        ),
    )
    key: FilePath = Field(
        description="Private key, PEM, unencrypted.",
        json_schema_extra=told(
            "There would be nobody to ask for a passphrase at a reload at night.",
            "{cert: tls/site.crt, key: /run/credentials/h2gate.service/site.key}",
        ),
    )


class ListenerTls(Model):
    certificates: Annotated[tuple[Certificate, ...], Field(min_length=1)] = Field(
        description="Chosen by SNI among their subject alternative names; the first serves all other names. A request "
        "for a host that the client did not name by SNI, and that its certificate is not for, is 421.",
        json_schema_extra=told(
            "TLS without a certificate serves nobody.", "certificates: [{cert: tls/site.crt, key: tls/site.key}]"
        ),
    )
    min_version: Literal["1.2", "1.3"] = Field(
        default="1.2",
        description="Lowest TLS version accepted.",
        json_schema_extra=told(
            "HTTP/2 needs it (RFC 9113, 9.2), and what is older is deprecated (RFC 8996). nginx, HAProxy and nghttpx "
            "say the same.",
            'min_version: "1.3"',
        ),
    )
    client_ca: FilePath | None = Field(
        default=None,
        description="CA bundle, PEM: clients are asked for a certificate, whose identity goes on as "
        "X-Forwarded-Client-Cert.",
        json_schema_extra=told(
            "Browsers bother their users when they are asked for a certificate.", "client_ca: tls/clients.pem"
        ),
    )
    client_auth: Literal["require", "optional"] = Field(
        default="require",
        description="Whether a client without a certificate is refused; needs `client_ca`. One whose certificate is "
        "not valid is refused in both cases.",
        json_schema_extra=told(
            "Who names a CA wants to know the clients; what lets others in is asked for.",
            "client_ca: tls/clients.pem\nclient_auth: optional",
        ),
    )


class Listener(Model):
    address: ListenAddress = Field(
        description="`127.0.0.1:8080`, `[::]:80` (IPv6 only), `*:80` (IPv4) or `unix:/path`.",
        json_schema_extra=told(
            "A port that opens by itself would be a surprise. Names are not taken: what one stands for may change "
            "between two reloads.",
            'address: "[::1]:8080"',
        ),
    )
    tls: ListenerTls | None = Field(
        default=None,
        description="Serve TLS; without it HTTP/1.1 and HTTP/2 in clear. A client that offers by ALPN neither `h2` nor "
        "`http/1.1` is refused; one that offers nothing gets HTTP/1.1.",
        json_schema_extra=told(
            "It takes a certificate.", "tls: {certificates: [{cert: tls/site.crt, key: tls/site.key}]}"
        ),
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="Networks whose X-Forwarded-*, Forwarded and PROXY headers are believed. With any of them, so are "
        "the fields of whoever may connect to a unix socket.",
        json_schema_extra=told(
            "Anybody can write these headers. Caddy and Traefik trust nobody either unless told so.",
            'trusted_proxies: [10.0.0.0/8, "::1"]',
        ),
    )
    proxy_protocol: Literal["off", "v1", "v2", "any"] = Field(
        default="off",
        description="Connections begin with a PROXY header, before TLS, which tells the client's address; only "
        "`trusted_proxies` may connect, and to a unix socket whoever may open it. The fields of a client whose address "
        "it does not tell are not believed.",
        json_schema_extra=told(
            "Clients that come by themselves send none. Who accepts both lets clients choose their address; so it is "
            "all or nothing for a listener.",
            "proxy_protocol: v2\ntrusted_proxies: [10.0.0.0/8]",
        ),
    )
    backlog: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=4096,
        description="Length of the accept queue.",
        json_schema_extra=told(
            "Linux allows as much since 5.4 (`net.core.somaxconn`), and takes the smaller of the two.", "backlog: 1024"
        ),
    )
