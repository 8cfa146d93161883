import pytest

from fl.report.wording import percent, score, seconds, shortened, tokens

TOKEN = 10**18


@pytest.mark.parametrize(
    ("wei", "text"),
    [
        ("0", "0.00"),
        ("1", "< 0.01"),
        (str(TOKEN), "1.00"),
        ("281188377340973055511", "281.19"),
        (str(1234567 * TOKEN + TOKEN // 2), "1,234,567.50"),
        (-3 * TOKEN, "−3.00"),
        # A float of this many wei is off by more than a token.
        (str(10**20 * TOKEN + TOKEN), "100,000,000,000,000,000,001.00"),
    ],
)
def test_tokens_have_two_decimals_and_no_float_on_the_way(wei, text):
    assert tokens(wei) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.42381, "+0.4238"), (-0.5, "−0.5000"), (2e-9, "< 0.0001"), (-2e-9, "> −0.0001")]
)
def test_a_score_has_a_sign_unless_it_is_nothing(value, text):
    assert score(value) == text


def test_a_share_has_one_decimal():
    assert percent(0.24652) == "24.7%"
    assert percent(float("nan")) == "–"


@pytest.mark.parametrize(("value", "text"), [(0, "0.0"), (0.00321, "0.0032"), (4.518, "4.52"), (1234.5, "1,234.5")])
def test_fast_steps_keep_their_digits(value, text):
    assert seconds(value) == text


def test_a_long_name_is_cut_with_a_mark():
    assert shortened("hospital-cleveland", 13) == "hospital-cle…"
    assert shortened("client-0", 13) == "client-0"
