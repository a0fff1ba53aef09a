from hypothesis import given
from hypothesis import strategies as st

from h2gate.master.signals import Order
from h2gate.master.stopping import Stop, escalate

ORDERS = st.sampled_from([Order.DRAIN, Order.QUIT])


def test_the_first_order_is_obeyed_as_it_is():
    assert escalate(Stop.NO, Order.DRAIN) is Stop.DRAIN
    assert escalate(Stop.NO, Order.QUIT) is Stop.QUICK


def test_quit_while_draining_is_quick_and_no_more():
    assert escalate(Stop.DRAIN, Order.QUIT) is Stop.QUICK


@given(st.lists(ORDERS, min_size=1))
def test_repeating_is_faster_each_time_and_never_slower(orders):
    stop = Stop.NO
    for order in orders:
        after = escalate(stop, order)
        assert after > stop or after is Stop.KILL
        stop = after
    if len(orders) >= 3:
        assert stop is Stop.KILL
