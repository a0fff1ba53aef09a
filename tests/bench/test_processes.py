"""What the kernel says of a process, read."""

from __future__ import annotations

import os
import time

from bench.processes import count_established, cpu_clock, family, pss_of_rollup

# Listening; two established to port 9000 (0x2328); one to it that closes; one established from it.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 10 1 0 100 0 0 10 0
   1: 0100007F:C001 0100007F:2328 01 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   2: 0100007F:C002 0100007F:2328 01 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0
   3: 0100007F:C003 0100007F:2328 08 00000000:00000000 00:00000000 00000000     0        0 13 1 0 100 0 0 10 0
   4: 0100007F:2328 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 14 1 0 100 0 0 10 0
"""


def test_only_established_connections_of_the_process_to_the_port_count() -> None:
    assert count_established(TCP, 9000, {"10", "11", "13", "14"}) == 1
    assert count_established(TCP, 9000, {"11", "12"}) == 2
    assert count_established(TCP, 9001, {"11", "12"}) == 0


def test_pss_is_read_in_bytes() -> None:
    assert pss_of_rollup("00400000-7ffe Rollup\nRss:  2048 kB\nPss:  1024 kB\nPss_Dirty:  12 kB\n") == 1024 * 1024


def test_the_cpu_clock_of_a_process_is_that_which_it_sees_itself() -> None:
    before = time.process_time()
    seen = cpu_clock(os.getpid())
    after = time.process_time()

    assert before <= seen <= after


def test_a_family_is_the_process_and_its_children() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)  # until the parent is done
        os._exit(0)
    try:
        assert family(os.getpid())[0] == os.getpid()
        assert child in family(os.getpid())
    finally:
        os.close(writing)
        os.close(reading)
        os.waitpid(child, 0)
