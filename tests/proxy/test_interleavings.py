from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from h2gate.errors import ErrorCode
from tests.proxy.worker_core import Attempt, Core, Http1Client, Http1Tunnel, Http2Client, PushedClient, turn

# About 10 s. A longer run is a matter of this number.
EXAMPLES = 200

SIZES = (0, 1, 3_000, 40_000, 90_000, 300_000)
METHODS = (b"GET", b"POST", b"CONNECT", b"POST", b"HEAD")
CODES = (ErrorCode.REFUSED_STREAM, ErrorCode.REFUSED_STREAM, ErrorCode.INTERNAL_ERROR, ErrorCode.NO_ERROR)
PAUSES = (0.1, 1.5, 6.0, 70.0)


def connect(core: Core, which: int, how: int) -> Http1Client | Http2Client | Http1Tunnel | PushedClient:
    match how % 4:
        case 0:
            return Http1Client(core)
        case 1:
            return Http2Client(core)
        case 2:
            return PushedClient(core)
    return Http1Tunnel(core, SIZES[which % 6])


def client_step(core: Core, what: str, which: int, how: int) -> None:
    if what == "connect":
        if sum(not client.is_over for client in core.clients) < 5:
            core.clients.append(connect(core, which, how))
        return
    clients = [client for client in core.clients if not client.is_over]
    if not clients:
        return
    client = clients[which % len(clients)]
    method, size = METHODS[how % 5], SIZES[(which + how) % 6]
    if what == "read":
        client.read((100, 5_000, 65_536)[how % 3])
    elif what in ("leave", "half close", "goaway") and which % 4:
        pass  # most stay, or there would be nothing to see
    elif what == "leave":
        client.leave()
    elif what == "half close":
        client.half_close()
    elif isinstance(client, Http1Tunnel):
        client.send((10, 4_000, 1_000_000)[how % 3])
    elif isinstance(client, PushedClient):
        pushed_step(client, what, which, how)
    elif isinstance(client, Http1Client):
        if what == "ask" and method != b"CONNECT":
            for _ in range(1 + which % 2):
                client.ask(method, size, which % 5)
            client.send((0, 10, 1_000_000)[how % 3])
        elif what == "send":
            client.send((10, 4_000, 1_000_000)[how % 3])
    elif what == "ask":
        for _ in range(1 + which % 4):
            client.ask(method, 0 if method in (b"GET", b"HEAD") else size, waits=which % 5 == 0)
    elif what == "window":
        client.takes_credit = not client.takes_credit
        if client.takes_credit:
            client.credit()
    elif what == "goaway":
        client.goaway()
    elif client.live:
        stream_id = client.live[how % len(client.live)]
        if what == "send":
            client.give(stream_id, (1, 20_000, 1_000_000)[how % 3], trailers=which % 3 == 0)
        elif what == "reset":
            client.reset(stream_id)


def pushed_step(client: PushedClient, what: str, which: int, how: int) -> None:
    if what == "ask":
        client.ask()
    elif what == "send":
        client.send()
    elif what == "window":
        client.refuses = not client.refuses
    elif what == "reset" and client.live:
        client.reset(client.live[how % len(client.live)])


def origin_step(core: Core, what: str, which: int, how: int) -> None:
    origin = core.origins[which % 3]
    if what == "takes":
        origin.takes_bodies = not origin.takes_bodies
        return
    if what == "shuts":
        origin.is_closed = not origin.is_closed
        return
    if what == "mutes":
        origin.is_silent = not origin.is_silent
        for connection in origin.connections:
            connection.hear()
        return
    attempts = [attempt for attempt in core.attempts + core.copies if is_open(attempt)]
    if attempts:
        attempt = attempts[which % len(attempts)]
        answer_step(attempt, what, which, how)
        attempt.connection.flush()


def is_open(attempt: Attempt) -> bool:
    """Whether something can still be said of it: of a tunnel also behind the end of the answer, that is a reset."""
    if attempt.method == b"CONNECT" and attempt.is_done and not attempt.has_ended:
        return not attempt.is_reset and not attempt.connection.is_over
    return not attempt.is_over


