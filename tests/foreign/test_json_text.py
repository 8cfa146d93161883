"""The one JSON reader: what it gives is what the text says, and what no text of ours says is refused by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.foreign.json_text import (
    DEEPEST,
    MOST_BYTES,
    BadJson,
    decimal_of,
    hex_of,
    list_of,
    number_of,
    object_of,
    read_json,
    text_of,
    whole_of,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(value=VALUES)
def test_what_is_written_is_read(value):
    text = json.dumps(value)
    assert read_json(text) == value
    assert read_json(text.encode()) == value


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_a_byte_order_mark_is_no_part_of_the_text(encoding):
    assert read_json('{"é": 1}'.encode(encoding)) == {"é": 1}
    assert read_json("\ufeff[1]") == [1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "it is not JSON (Expecting value: line 1 column 1 (char 0))"),
        (b'{"a": "\xff"}', "it holds text that is not UTF-8"),
        (b"\xff\xfe{", "it holds text that is not UTF-8"),
        ('{"a": 1, "b": 2, "a": 3}', "it has the key 'a' twice"),
        ('{"outer": {"a": 1, "a": 1}}', "it has the key 'a' twice"),
        ("[NaN]", "it has NaN, which is not a number"),
        ("[-Infinity]", "it has -Infinity, which is not a number"),
        ("1e999", "it has the number 1e999, which no float holds"),
        ("1" * 100, "it has a number of 100 digits"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "its lists and objects stand in each other more than 32 deep"),
        ('{"a":' * 100_000, "its lists and objects stand in each other more than 32 deep"),
        ('["\\ud800"]', "it holds text that is not UTF-8"),
        ("[" + "0," * (MOST_BYTES // 8 + 1) + "0]", "it has more than 2,097,152 values"),
        ("[" + "[]" * (MOST_BYTES // 8 + 1), "it has more than 1,048,576 lists and objects"),
        (b" " * (MOST_BYTES + 1), "it has 16,777,217 bytes, 16,777,216 are the most"),
    ],
    ids=range(15),
)
def test_what_no_text_of_ours_says_is_refused(text, problem):
    with pytest.raises(BadJson) as caught:
        read_json(text)
    assert caught.value.problem == problem
    assert str(caught.value) == f"{problem}; ask for it again"


def test_brackets_in_strings_are_no_depth():
    value = ["[[[[" * 100, '\\"[' * 100, {"{": "}"}] * 30
    assert read_json(json.dumps(value)) == value


def test_a_pair_of_surrogates_is_one_character():
    assert read_json('"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize("text", ['"' + '\\"' * (1 << 20), '["' + '\\"[' * (1 << 20), "[" * (1 << 20)], ids=range(3))
def test_no_text_takes_longer_than_its_size(text):
    """A search that begins anew at each quote would take hours."""
    with pytest.raises(BadJson):
        read_json(text)


@pytest.mark.parametrize(
    "value", ["", "-0", "01", " 1", "1 ", "1_0", "+1", "1.0", "٣", str(2**64), "-1", 1, True, None, [], "9" * 10**6]
)
def test_an_amount_has_one_spelling(value):
    with pytest.raises(BadJson, match="is not an unsigned whole number of 64 bits, as a string"):
        decimal_of(value, bits=64)


@given(value=st.integers(-(2**127), 2**127 - 1))
def test_every_amount_of_128_bits_is_read(value):
    assert decimal_of(str(value), bits=128, signed=True) == value
    if value >= 0:
        assert decimal_of(str(value), bits=128) == value


@pytest.mark.parametrize("value", ["", "0", "0x00", "zz", "0 ", "٣٣", None, 5, b"00"])
def test_bytes_are_hex_of_their_length(value):
    with pytest.raises(BadJson, match="is not the hex of 1 bytes"):
        hex_of(value, size=1)
    assert hex_of("aB", size=1) == b"\xab"


@pytest.mark.parametrize("value", [True, 1.0, "1", None, 4, 0])
def test_a_whole_number_is_one_in_its_range(value):
    with pytest.raises(BadJson, match="block is .*, no whole number from 1 to 3"):
        whole_of(value, least=1, most=3, what="block")
    assert whole_of(2, least=1, most=3) == 2


def test_each_kind_of_value_is_asked_for_by_name():
    assert object_of({"a": 1}) == {"a": 1}
    assert list_of([1]) == [1]
    assert text_of("ab", most=2) == "ab"
    assert number_of(1) == 1.0
    for read, value, problem in (
        (object_of, [], "a list of 0 is not an object"),
        (list_of, {}, "a JSON object of 0 is not a list"),
        (lambda item: text_of(item, most=2), "abc", "'abc', no text of at most 2 characters"),
        (number_of, True, "True is not a number"),
    ):
        with pytest.raises(BadJson) as caught:
            read(value)
        assert caught.value.problem == problem
