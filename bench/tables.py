"""The figures as Markdown, from a run's raw results and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from bench.gates import GATES
from bench.rows import BY_KEY, ROWS, Row

Raw = dict[str, Any]
TITLES = {gate.key: gate.title for gate in GATES}
OURS = ("native", "python")
PICTURE = "performance.svg"  # beside the page; `publish` draws it
NOT_MEASURED = "Not measured in this run."
MINUS = "–"  # noqa: RUF001 - a dash for an empty cell
TIMES = "×"  # noqa: RUF001


def page(raw: Raw) -> str:
    """Return all tables as one document."""
    parts = ["# Benchmark", "", about(raw), ""]
    for name, title in SECTIONS.items():
        parts += [f"## {title}", "", written(name, raw), ""]
    return "\n".join(parts)


def written(name: str, raw: Raw) -> str:
    """Return the table of that name, or why there is none. Raises KeyError for a name that no table has."""
    text = TABLES[name](raw)
    reason = raw.get("failed_parts", {}).get(name)
    return f"{NOT_MEASURED[:-1]}: {reason}." if reason and text == NOT_MEASURED else text


# --- arithmetic ---


def cost(run: Raw) -> float:
    """Return microseconds of CPU per request of one run."""
    seconds: float = run["cpu_seconds"]
    requests: int = run["requests"]
    return 1e6 * seconds / requests if requests else 0.0


def costs(rounds: Iterable[Raw]) -> list[float]:
    return [cost(run) for run in rounds if run["requests"]]


def cell_of(raw: Raw, row: str, gate: str) -> Raw | None:
    return next((cell for cell in raw.get("cost", ()) if (cell["row"], cell["gate"]) == (row, gate)), None)


def median_cost(raw: Raw, row: str, gate: str) -> float | None:
    """Return the median cost of a cell; None for one that failed or was not measured."""
    cell = cell_of(raw, row, gate)
    values = costs(cell["rounds"]) if cell and "error" not in cell else []
    return median(values) if values else None


def failures(cell: Raw) -> int:
    count: int = sum(run["failed"] for run in cell["rounds"])
    return count


def speedup(entries: Sequence[Raw]) -> float:
    """Return what two workers on cores of their own give, from their CPU per request and their shares of the work."""
    one, two = (median(costs(entry["rounds"])) for entry in entries)
    busiest: float = median(entries[1]["busiest_share"])
    return one / two / busiest


# --- the way figures are written ---


def figure(value: float | None, unit: str = "") -> str:
    """Write three significant digits, as many as the runs agree on."""
    if value is None:
        return MINUS
    # Below the value that would round to a digit more.
    text = f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
    return f"{text} {unit}".rstrip()


def duration(seconds: float | None) -> str:
    if seconds is None:
        return MINUS
    return figure(seconds * 1e3, "ms") if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"


def thousands(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is text and the others figures."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in body]
    return "\n".join(lines)


# --- the tables ---


def about(raw: Raw) -> str:
    machine, settings, versions = raw["machine"], raw["settings"], raw["versions"]
    lines = [
        f"Measured on {raw['date'][:10]}: {machine['cpu']}, {machine['cpus']} cores,"
        f" {machine['memory'] / 2**30:.0f} GiB, {machine['system']}, Linux {machine['kernel']},"
        f" Python {machine['python']}.",
        f"Each figure is the median of {settings['rounds']} runs of {settings['seconds']:g} s"
        + (" (the quick form)." if settings["quick"] else "."),
    ]
    if raw.get("commit"):
        lines.append(f"Commit {raw['commit'].rstrip('+')}{', with changes' if raw['commit'].endswith('+') else ''}.")
    if raw.get("load_before", 0) > 0.5:
        lines.append(f"**The machine was busy when the run began (load {raw['load_before']:.1f}).**")
    lines += ["", "Versions: " + ", ".join(dict.fromkeys(versions.values())) + "."]
    lines += [f"\n**{TITLES[key]} was not measured:** {reason}." for key, reason in raw["missing"].items()]
    return "\n".join(lines)


def cost_table(raw: Raw) -> str:
    """One line for each load, one column for each gate: microseconds of CPU per request."""
    if not raw.get("cost"):
        return NOT_MEASURED
    gates = gates_of(raw)
    notes: list[str] = []
    body = []
    for row in rows_of(raw):
        cells = [_cost_cell(raw, row, gate, notes) for gate in gates]
        body.append([row.title, *cells])
    return table(["load: us per request", *(TITLES[gate] for gate in gates)], body) + _listed(notes)


def _cost_cell(raw: Raw, row: Row, gate: str, notes: list[str]) -> str:
    if gate in raw["missing"]:
        return "not there"
    cell = cell_of(raw, row.key, gate)
    if cell is None:
        return MINUS
    if "error" in cell:
        notes.append(f"{TITLES[gate]}, {row.title}: {cell['error']}.")
        return f"failed [{len(notes)}]"
    text = figure(median_cost(raw, row.key, gate))
    if count := failures(cell):
        notes.append(f"{TITLES[gate]}, {row.title}: {count} requests failed.")
        text += f" [{len(notes)}]"
    return f"**{text}**" if gate == "native" else text


def picture(raw: Raw) -> str:
    return f"![CPU per request by load and gate]({PICTURE})" if raw.get("cost") else NOT_MEASURED


def ratio_table(raw: Raw) -> str:
    """What h2gate costs in terms of each peer."""
    if not raw.get("cost"):
        return NOT_MEASURED
    peers = [gate for gate in gates_of(raw) if gate not in OURS and gate not in raw["missing"]]
    pairs = [(own, peer) for own in OURS if own not in raw["missing"] for peer in peers]
    body = []
    for row in rows_of(raw):
        ratios = []
        for own, peer in pairs:
            ours, theirs = median_cost(raw, row.key, own), median_cost(raw, row.key, peer)
            ratios.append(f"{figure(ours / theirs)} {TIMES}" if ours and theirs else MINUS)
        body.append([row.title, *ratios])
    return table(["load", *(f"{own} / {TITLES[peer]}" for own, peer in pairs)], body)


def target_table(raw: Raw) -> str:
    """What was promised, what was measured."""
    lines = list(_cost_targets(raw)) + list(_other_targets(raw))
    if not lines:
        return NOT_MEASURED
    return table(
        ["target", "measured", "limit", "met"],
        [[name, value, limit, "yes" if met else "**no**"] for name, value, limit, met in lines],
    )


Target = tuple[str, str, str, bool]


def _cost_targets(raw: Raw) -> Iterable[Target]:
    for row in rows_of(raw):
        large = row.size > 1024
        limits = [("native", "envoy", 1.0)]
        if row.protocol == "h2":
            limits.append(("native", "apache", 0.2))
        if row.tls:
            limits.append(("native", "haproxy", 0.5 if large else 1.2))
        limits.append(("python", "apache", 2.5))
        for own, peer, share in limits:
            ours, theirs = median_cost(raw, row.key, own), median_cost(raw, row.key, peer)
            if ours and theirs:
                name = f"{row.title}: {own} against {TITLES[peer]}"
                yield name, f"{figure(ours / theirs)} {TIMES}", f"{share:g} {TIMES}", ours <= share * theirs


def _other_targets(raw: Raw) -> Iterable[Target]:
    for entry in raw.get("memory", ()):
        if entry["gate"] not in OURS:
            continue
        title = TITLES[entry["gate"]]
        if "pss_at_10" in entry:
            value = entry["pss_at_10"] / 1e6
            yield f"{title}: memory of a worker at 10 connections", figure(value, "MB"), "45 MB", value <= 45
        for idle in entry["idle"]:
            if "bytes_each" in idle and idle["kind"] != "tls h2":
                each = idle["bytes_each"] / 1e3
                name = f"{title}: each of {thousands(idle['clients'])} idle {idle['kind']} clients"
                yield name, figure(each, "KB"), "20 KB", each <= 20
    own, peer = _paced(raw, "native", "own"), _paced(raw, "nghttpx", "shared")
    if own and peer:
        name = f"p99 at half of saturation, {thousands(own['asked'])} requests/s: native against nghttpx"
        ratio = own["p99"] / peer["p99"]
        yield name, f"{figure(ratio)} {TIMES}", f"1.5 {TIMES}", ratio <= 1.5
    if len(raw.get("workers", ())) == 2:
        ratio = speedup(raw["workers"])
        yield "two workers on two cores against one", f"{figure(ratio)} {TIMES}", f"1.8 {TIMES}", ratio >= 1.8


def detail_table(raw: Raw) -> str:
    """All columns, a table for each load."""
    if not raw.get("cost"):
        return NOT_MEASURED
    sections = []
    for row in rows_of(raw):
        cells = [cell for gate in gates_of(raw) if (cell := cell_of(raw, row.key, gate))]
        generator = cells[0]["generator"] if cells else ""
        head = ["gate", "CPU us/request", "lowest to highest", "requests/s", "of its core", "p50", "p99"]
        head += ["PSS, MB", "backend connections", "failed"]
        sections += [f"**{row.title}** ({generator})", "", table(head, map(_detail_line, cells)), ""]
    return "\n".join(sections).rstrip()


def _detail_line(cell: Raw) -> list[str]:
    title = TITLES[cell["gate"]]
    if "error" in cell:
        return [title, str(cell["error"]), *[MINUS] * 8]
    rounds = cell["rounds"]
    values = costs(rounds) or [0.0]
    return [
        title,
        figure(median(values)),
        f"{figure(min(values))} to {figure(max(values))}",
        thousands(median(run["requests"] / run["seconds"] for run in rounds)),
        f"{median(run['cpu_seconds'] / run['wall_seconds'] for run in rounds):.0%}",
        duration(cell["p50"]),
        duration(cell["p99"]),
        figure(median(run["pss"] for run in rounds) / 1e6),
        f"{median(run['backend_connections'] for run in rounds):.0f}",
        str(failures(cell)) if not failures(cell) else f"**{failures(cell)}**",
    ]


def latency_table(raw: Raw) -> str:
    """Latencies at the same rate for all, and at half of what each can do."""
    entries = raw.get("latency")
    if not entries:
        return NOT_MEASURED
    gates = list(dict.fromkeys(entry["gate"] for entry in entries))
    first = _paced(raw, gates[0], "own")
    head = ["gate", "could do, requests/s"]
    head += [f"at {thousands(first['asked'])}/s: p50", "p99"] if first else ["p50", "p99"]
    head += ["half of its own, requests/s", "p50", "p99"]
    body = []
    for gate in gates:
        own = _paced(raw, gate, "own")
        shared = own if gate == gates[0] else _paced(raw, gate, "shared")
        saturation = next(entry["saturation"] for entry in entries if entry["gate"] == gate)
        line = [TITLES[gate], thousands(saturation), *_shown_latency(shared)]
        body.append([*line, thousands(own["asked"]) if own else MINUS, *_shown_latency(own)])
    return table(head, body)


def _paced(raw: Raw, gate: str, at: str) -> Raw | None:
    """Return the run with the median p99; None where the gate did not keep up."""
    for entry in raw.get("latency", ()):
        if (entry["gate"], entry["at"]) == (gate, at):
            runs = sorted((run for run in entry["rounds"] if run["kept_up"] and run["p99"]), key=lambda run: run["p99"])
            return runs[len(runs) // 2] if runs else None
    return None


def _shown_latency(run: Raw | None) -> list[str]:
    return [duration(run["p50"]), duration(run["p99"])] if run else ["cannot", "cannot"]


def memory_table(raw: Raw) -> str:
    entries = raw.get("memory")
    if not entries:
        return NOT_MEASURED
    kinds = [f"{thousands(idle['clients'])} idle {idle['kind']}, KB each" for idle in entries[0]["idle"]]
    body = []
    notes: list[str] = []
    for entry in entries:
        cells = []
        for idle in entry["idle"]:
            if "error" in idle:
                notes.append(f"{TITLES[entry['gate']]}, {idle['kind']}: {idle['error']}.")
            cells.append(f"failed [{len(notes)}]" if "error" in idle else figure(idle["bytes_each"] / 1e3))
        start = entry.get("pss_at_10")
        body.append([TITLES[entry["gate"]], figure(start / 1e6 if start else None), *cells])
    return table(["gate, alone", "PSS at 10 connections, MB", *kinds], body) + _listed(notes)


def counted_table(raw: Raw, part: str, what: str) -> str:
    """CPU per request against a number of things."""
    entries = raw.get(part)
    if not entries:
        return NOT_MEASURED
    loads = list(dict.fromkeys(entry["row"] for entry in entries))
    first = {row: _entry_cost(next(entry for entry in entries if entry["row"] == row)) for row in loads}
    body = []
    for count in dict.fromkeys(entry["count"] for entry in entries):
        line = [thousands(count)]
        for row in loads:
            entry = next(entry for entry in entries if (entry["row"], entry["count"]) == (row, count))
            line += [figure(_entry_cost(entry)), f"{figure(_entry_cost(entry) / first[row])} {TIMES}"]
        body.append(line)
    head = [what]
    for row in loads:
        head += [f"CPU us/request, {BY_KEY[row].title}", "of the first line"]
    failed = sum(run["failed"] for entry in entries for run in entry["rounds"])
    return table(head, body) + (_listed([f"{failed} requests failed."]) if failed else "") + _by(raw)


def _entry_cost(entry: Raw) -> float:
    return median(costs(entry["rounds"]))


def setting_table(raw: Raw) -> str:
    entries = raw.get("tuning")
    if not entries:
        return NOT_MEASURED
    body = []
    first = 0.0
    for entry in entries:
        value = _entry_cost(entry)
        if entry["setting"] == "defaults":
            first = value
        body.append(
            [f"`{entry['setting']}`", BY_KEY[entry["row"]].title, figure(value), f"{figure(value / first)} {TIMES}"]
        )
    return table(["setting", "load", "CPU us/request", "of the defaults"], body) + _by(raw)


def worker_table(raw: Raw) -> str:
    entries = raw.get("workers")
    if not entries:
        return NOT_MEASURED
    body = []
    for entry in entries:
        share = f"{median(entry['busiest_share']):.0%}"
        body.append([str(entry["count"]), figure(median(costs(entry["rounds"]))), share])
    line = f"\n\nTwo cores for two workers: **{figure(speedup(entries))} {TIMES}** the requests of one."
    return table(["workers", "CPU us/request", "share of the busiest"], body) + line + _by(raw)


def engine_lines(raw: Raw) -> str:
    lines = raw.get("engines")
    return "\n".join(["```text", *lines, "```"]) if lines else NOT_MEASURED


def _by(raw: Raw) -> str:
    return f"\n\n(h2gate {raw['scale_gate']})" if raw.get("scale_gate") else ""


def gates_of(raw: Raw) -> list[str]:
    """Return the gates of a run, those too that were asked for and are not there."""
    measured = {cell["gate"] for cell in raw["cost"]}
    return [gate.key for gate in GATES if gate.key in measured or gate.key in raw["missing"]]


def rows_of(raw: Raw) -> list[Row]:
    measured = {cell["row"] for cell in raw.get("cost", ())}
    return [row for row in ROWS if row.key in measured]


def _listed(notes: Sequence[str]) -> str:
    return "".join(f"\n\n[{number}] {note}" for number, note in enumerate(notes, 1))


SECTIONS = {
    "cost": "CPU per request",
    "ratios": "Against the peers",
    "targets": "Targets",
    "latency": "Latency at half of saturation",
    "memory": "Memory",
    "idle": "Idle connections beside the load",
    "routes": "Routes",
    "endpoints": "Endpoints",
    "tuning": "Settings",
    "workers": "Workers",
    "engines": "Engines by themselves",
    "details": "All columns",
}
TABLES: dict[str, Callable[[Raw], str]] = {
    "about": about,
    "picture": picture,
    "cost": cost_table,
    "ratios": ratio_table,
    "targets": target_table,
    "latency": latency_table,
    "memory": memory_table,
    "idle": lambda raw: counted_table(raw, "idle", "idle connections"),
    "routes": lambda raw: counted_table(raw, "routes", "routes"),
    "endpoints": lambda raw: counted_table(raw, "endpoints", "endpoints"),
    "tuning": setting_table,
    "workers": worker_table,
    "engines": engine_lines,
    "details": detail_table,
}
