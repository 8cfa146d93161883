"""What somebody else wrote cannot move a terminal's cursor, nor begin a line."""

import pytest

from fl.plain_text import agreeing, plural, printable


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two classes", "two classes"),
        ("größer als 3 · ≥ 4 病院", "größer als 3 · ≥ 4 病院"),
        ("\x1b[8mhidden\x1b[0m", "?[8mhidden?[0m"),
        ("\x9b2J", "?2J"),  # the one-byte form of the same sequence
        ("up\x1b[1A\r\n  you stake   0 tokens", "up?[1A you stake 0 tokens"),
        ("next\u2028line\x85and\x0bmore", "next line and more"),
        ("\u202eyas\u2066 \u200b", "?yas? ?"),  # right to left, isolates, no width
        ("\ud800", "?"),  # JSON can say it, and no terminal can print it
        ("", ""),
        ({"not": "text\n"}, "{'not': 'text\\n'}"),
        (None, "None"),
    ],
)
def test_a_stranger_writes_one_line_of_printable_characters(text, line):
    assert printable(text) == line
    assert printable(text).isprintable()
    printable(text).encode()


def test_a_long_text_is_cut_and_says_so():
    assert printable("a" * 1000) == "a" * 1000
    assert printable("a" * 1001) == "a" * 999 + "…"
    assert printable("word " * 9, most=12) == "word word w…"


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 clients"), (1, "1 client"), (2, "2 clients"), (1000, "1,000 clients")]
)
def test_a_count_and_its_noun_agree(number, told):
    assert plural(number, "client") == told


def test_a_verb_agrees_with_its_count():
    assert [f"{plural(n, 'row')} {agreeing(n, 'has', 'have')} no label" for n in (0, 1, 2)] == [
        "0 rows have no label",
        "1 row has no label",
        "2 rows have no label",
    ]
