import pytest

from fl.foreign.yaml_text import BadYaml, read_yaml


def test_plain_values_are_read():
    assert read_yaml(b"data: {path: rows.csv, test: 0.2}\nseed: 3") == {
        "data": {"path": "rows.csv", "test": 0.2},
        "seed": 3,
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &x [1, 2]\nb: *x", "it has an alias"),
        ("!!python/object/apply:os.system [true]", "could not determine a constructor for the tag"),
        ("a: [", "while parsing a flow node"),
        ("[" * 5000, "maximum recursion depth exceeded"),
        (b"\xff\xfe\xff", "unacceptable character"),
    ],
)
def test_what_is_no_plain_yaml_is_refused(text, problem):
    with pytest.raises(BadYaml) as caught:
        read_yaml(text)
    assert caught.value.problem.startswith(problem)
    assert str(caught.value).endswith("; write it as key: value")
