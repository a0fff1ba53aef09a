"""Who is measured: h2gate with either engine, and the peers, each on one core with one worker.

A gate writes its configuration into the directory it is given, and nothing anywhere else. All have a clear listener
(HTTP/1.1 and HTTP/2) and a TLS one, and one backend: h2c. The peers log nothing; h2gate has its defaults, so its access
log is on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import REPOSITORY

PEERS = REPOSITORY / "bench" / ".peers"
# Debian puts daemons where only root looks.
SEARCH_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
APACHE_MODULES = Path("/usr/lib/apache2/modules")


@dataclass(frozen=True)
class Place:
    """What a gate is given to work with."""

    directory: Path
    clear_port: int
    tls_port: int
    backend_port: int
    cert: Path
    key: Path
    h2gate: dict[str, Any] = field(default_factory=dict)  # keys of h2gate's config that a measurement needs otherwise

    def write(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return str(path)


class Gate(ABC):
    key: str
    title: str
    stop_by = signal.SIGTERM

    @abstractmethod
    def command(self, place: Place) -> list[str]:
        """Write the configuration and return what starts the gate, in the foreground."""

    @abstractmethod
    def missing(self) -> str | None:
        """Return what is not installed, or None."""

    @abstractmethod
    def version(self) -> str: ...


class H2gate(Gate):
    stop_by = signal.SIGINT  # at once: nobody waits for a drain

    def __init__(self, engine: str) -> None:
        self.key = engine
        self.engine = engine
        self.title = f"h2gate {engine}"

    def command(self, place: Place) -> list[str]:
        config = {
            "workers": 1,
            "engine": self.engine,
            "control": str(place.directory / f"{self.key}.sock"),
            "listeners": [
                {"address": f"127.0.0.1:{place.clear_port}"},
                {
                    "address": f"127.0.0.1:{place.tls_port}",
                    "tls": {"certificates": [{"cert": str(place.cert), "key": str(place.key)}]},
                },
            ],
            "backends": {"b": {"endpoints": [f"h2c://127.0.0.1:{place.backend_port}"]}},
            "routes": [{"match": {"path": "/"}, "backend": "b"}],
            **place.h2gate,
        }
        # JSON is YAML.
        path = place.write(f"{self.key}.yaml", json.dumps(config, indent=2))
        return [sys.executable, "-m", "h2gate", "run", "--config", path]

    def missing(self) -> str | None:
        # An engine that is not built makes the gate refuse to start, and say why: that is the reason shown.
        return None

    def version(self) -> str:
        return _first_line([sys.executable, "-m", "h2gate", "--version"])


class Apache(Gate):
    key = "apache"
    title = "Apache"
    # One process with threads, as the event MPM is meant: a thread for each of the most connections a row has.
    _CONFIG = """\
ServerRoot {directory}
ServerName localhost
DefaultRuntimeDir {directory}
Mutex file:{directory} default
PidFile {directory}/apache.pid
ErrorLog {directory}/apache-error.log
LogLevel error
{user}
{modules}
StartServers 1
ServerLimit 1
ThreadLimit 128
ThreadsPerChild 128
MinSpareThreads 1
MaxSpareThreads 128
MaxRequestWorkers 128
KeepAlive On
MaxKeepAliveRequests 0
AsyncRequestWorkerFactor 100
KeepAliveTimeout 600
Protocols h2 h2c http/1.1
Listen 127.0.0.1:{clear_port}
Listen 127.0.0.1:{tls_port}
ProxyPass / h2c://127.0.0.1:{backend_port}/
<VirtualHost 127.0.0.1:{tls_port}>
SSLEngine on
SSLCertificateFile {cert}
SSLCertificateKeyFile {key}
ProxyPass / h2c://127.0.0.1:{backend_port}/
</VirtualHost>
"""
    _MODULES = ("mpm_event", "authz_core", "http2", "proxy", "proxy_http2", "ssl", "socache_shmcb")

    def command(self, place: Place) -> list[str]:
        modules = [f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in self._MODULES]
        # What Apache insists on when root starts it.
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        text = self._CONFIG.format(
            directory=place.directory,
            user=user,
            modules="\n".join(modules),
            clear_port=place.clear_port,
            tls_port=place.tls_port,
            backend_port=place.backend_port,
            cert=place.cert,
            key=place.key,
        )
        return [_program("apache2"), "-f", place.write("apache.conf", text), "-DFOREGROUND"]

    def missing(self) -> str | None:
        if absent := _absent("apache2", "apache2-bin"):
            return absent
        return None if (APACHE_MODULES / "mod_proxy_http2.so").exists() else "mod_proxy_http2 is not installed"

    def version(self) -> str:
        return _first_line([_program("apache2"), "-v"])


class HAProxy(Gate):
    key = "haproxy"
    title = "HAProxy"
    # http-reuse always: requests of different clients share backend connections, as they do in the other gates.
    _CONFIG = """\
