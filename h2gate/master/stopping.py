"""How far the gate is on its way out, and what an order adds to it. Pure."""

from __future__ import annotations

from enum import IntEnum

from h2gate.master.signals import Order


class Stop(IntEnum):
    """Each step ends the workers faster than the one before."""

    NO = 0
    DRAIN = 1
    QUICK = 2
    KILL = 3


def escalate(stop: Stop, order: Order) -> Stop:
    """Return what follows of DRAIN or QUIT: whoever repeats an order is in a hurry."""
    asked = Stop.DRAIN if order is Order.DRAIN else Stop.QUICK
    if stop < asked:
        return asked
    return Stop(min(stop + 1, Stop.KILL))
