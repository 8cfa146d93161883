"""Paths, columns and words are taken as they are typed."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.cli.arguments.literal import literal
from fl.cli.arguments.overrides import check, spell_out
from fl.errors import ConfigError
from fl.task.data.advice import setting
from fl.task.data.words import parse_list

CSV = ["data=csv", "data.path=a.csv", "data.target=y"]
ODD = ["mes données été (1).csv", "people (final, v2)=ok.csv", "a'b\\", "x${y}#.csv", "a b ", "50% share", "outcome #1",
       "income=net", "[x]", "{x: y}", "null ", "a:b", "~x", "true", "1,000", "010", "$(x)", "Ж", "a\\'b", "-1", "1_000"]  # fmt: skip


def read(*arguments):
    return check(spell_out([*CSV, *arguments])).data


def parsed(argument):
    """The value that Hydra reads, as text, where it is text."""
    value = OverridesParser.create().parse_override(literal([argument])[0]).value()
    return [plain(each) for each in value] if isinstance(value, list) else plain(value)


def plain(value):
    return str(getattr(value, "text", value)).replace("\\${", "${")  # OmegaConf takes the backslash away


@pytest.mark.parametrize("text", ODD)
def test_a_path_a_column_and_a_word_are_what_was_typed(text):
    assert [parsed(f"{key}={text}") for key in ("data.path", "data.target", "chain.deployment")] == [text] * 3
    assert parsed(f"data.validation=x{text}") == f"x{text}"
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parsed(f"data.drop=[{quoted},age]") == [text, "age"]


def test_what_was_typed_reaches_the_settings():
    data = read("data.path=x${y}, (1)=é#.csv", "data.target=a'b\\", 'data.drop=["${z},\\"q\\"",1]', "data.group=010")
    assert (data.path, data.target, data.drop, data.group) == ("x${y}, (1)=é#.csv", "a'b\\", ['${z},"q"', "1"], "010")


def test_words_that_mean_something_to_a_program_are_words():
    data = read("data.missing=[NULL,null,NA,,-999,?]", "data.classes=[false,true]", "data.label_map=[1:yes,0:no]")
    assert data.missing == ["NULL", "null", "NA", "", "-999", "?"]
    assert data.classes == ["false", "true"]
    assert data.class_by_value == {"1": "yes", "0": "no"}
    assert read("data.classes=a,b").classes == ["a", "b"]
    assert read("data.drop=[]").drop == []


def test_what_is_no_text_keeps_its_meaning():
    data = read(
        "data.group=null",
        "data.validation=0.3",
        "data.test=40",
        "data.header=true",
        "data.limit=null",
        "data.positive_above=-1.5",
    )
    assert (data.group, data.validation, data.test, data.header, data.limit) == (None, 0.3, 40, True, None)
    assert data.positive_above == -1.5
    assert literal(["+data.path=a,b", "~data.path", "data=csv", "partition.sizes=[1,2]", "x"]) == [
        "+data.path='a,b'", "~data.path", "data=csv", "partition.sizes=[1,2]", "x",
    ]  # fmt: skip
    assert literal(["data.path='a,b'", "data.path=runs/a.csv"]) == ["data.path='a,b'", "data.path=runs/a.csv"]


def test_a_sweep_sweeps_words():
    swept = literal(
        [
            "-m",
            "data.target=a b,c",
            'data.path="a,b",d',
            "data.classes=[a,b],[c,d]",
            "data.path=choice(a,b)",
            "seed=1,2",
        ]
    )
    assert swept == [
        "-m",
        "data.target='a b',c",
        'data.path="a,b",d',
        "data.classes=[a,b],[c,d]",
        "data.path=choice(a,b)",
        "seed=1,2",
    ]


@pytest.mark.parametrize("value", ["1,000", "010", "1e3", "1_000", "1.000,5", "1 000", "1'000"])
@pytest.mark.parametrize("key", ["data.limit", "data.seed", "partition.clients", "seed"])
def test_a_number_of_rows_has_one_spelling(key, value):
    with pytest.raises(ConfigError, match=f"^{key} is .*; write digits alone, such as 1000, without commas, blanks"):
        literal([f"{key}={value}"])


@pytest.mark.parametrize("value", ["1,000", "010", "1_000", "0.2.1", "1 000"])
def test_a_share_has_one_spelling(value):
    with pytest.raises(ConfigError, match=r"^data.validation is .*; write a share such as 0.2, or digits alone"):
        literal([f"data.validation={value}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a", "with both brackets or none"),
        ('["a]', "close the quote"),
        ('["a"b]', "close the quote"),
        ("a]", "both brackets"),
    ],
)
def test_a_list_that_does_not_end_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_list(text, key="data.drop")


@settings(max_examples=15, deadline=None)
@given(
    words=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8), min_size=1, max_size=3
    )
)
def test_what_a_refusal_advises_reads_back_as_it_was_meant(words):
    words = [word.strip() for word in words]
    (argument,) = shlex.split(setting("drop", words))
    assert parse_list(argument.removeprefix("data.drop="), key="data.drop") == words
    assert parsed(argument) == words
