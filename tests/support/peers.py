"""Real backends, each with the same few resources: a small file, files of 1 and 10 MiB, where it can an echo.

Rule: none of them is a service of the system; each is started here on ports of its own, and ended by its pid.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from tests.support.certificates import Site
from tests.support.pattern import body
from tests.support.ports import HeldPort, is_listening
from tests.support.processes import Process
from tests.support.waiting import wait_until

MIB = 1024 * 1024
SMALL = b"small\n"
SIZES = (MIB, 10 * MIB)
# Debian puts daemons where only root's path leads.
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
SUPPORT = Path(__file__).parent
APACHE_MODULES = Path("/usr/lib/apache2/modules")
START_SECONDS = 20.0


def program(name: str) -> str:
    """Return the path of a program that tests/install-peers.sh installs."""
    found = shutil.which(name, path=PATH)
    assert found is not None, f"{name} is missing: tests/install-peers.sh"
    return found


class Peer(ABC):
    """A running backend: h2c on `port`, h2 over TLS on `tls_port` with the certificate of its site.

    `small` is the path of SMALL, `large` that of the pattern of so many bytes. `echo` gives a POST's body back.
    """

    small = "/small"
    large = "/bytes/{size}"
    echo = "/echo"
    port: int
    tls_port: int
    process: Process

    @property
    def url(self) -> str:
        return f"h2c://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"h2://localhost:{self.tls_port}"

    @contextlib.contextmanager
    @abstractmethod
    def running(self, directory: Path, site: Site) -> Iterator[None]:
        """Run it, with files of its own in `directory`."""
        yield

    def _wait_until_listening(self) -> None:
        for port in (self.port, self.tls_port):
            wait_until(
                f"{self.process.name} listens on {port}", lambda port=port: self._is_listening(port), START_SECONDS
            )

    def _is_listening(self, port: int) -> bool:
        assert self.process.exit_code is None, f"{self.process.name} did not start\n{self.process.describe()}"
        return is_listening(("127.0.0.1", port))


class Announcing(Peer):
    """One that prints its ports as JSON in its first line. If `is_quiet` it may not say anything on stderr."""

    name: str
    is_quiet = True

    @abstractmethod
    def command(self, options: str) -> list[str | Path]: ...

    @contextlib.contextmanager
    def running(self, directory: Path, site: Site) -> Iterator[None]:
        options = json.dumps({"cert": str(site.cert), "key": str(site.key)})
        with Process(self.command(options), directory, name=self.name) as self.process:
            ports = wait_until(f"{self.name} says its ports", self.lines, START_SECONDS)[0]
            self.port, self.tls_port = ports["clear"], ports["tls"]
            yield
        assert not (self.is_quiet and self.process.stderr), f"{self.name} complained:\n{self.process.stderr}"

    def lines(self) -> list[dict[str, object]]:
        """Return the whole lines of its output."""
        assert self.process.exit_code is None, f"{self.name} ended\n{self.process.describe()}"
        return [json.loads(line) for line in self.process.stdout.split("\n")[:-1]]


class NodeSite(Announcing):
    name = "node_site"

    def command(self, options: str) -> list[str | Path]:
        return [program("node"), SUPPORT / "node_site.js", options]


class Hypercorn(Announcing):
    name = "hypercorn"

    def command(self, options: str) -> list[str | Path]:
        return [sys.executable, "-m", "tests.support.hypercorn_app", options]


class HypercornForWebSockets(Hypercorn):
    """Hypercorn 0.18 forgets a WebSocket's stream as soon as both close frames have passed, without an end of its own.

    The END_STREAM that comes then raises KeyError and costs the whole connection: each WebSocket needs one of its own.
    """

    is_quiet = False


class Nghttpd(Peer):
    """Two of them: one process speaks either TLS or not."""

    small = "/small"
    large = "/{size}"
    echo = "/"

    @contextlib.contextmanager
    def running(self, directory: Path, site: Site) -> Iterator[None]:
        root = _files_in(directory / "nghttpd")
        ports = [HeldPort(), HeldPort()]
        self.port, self.tls_port = (port.number for port in ports)
        for port in ports:
            # It binds without SO_REUSEADDR, beside no holder of the port.
            port.release()
        common = [program("nghttpd"), "--address=127.0.0.1", f"--htdocs={root}", "--echo-upload"]
        with (
            Process([*common, "--no-tls", str(self.port)], directory, name="nghttpd-clear") as self.process,
            Process([*common, str(self.tls_port), site.key, site.cert], directory, name="nghttpd-tls"),
        ):
            self._wait_until_listening()
            yield


class Apache(Peer):
    """Apache 2.4 with mod_http2, and a CGI program for the echo (mod_reflector answers HTTP/2 with nothing)."""

    small = "/small"
    large = "/{size}"
    echo = "/echo"
    _MODULES = ("mpm_event", "authz_core", "cgid", "http2", "mime", "socache_shmcb", "ssl")
    _CONFIG = """\