global
    nbthread 1
    maxconn 20000
    # It would not start where fewer descriptors are allowed.
    no strict-limits
defaults
    mode http
    timeout connect 5s
    timeout client 10m
    timeout server 60s
    http-reuse always
frontend f
    bind 127.0.0.1:{clear_port}
    bind 127.0.0.1:{tls_port} ssl crt {pem} alpn h2,http/1.1
    default_backend b
backend b
    server b 127.0.0.1:{backend_port} proto h2
"""

    def command(self, place: Place) -> list[str]:
        pem = place.write("haproxy.pem", place.cert.read_text() + place.key.read_text())
        text = self._CONFIG.format(
            clear_port=place.clear_port, tls_port=place.tls_port, backend_port=place.backend_port, pem=pem
        )
        return [_program("haproxy"), "-db", "-f", place.write("haproxy.cfg", text)]

    def missing(self) -> str | None:
        return _absent("haproxy", "haproxy")

    def version(self) -> str:
        return _first_line([_program("haproxy"), "-v"])


class Nghttpx(Gate):
    key = "nghttpx"
    title = "nghttpx"

    def command(self, place: Place) -> list[str]:
        return [
            _program("nghttpx"),
            f"--conf={place.write('nghttpx.conf', '')}",
            f"--frontend=127.0.0.1,{place.clear_port};no-tls",
            f"--frontend=127.0.0.1,{place.tls_port}",
            f"--backend=127.0.0.1,{place.backend_port};;proto=h2",
            "--workers=1",
            "--frontend-http2-read-timeout=600",
            "--frontend-keep-alive-timeout=600",
            "--no-ocsp",
            str(place.key),
            str(place.cert),
        ]

    def missing(self) -> str | None:
        return _absent("nghttpx", "nghttp2-proxy")

    def version(self) -> str:
        return _first_line([_program("nghttpx"), "--version"])


class Envoy(Gate):
    key = "envoy"
    title = "Envoy"

    def command(self, place: Place) -> list[str]:
        path = place.write("envoy.yaml", json.dumps(self._config(place), indent=2))
        return [_envoy() or "envoy", "-c", path, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]

    def _config(self, place: Place) -> dict[str, Any]:
        types = "type.googleapis.com/envoy.extensions."
        manager = {
            "@type": types + "filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "bench",
            "route_config": {
                "virtual_hosts": [
                    {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "b"}}]}
                ]
            },
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": types + "filters.http.router.v3.Router"},
                }
            ],
        }
        filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
        pair = {"certificate_chain": {"filename": str(place.cert)}, "private_key": {"filename": str(place.key)}}
        tls = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": types + "transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificates": [pair], "alpn_protocols": ["h2", "http/1.1"]},
            },
        }
        return {
            "static_resources": {
                "listeners": [
                    {"address": _socket_address(place.clear_port), "filter_chains": [{"filters": filters}]},
                    {
                        "address": _socket_address(place.tls_port),
                        "filter_chains": [{"filters": filters, "transport_socket": tls}],
                    },
                ],
                "clusters": [
                    {
                        "name": "b",
                        "type": "STATIC",
                        "load_assignment": {
                            "cluster_name": "b",
                            "endpoints": [
                                {"lb_endpoints": [{"endpoint": {"address": _socket_address(place.backend_port)}}]}
                            ],
                        },
                        "typed_extension_protocol_options": {
                            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                                "@type": types + "upstreams.http.v3.HttpProtocolOptions",
                                "explicit_http_config": {"http2_protocol_options": {}},
                            }
                        },
                    }
                ],
            }
        }

    def missing(self) -> str | None:
        return None if _envoy() else "envoy is not installed: `make bench-peers` puts it into bench/.peers"

    def version(self) -> str:
        line = _first_line([_envoy() or "envoy", "--version"])
        found = re.search(r"version: \w+/([\d.]+)", line)
        return f"Envoy {found[1]}" if found else line


GATES: tuple[Gate, ...] = (H2gate("native"), H2gate("python"), Envoy(), Nghttpx(), HAProxy(), Apache())
BY_KEY = {gate.key: gate for gate in GATES}


def _envoy() -> str | None:
    for path in sorted(PEERS.glob("lib/python*/site-packages/*/_bin/envoy")):
        return str(path)
    return shutil.which("envoy", path=SEARCH_PATH)


def _socket_address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _program(name: str) -> str:
    return shutil.which(name, path=SEARCH_PATH) or name


def _absent(program: str, package: str) -> str | None:
    if shutil.which(program, path=SEARCH_PATH):
        return None
    return f"{program} is not installed (Debian package {package}, or `make bench-peers`)"


def _first_line(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, cwd=REPOSITORY)
    except OSError as error:
        return str(error)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    # "Server version: Apache/2.4.66 (Debian)", "HAProxy version 2.6.12-1 2025/... - https://..."
    return re.sub(r"^Server version: | \d{4}/\d\d/\d\d - .*", "", lines[0]) if lines else "unknown"
