"""A table's schema as a spec holds it: three columns of numbers and a label of two classes."""

from fl.task.data.schema import NumericColumn, TableSchema

SCHEMA = TableSchema(
    names=("a", "b", "c", "label"),
    has_header=True,
    columns=tuple(
        NumericColumn(name=name, mean=0.0, std=1.0, marks_missing=False, zero_is_missing=False) for name in "abc"
    ),
    target="label",
    class_names=("0", "1"),
    positive_above=None,
    label_map=(),
    missing=("",),
)
