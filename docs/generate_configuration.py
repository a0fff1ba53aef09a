"""Write docs/configuration.md from the model: `python -m docs.generate_configuration`.

Keys, types, defaults, reasons and examples come from `h2gate.config.model`; only the words around them are here. A test
fails while the file is not what this would write, and loads all examples.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from h2gate.config import fields, pages, patterns, units, values
from h2gate.config.model import Config
from h2gate.config.model_base import keys_of
from h2gate.config.wording import model_in

FILE = Path(__file__).with_name("configuration.md")

EXAMPLE = """\
workers: auto
control: ${RUNTIME_DIRECTORY:-/run/h2gate}/control.sock

listeners:
  - address: 127.0.0.1:8080
    trusted_proxies: [127.0.0.0/8, "::1"]
  - address: "[::]:8443"
    tls:
      certificates:
        - {cert: tls/site.crt, key: tls/site.key}

backends:
  app:
    endpoints:
      - h2c://127.0.0.1:9000
      - {url: "h2c://127.0.0.1:9001", weight: 2}
    balance: least_requests
    pool: {max_connections: 4, queue_timeout: 2s, stream_window: 512KiB}
  canary:
    endpoints: [h2c+unix:/run/app/canary.sock]
  accounts:
    endpoints: [h2://accounts.internal:8443]
    tls: {ca: tls/backend-ca.pem, server_name: accounts.internal}

routes:
  - match: {path: /app/private/}
    respond: {status: 404}
  - match: {host: app.example.com, path: /app/}
    weights: {app: 95, canary: 5}
    rewrite: {prefix: /}
    response_headers: {set: {Strict-Transport-Security: max-age=31536000}, remove: [X-Powered-By]}
  - match: {path: /accounts/, methods: [GET, POST]}
    backend: accounts
    preserve_host: true
    max_body: 1MiB
    timeouts: {response_head: 5m}
  # As ProxyPass does: /old/x goes to /base/x.
  - match: {path: /old/}
    backend: h2c://127.0.0.1:9002/base/
  - match: {path: "regex:^/v[0-9]+/"}
    backend: app
  - match: {path: exact:/}
    redirect: {to: "https://app.example.com/app/{query}", status: 302}

timeouts: {response_head: 30s, drain: 1m}
limits: {header_list: 16KiB}
retries: {tries: 1, budget: 10%}
error_pages:
  - {status: [502, 503, 504], html: errors/down.html, json: errors/any.json}
access_log: {path: /var/log/h2gate/access.log, format: json}
"""

INTRODUCTION = f"""\
# Configuration

<!-- Written by `python -m docs.generate_configuration` from h2gate/config/model*.py: change those, not this. -->

One YAML file, and those it includes. `h2gate check` reads it as a start or a reload would and says all that is wrong
with it at once, each problem with its file, line and column. A file with a problem never starts the gate and never
replaces a configuration that serves.

```yaml
{EXAMPLE}```

## Values

| what | how it is written |
|---|---|
| duration | a number with `ms`, `s`, `m` or `h`: `250ms`, `1.5s`, `1m`, `1h`. A bare number is refused. |
| size | bytes, or a number with `KiB`, `MiB`, `GiB` (1024) or `kB`, `MB`, `GB` (1000): `65536`, `64KiB`, `10MB`. |
| share | `20%` or `0.2`. |
| file, path | absolute, or relative to the file it is written in. A *file* must be there and readable; \
a *page* is read with the configuration, and has 1 MiB at most. |
| network | `10.0.0.0/8`, `fd00::/8`, or one address. |
| address | `127.0.0.1:8080`, `[::1]:8080`, `*:80` (all IPv4), `[::]:80` (all IPv6), `unix:/path`; never a name. \
Port 0 takes a free port. |
| URL | `h2c://host:port` (clear, port 80 if not given), `h2://host:port` (TLS, 443), `h2c+unix:/path`. |
| host pattern | `app.example.com`, or `*.example.com` for all names below it, at any depth; without a port. |
| path pattern | `/app/` a prefix of whole segments, `exact:/x`, or `regex:^/x[0-9]+$`, a Python regular expression \
that is searched for. The path is normalized before it is compared, and has no query. |
| value pattern | the text that the value is, or `regex:^beta`, which is searched for in it. |
| field | a name as `X-Name`, in any case; Host, Content-Length, Via and those that are for one connection only are \
refused, with the key that does it. A value is one line of text as it is: nothing in it is replaced but `${{ENV}}`. |
| text | anything; in quotes if YAML would read it as a number, `true`, `false` or nothing. `on`, `off`, `yes` and \
`no` are text. |

A backend URL with a path takes the place of the matched prefix, as in Apache's `ProxyPass`: with `path: /app/`,
`/app/x` goes to `/base/x` for `h2c://host/base/`, to `/x` for `h2c://host/`, and stays `/app/x` for `h2c://host`. No
slash is added or removed.

`${{NAME}}` in a value is the environment variable; `${{NAME:-default}}` takes the default if it is not set or empty;
`$$` is a plain `$`. What comes in is read as if it stood there: `workers: ${{N}}` is a number.

`include: conf.d/*.yaml` (a path or pattern, or a list of them, relative to the file) adds the `backends`, `listeners`
and `routes` of other files, in the order of their names. Any other key may be set once in all files. Only the main file
includes.

A key that does nothing is an error: a route that an earlier one hides, a backend that no route uses, a timeout that
nothing waits for.

Behind each key stand its type and its default, what it does, *why* the default is what it is, and an example.
"""

_NAMES = {
    units.Duration: "duration",
    units.Pause: "duration, may be 0",
    units.Size: "size",
    units.Share: "share",
    units.FilePath: "file",
    units.OutputPath: "path",
    units.Network: "network",
    units.Method: "method",
    units.LogFormat: "log format",
    units.EndpointUrl: "URL",
    units.ListenAddress: "address",
    units.HostPattern: "host pattern",
    units.PathPattern: "path pattern",
    values.ValuePattern: "value pattern",
    pages.PageFile: "page",
    fields.FieldNames: "list of fields",
    fields.Fields: "values by field",
    fields.MatchedFields: "value patterns by field",
    fields.CookieDomain: "domain",
    fields.CookiePath: "path",
    fields.IpAddress: "IP address",
    patterns.PathPrefix: "path",
    patterns.Regex: "regular expression",
    patterns.Replacement: "path with groups",
    bool: "`true` or `false`",
    int: "whole number",
    str: "text",
}
_FORMATS: dict[str, Callable[[Any], str]] = {
    "duration": units.format_duration,
    "size": units.format_size,
    "share": units.format_share,
}

# The width of the project's lines.
_WIDTH = 120


def render() -> str:
    """Return the text of docs/configuration.md."""
    sections = list(_sections(Config, "", {}))
    keys = [f"[`{key}`](#{_anchor(key)})" for key, _ in sections[1:]]
    contents = _filled(f"Sections: {', '.join(['[top level](#top-level)', *keys])}.", "", "")
    return "\n".join([INTRODUCTION, contents, "", *(line for _, lines in sections for line in lines)])


def _anchor(key: str) -> str:
    """Return what GitHub makes of a heading."""
    return re.sub(r"[^a-z0-9_-]", "", key.lower())


def _filled(text: str, first: str, next_: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=next_, break_long_words=False, break_on_hyphens=False
    )


def _sections(model: type[BaseModel], key: str, seen: dict[type[BaseModel], str]) -> Iterator[tuple[str, list[str]]]:
    """Yield a model's key and section, then those of the models in it that have none yet."""
    seen[model] = key
    lines = [f"## `{key}`\n" if key else "## Top level\n"]
    if vars(model)["__doc__"] and key:
        lines.append(f"{inspect.cleandoc(model.__doc__)}\n")
    hints = get_type_hints(model, include_extras=True)
    nested = []
    for (name, info), attribute in zip(keys_of(model).items(), model.model_fields, strict=True):
        child = model_in(info.annotation)
        path = f"{key}.{name}".removeprefix(".") + _step(info.annotation)
        if child is not None and child not in seen:
            seen[child] = path
            nested.append((child, path))
        lines += _entry(name, info, hints[attribute], "" if child is None else seen[child])
    yield key, [*lines, ""]
    for child, path in nested:
        yield from _sections(child, path, seen)


def _entry(name: str, info: FieldInfo, hint: Any, section: str) -> Iterator[str]:
    """Yield a key's lines: type and default, what it does, why, an example."""
    kind = _described(hint, f"see [`{section}`](#{_anchor(section)})")
    extra = info.json_schema_extra
    assert isinstance(extra, dict)
    example = str(extra["example"])
    parts = [f"**`{name}`**: {kind}. {_default(info, kind)}", str(info.description), f"*Why:* {extra['why']}"]
    if "\n" not in example:
        parts.append(f"*Example:* `{example}`")
    for number, part in enumerate(parts):
        # A backslash at the end breaks the line (CommonMark, 6.7).
        more = "\\" if number < len(parts) - 1 else ""
        yield _filled(part.rstrip() + more, "  " if number else "- ", "  ")
    if "\n" in example:
        yield "\n" + textwrap.indent(f"```yaml\n{example}\n```", "  ") + "\n"


def _step(annotation: Any) -> str:
    """Return how a path goes on inside a key: `routes[]`, `backends.NAME`."""
    return {tuple: "[]", dict: ".NAME"}.get(get_origin(annotation), "")


def _described(hint: Any, below: str) -> str:
    """Return a type in the operator's words; `below` stands for a model."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        # A unit, perhaps with a range around it: Annotated[Annotated[int, A], B] is Annotated[int, A, B].
        unit = next((name for known, name in _NAMES.items() if arguments[:2] == (*get_args(known),)), None)
        return (unit or _described(arguments[0], below)) + _range(arguments[1:], unit)
    if origin is Literal:
        # Text that looks like a number needs its quotes in YAML.
        return ", ".join(
            f'`"{word}"`' if isinstance(word, str) and re.fullmatch("[0-9.]+", word) else f"`{word}`"
            for word in arguments
        )
    if origin in (Union, UnionType):
        return " or ".join(_described(argument, below) for argument in arguments if argument is not NoneType)
    if origin is tuple:
        item = _described(arguments[0], below)
        noun, comma, rest = item.partition(",")
        return f"list, {item}" if item == below else f"list of {noun}s{comma}{rest}"
    if origin is dict:
        name, value = (_described(argument, below) for argument in arguments)
        return f"by name, {value}" if value == below else f"{value}, by {'name' if name == 'text' else name}"
    return _NAMES.get(hint, below)


def _range(metadata: tuple[Any, ...], unit: str | None) -> str:
    limits = [limit for info in metadata if isinstance(info, FieldInfo) for limit in info.metadata]
    write = _FORMATS.get(unit or "", str)
    words = [f"from {write(limit.ge)}" for limit in limits if isinstance(limit, Ge)]
    words += [f"to {write(limit.le)}" for limit in limits if isinstance(limit, Le)]
    return f", {' '.join(words)}" if words else ""


def _default(info: FieldInfo, kind: str) -> str:
    value = info.default
    if info.is_required():
        return "Required."
    if value is None or value == () or value == {} or isinstance(value, BaseModel) or value == "":
        return ""
    if isinstance(value, bool):
        return f"Default `{str(value).lower()}`."
    if '`"' in kind:
        return f'Default `"{value}"`.'
    return f"Default `{_FORMATS.get(kind.partition(',')[0], str)(value)}`."


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