ServerRoot {directory}
ServerName localhost
DefaultRuntimeDir {directory}
Mutex file:{directory} default
PidFile {directory}/apache.pid
ErrorLog {directory}/error.log
LogLevel warn
{user}
{modules}
StartServers 1
ServerLimit 1
ThreadsPerChild 32
MaxRequestWorkers 32
MinSpareThreads 1
MaxSpareThreads 32
TypesConfig /dev/null
Protocols h2 h2c http/1.1
Listen 127.0.0.1:{port}
Listen 127.0.0.1:{tls_port}
DocumentRoot {root}
ScriptSock {directory}/cgid.sock
<Location /echo>
SetHandler cgi-script
Options ExecCGI
</Location>
<VirtualHost 127.0.0.1:{tls_port}>
SSLEngine on
SSLCertificateFile {cert}
SSLCertificateKeyFile {key}
</VirtualHost>
"""

    # Apache reads what the program says only when all of the body is given: it must not echo before.
    _ECHO = """\
#!/bin/sh
set -e
body=$(mktemp)
trap 'rm "$body"' EXIT
cat >"$body"
printf 'Content-Type: application/octet-stream\\r\\n\\r\\n'
cat "$body"
"""

    @contextlib.contextmanager
    def running(self, directory: Path, site: Site) -> Iterator[None]:
        # Started by root, it reads the files as another user, to whom pytest's directories are closed.
        with tempfile.TemporaryDirectory(prefix="h2gate-apache-") as own, contextlib.ExitStack() as stack:
            place = Path(own)
            place.chmod(0o755)
            ports = [HeldPort(), HeldPort()]
            for port in ports:
                stack.callback(port.release)
            self.port, self.tls_port = (port.number for port in ports)
            root = _files_in(place / "files")
            (root / "echo").write_text(self._ECHO)
            (root / "echo").chmod(0o755)
            config = place / "apache.conf"
            config.write_text(
                self._CONFIG.format(
                    directory=place,
                    root=root,
                    user="User nobody\nGroup nogroup" if os.geteuid() == 0 else "",
                    modules="\n".join(
                        f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in self._MODULES
                    ),
                    port=self.port,
                    tls_port=self.tls_port,
                    cert=site.cert,
                    key=site.key,
                )
            )
            command: list[str | Path] = [program("apache2"), "-f", config, "-DFOREGROUND"]
            self.process = stack.enter_context(Process(command, directory, name="apache2"))
            try:
                self._wait_until_listening()
                yield
            except BaseException as error:
                log = place / "error.log"
                error.add_note(f"Apache's error log:\n{log.read_text() if log.exists() else 'none'}")
                raise


def _files_in(directory: Path) -> Path:
    """Make the files that every server of files serves."""
    directory.mkdir(mode=0o755)
    (directory / "small").write_bytes(SMALL)
    for size in SIZES:
        (directory / str(size)).write_bytes(body(size))
    return directory
