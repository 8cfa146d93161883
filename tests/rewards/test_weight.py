import pytest
from hypothesis import given
from hypothesis import strategies as st
from vector_files import cases, document, unhex

from fl.codec import Blocks
from fl.rewards import WEIGHT_ONE, EmptyRound, cap_q64, median_q64, norm_q64, weights_q32

ONE = 1 << 64
NO_CAP = 1 << 200


@pytest.mark.parametrize("case", cases("weight"), ids=lambda case: f"{len(case['stakes'])} clients")
def test_norms_and_weights_are_those_of_the_vectors(case):
    norms = [norm_q64(Blocks.from_bytes(unhex(update), size=case["size"])) for update in case["updates"]]
    assert norms == [int(norm) for norm in case["norms"]]
    weights = weights_q32(stakes=[int(s) for s in case["stakes"]], norms=norms, cap=cap_q64(case["cap"]))
    assert weights == [int(weight) for weight in case["weights"]]


@given(st.lists(st.integers(0, 10**30), min_size=1, max_size=9).filter(any))
def test_weights_are_stake_shares_that_add_up_to_one(stakes):
    weights = weights_q32(stakes=stakes, norms=[ONE] * len(stakes), cap=NO_CAP)
    assert WEIGHT_ONE - len(stakes) < sum(weights) <= WEIGHT_ONE


@given(st.integers(1, 10**24), st.lists(st.integers(1, 10**24), min_size=1, max_size=5))
def test_two_identities_with_half_the_stake_each_weigh_as_much_as_one(stake, others):
    whole = weights_q32(stakes=[2 * stake, *others], norms=[ONE] * (1 + len(others)), cap=NO_CAP)
    halves = weights_q32(stakes=[stake, stake, *others], norms=[ONE] * (2 + len(others)), cap=NO_CAP)
    assert abs(halves[0] + halves[1] - whole[0]) <= 1
    assert halves[2:] == whole[1:]


@given(st.integers(1, 10**24), st.integers(2, 2000), st.integers(1, 2000))
def test_under_many_names_a_stake_moves_the_model_no_more_than_under_one(stake, names, times):
    # Lengthened until a weight is a few units: rounded to the nearest, each name could have half a unit more than its due.
    norms = [ONE * stake * times] * names
    split = weights_q32(stakes=[*[stake] * names, names * stake * times], norms=[*norms, ONE], cap=ONE)
    whole = weights_q32(stakes=[names * stake, names * stake * times], norms=[norms[0], ONE], cap=ONE)
    assert sum(split[:-1]) <= whole[0]
    assert split[-1] == whole[1]


def test_an_update_twice_the_cap_weighs_half():
    assert weights_q32(stakes=[1, 1], norms=[2 * ONE, ONE], cap=ONE) == [WEIGHT_ONE // 4, WEIGHT_ONE // 2]


def test_an_update_that_the_rule_left_out_weighs_0_and_its_stake_does_not_count():
    assert weights_q32(stakes=[5, 1, 1], norms=[ONE] * 3, cap=ONE, selected=[0, 1, 1]) == [0, *[WEIGHT_ONE // 2] * 2]


def test_a_zero_update_keeps_its_share():
    assert weights_q32(stakes=[1, 3], norms=[0, ONE], cap=ONE) == [WEIGHT_ONE // 4, 3 * WEIGHT_ONE // 4]


def test_nobody_in_a_round_is_no_weights():
    assert weights_q32(stakes=[], norms=[], cap=ONE) == []


def test_a_round_without_stakes_is_refused():
    with pytest.raises(EmptyRound, match="add up to 0"):
        weights_q32(stakes=[0, 0], norms=[ONE, ONE], cap=ONE)


@pytest.mark.parametrize("cap", ["0", "-1"])
def test_a_norm_cap_of_nothing_is_refused(cap):
    with pytest.raises(ValueError, match=f"the norm cap is {cap}; set it above 0"):
        cap_q64(cap)


@pytest.mark.parametrize(
    ("stakes", "norms", "median"),
    [
        ([1, 1, 1], [5, 1, 3], 3),
        ([1, 1], [5, 1], 1),  # twice one of two stakes reaches the total
        ([1, 3], [1, 5], 5),
        ([3, 1], [1, 5], 1),
        ([0, 0, 1], [1, 2, 9], 9),
        ([1, 1, 1], [0, 0, 7], 7),  # who sent nothing has no say
        ([5, 1, 2, 1], [0, 4, 6, 9], 6),
        ([1, 1], [0, 0], 0),
        ([], [], 0),
    ],
)
def test_the_median_is_the_first_length_that_half_of_the_stake_reaches(stakes, norms, median):
    accounts = [f"0x{number:040x}" for number in range(len(stakes))]
    assert median_q64(stakes=stakes, norms=norms, accounts=accounts) == median


@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**30)), max_size=4),
)
def test_whoever_holds_less_than_half_of_the_stake_keeps_the_length_within_that_of_the_others(honest, others):
    sent = sum(stake for stake, norm in others if norm)
    if sent >= sum(stake for stake, _ in honest):
        return
    everybody = [*honest, *others]
    median = median_q64(
        stakes=[stake for stake, _ in everybody],
        norms=[norm for _, norm in everybody],
        accounts=[f"0x{number:040x}" for number in range(len(everybody))],
    )
    assert min(norm for _, norm in honest) <= median <= max(norm for _, norm in honest)


def test_half_of_the_stake_cannot_lengthen_the_round():
    assert median_q64(stakes=[3, 1, 2], norms=[10**30, 5, 7], accounts=["0x01", "0x02", "0x03"]) == 7


@given(st.permutations(range(5)), st.lists(st.integers(0, 4), min_size=5, max_size=5))
def test_the_order_of_updates_and_splitting_one_leave_the_median(order, norms):
    stakes, accounts = [2, 4, 6, 8, 2], [f"0x{number + 1:040x}" for number in range(5)]
    median = median_q64(stakes=stakes, norms=norms, accounts=accounts)
    turned = [[values[place] for place in order] for values in (stakes, norms, accounts)]
    assert median_q64(stakes=turned[0], norms=turned[1], accounts=turned[2]) == median
    split = median_q64(stakes=[1, 1, *stakes[1:]], norms=[norms[0], *norms], accounts=[*accounts, f"0x{9:040x}"])
    assert split == median


@pytest.mark.parametrize("case", document("weight")["medians"], ids=lambda case: f"{len(case['stakes'])} clients")
def test_medians_are_those_of_the_vectors(case):
    stakes, norms = ([int(value) for value in case[key]] for key in ("stakes", "norms"))
    assert median_q64(stakes=stakes, norms=norms, accounts=case["accounts"]) == int(case["median"])


def test_multiplying_a_long_update_gains_nothing():
    stakes, norms = [1, 1, 1], [10, 10, 12]
    for times in (1, 2, 50):
        scaled = [10, 10, 12 * times]
        cap = median_q64(stakes=stakes, norms=scaled, accounts=["0x01", "0x02", "0x03"])
        weights = weights_q32(stakes=stakes, norms=scaled, cap=cap)
        # Weight times length is what moves the model, and what is paid.
        assert abs(weights[2] * scaled[2] - weights[0] * norms[0]) <= max(scaled)