def answer_step(attempt: Attempt, what: str, which: int, how: int) -> None:
    connection = attempt.connection
    if what == "interim":
        attempt.interim((100, 103)[how % 2])
    elif what == "head":
        attempt.head(SIZES[how % 6], states_length=which % 2 == 0)
    elif what == "data":
        attempt.data((1, 30_000, 1_000_000)[how % 3], ends=which % 4 != 0, trailers=how % 2 == 0)
    elif what == "answer":
        attempt.head(SIZES[how % 6], states_length=which % 2 == 0)
        attempt.data(1_000_000, trailers=which % 3 == 0)
    elif what == "reset":
        attempt.reset(CODES[how % 4])
    elif what == "goaway":
        last = (None, 0, attempt.stream_id - 2, attempt.stream_id)[how % 4]
        connection.goaway(last and max(last, 0), ErrorCode.NO_ERROR if which % 3 else ErrorCode.INTERNAL_ERROR)
    elif what == "close":
        connection.close(politely=how % 2 == 0)
    elif what == "exceed":
        attempt.exceed()
    elif what == "garbage":
        connection.flush()
        connection.transport.write(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x")


# What happens often makes the scene for what happens seldom.
STEPS = st.tuples(
    st.sampled_from(
        [
            *["client ask"] * 8,
            *["client send"] * 6,
            *["client read"] * 4,
            *["client reset", "client window", "client connect"] * 2,
            *["client goaway", "client leave", "client half close"],
            *["origin answer", "origin head"] * 4,
            *["origin data"] * 6,
            *["origin reset", "origin goaway", "origin interim", "origin takes"] * 2,
            *["origin close", "origin garbage", "origin exceed", "origin shuts", "origin mutes"],
            *["time", "time", "drain"],
        ]
    ),
    st.integers(0, 11),
    st.integers(0, 11),
    # Turns of the loop behind it; none lets it come together with the next.
    st.sampled_from([0, 1, 1, 4]),
)
# What ends connections, and with them most of what is under way.
ROUGH = {"client goaway", "client leave", "client half close", "client reset", "drain"}
ROUGH |= {"origin close", "origin garbage", "origin goaway", "origin shuts", "origin mutes"}
POOLS = st.fixed_dictionaries(
    {
        "max_connections": st.integers(1, 2),
        "target_streams": st.integers(1, 2),
        "max_streams": st.integers(2, 4),
        "queue": st.sampled_from([0, 3, 20]),
        "max_requests": st.sampled_from([2, 1000]),
    }
)
ENDS = st.sampled_from(["settle", "settle", "wait", "stop", "leave"])


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    steps=st.lists(STEPS, min_size=60, max_size=120),
    end=ENDS,
    endpoints=st.integers(1, 2),
    takes=st.booleans(),
    tunnels=st.sampled_from([2, 2, 2, 1, 0]),
    is_calm=st.booleans(),
    pool=POOLS,
)
def test_whatever_happens_in_whatever_order_every_exchange_ends_once_and_leaves_nothing(
    steps: list[tuple[str, int, int, int]],
    end: str,
    endpoints: int,
    takes: bool,
    tunnels: int,
    is_calm: bool,
    pool: dict[str, int],
) -> None:
    core = Core(endpoints, takes, tunnels, pool)
    try:
        core.clients += [Http1Client(core), Http2Client(core), PushedClient(core), Http1Tunnel(core, 90_000)]
        for step, which, how, turns in steps:
            if is_calm and step in ROUGH:
                continue
            who, _, what = step.partition(" ")
            if who == "client":
                client_step(core, what, which, how)
            elif who == "origin":
                origin_step(core, what, which, how)
            elif who == "time":
                core.pass_time(PAUSES[how % 4])
            elif which < 4:
                core.front.drain(2.0 * (how % 2))
            turn(turns)
            for client in core.clients:
                if isinstance(client, Http2Client) and client.takes_credit:
                    client.read(65_536)
        finish(core, end)
        core.check()
    finally:
        core.close()


def finish(core: Core, end: str) -> None:
    if end == "wait":
        # Nobody moves any more: deadlines end it all, the longest being that of a response.
        core.pass_time(400)
    elif end == "stop":
        core.is_impatient = True
        core.proxy.is_stopping = True
        core.front.shut_down()
    elif end == "leave":
        for client in core.clients:
            client.leave()
    turn(10)
    core.settle()
