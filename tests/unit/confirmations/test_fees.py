"""Fees: what is offered, and what replaces it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confirmations.fees import Fees, bump, offer

GWEI = 10**9
wei = st.integers(0, 10**13)


def test_an_offer_is_the_usual_tip_and_room_for_the_base_fee_to_double() -> None:
    assert offer(next_base=10 * GWEI, rewards=[1, 2 * GWEI, 3 * GWEI], least_tip=1, cap=100 * GWEI) == Fees(
        2 * GWEI, 22 * GWEI
    )


def test_a_quiet_chain_still_gets_a_tip() -> None:
    assert offer(next_base=7, rewards=[0, 0, 0], least_tip=5, cap=GWEI) == Fees(5, 19)
    assert offer(next_base=7, rewards=[], least_tip=5, cap=GWEI) == Fees(5, 19)


def test_beyond_the_cap_nothing_is_sent() -> None:
    assert offer(next_base=100, rewards=[], least_tip=1, cap=100) is None
    assert offer(next_base=99, rewards=[50], least_tip=1, cap=100) == Fees(50, 100)


@given(base=wei, rewards=st.lists(wei, max_size=10), least=wei, cap=wei)
def test_no_offer_is_beyond_the_cap_or_below_what_a_block_wants(
    base: int, rewards: list[int], least: int, cap: int
) -> None:
    found = offer(next_base=base, rewards=rewards, least_tip=least, cap=cap)

    if found is not None:
        assert base <= found.fee <= cap
        assert 0 <= found.tip <= found.fee


@given(tip=wei, more=wei, cap=st.integers(0, 10**14))
def test_what_replaces_is_more_than_a_tenth_dearer_in_both_fees(tip: int, more: int, cap: int) -> None:
    before = Fees(tip, tip + more)

    after = bump(before, cap=cap)

    if after is None:
        assert (before.fee * 9) / 8 + 1 > cap or before.fee + 1 > cap
    else:
        assert after.tip * 10 >= before.tip * 11
        assert after.fee * 10 >= before.fee * 11
        assert after.tip > before.tip
        assert after.fee > before.fee
        assert after.fee <= cap


def test_what_is_wanted_now_may_be_more_still() -> None:
    assert bump(Fees(8, 80), cap=1000, wanted=Fees(20, 70)) == Fees(20, 90)
    assert bump(Fees(8, 80), cap=89) is None
    assert bump(Fees(0, 0), cap=10) == Fees(1, 1)


@pytest.mark.parametrize(("tip", "fee"), [(-1, 5), (6, 5)])
def test_fees_that_make_no_sense_are_none(tip: int, fee: int) -> None:
    with pytest.raises(ValueError, match="no sense"):
        Fees(tip, fee)
