"""Amounts as people write them: no spelling of one hangs, and each has its amount or a sentence."""

import pytest

from fl.chain.tokens import in_tokens, two_places, wei
from fl.errors import ConfigError

MOST = (2**95 - 1) // 10**18


@pytest.mark.parametrize(
    ("tokens", "amount"),
    [("1000", 10**21), ("0.000000000000000001", 1), ("-0", 0), (f"{MOST}", MOST * 10**18), (2, 2 * 10**18), (0.5, 5 * 10**17)],
)  # fmt: skip
def test_every_spelling_of_an_amount_is_read(tokens, amount):
    assert wei(tokens, setting="stake") == amount


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        ("1e3", "without thousands' marks, exponents and leading zeros (1000?)"),
        ("1e99999999", "write a number of tokens such as 1000 or 0.5"),
        ("1e999999999999999999", "write a number of tokens such as 1000 or 0.5"),
        (str(MOST + 1), "set at most 39614081257 tokens, the contract holds no more"),
        ("1e-99999999", "write a number of tokens such as 1000 or 0.5"),
        ("1.0000000000000000001", "set 0 or more tokens, with at most 18 decimals"),
        ("-1e99999999", "write a number of tokens such as 1000 or 0.5"),
        ("inf", "write a number of tokens such as 1000 or 0.5"),
        ("nan", "write a number of tokens such as 1000 or 0.5"),
        ("ten", "write a number of tokens such as 1000 or 0.5"),
        ("9" * 10**6, "write a number of tokens such as 1000 or 0.5"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_no_account_holds_is_refused(tokens, problem):
    with pytest.raises(ConfigError) as caught:
        wei(tokens, setting="stake")
    assert str(caught.value).startswith("stake is ")
    assert str(caught.value).endswith(problem)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("amount", ["1,000", "-1", f"{MOST + 1}"])
def test_an_amount_of_the_chains_own_coin_is_called_so(amount):
    with pytest.raises(ConfigError, match="ether is .* ETH"):
        wei(amount, setting="ether", unit="ETH")


@pytest.mark.parametrize(
    ("amount", "text"), [(10**18, "1 token"), (0, "0 tokens"), (25 * 10**17, "2.50 tokens"), (5 * 10**17, "0.5 tokens")]
)
def test_one_token_is_no_tokens(amount, text):
    assert in_tokens(amount) == text


def test_a_column_does_not_call_a_little_nothing():
    assert [two_places(amount) for amount in (0, 1, 10**16, 1234 * 10**18)] == ["0.00", "< 0.01", "0.01", "1,234.00"]
