"""The rows of data=csv, data=folder and data=breast_cancer: one stacked table, its labels and its natural clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.task.data.cells import levels, missing_cells
from fl.task.data.config import DataConfig
from fl.task.data.dataset import Dataset
from fl.task.data.encode import encode
from fl.task.data.errors import DataError
from fl.task.data.fit import fit_schema
from fl.task.data.labels import index_classes, keep_labelled, list_classes, name_classes, threshold_names
from fl.task.data.number import by_size, spell
from fl.task.data.schema import TableSchema
from fl.task.data.table import Table, absent, column_order, read_table, stack_tables

SUFFIXES = (".csv", ".tsv", ".txt", ".data")  # files of a folder that are taken for tables


@dataclass(frozen=True, kw_only=True, eq=False)
class TableRows:
    """All rows of a table that the clients and, if held back, the coordinator share."""

    config: DataConfig
    table: Table  # every row has a label
    separate: dict[str, Table]  # validation and test, if they come from files of their own
    labels: NDArray[np.int64]  # shape (N,)
    class_names: tuple[str, ...]
    groups: NDArray[np.int64] | None  # shape (N,), index into group_names
    group_names: tuple[str, ...]

    def fit(self, validation: NDArray[np.int64] | None) -> TableSchema:
        """The schema, fitted on these rows, or on the separate validation file if None."""
        config, drop = self.config, self._no_feature()
        owned = self.separate["validation"] if validation is None else self.table.take(validation)
        return fit_schema(
            owned,
            target=self.table.names[self.table.find(config.target)],
            class_names=self.class_names,
            categorical=self._names(config.categorical),
            drop=drop,
            missing=config.missing,
            missing_zero=self._names(config.missing_zero),
            positive_above=config.positive_above,
            label_map=config.class_by_value,
        )

    def encoder(self, schema: TableSchema | None) -> Callable[[NDArray[np.int64]], Dataset]:
        """A function from row indices to their data set. All rows are encoded now, once."""
        assert schema is not None, "a table has a schema"
        encoded = encode(self.table, schema=schema)
        return lambda rows: Dataset(features=encoded.features[rows], labels=encoded.labels[rows])

    def encode_separate(self, key: str, schema: TableSchema | None) -> Dataset:
        """The data set of a separate file."""
        assert schema is not None, "a table has a schema"
        return encode(self.separate[key], schema=schema)

    def _no_feature(self) -> list[str]:
        group = [] if self.config.group is None else [self.config.group]
        return self._names([*self.config.drop, *group])

    def _names(self, columns: Sequence[int | str]) -> list[str]:
        return [self.table.names[self.table.find(column)] for column in columns]


def read_csv(config: DataConfig) -> TableRows:
    """One file, its natural clients told by a column if there is one."""
    path = Path(config.path).expanduser()
    return _gather(config, tables=[_read(path, config=config)], stems=None)


def read_folder(config: DataConfig) -> TableRows:
    """One file per client, named for the client. The files of validation and test are nobody's, even if they lie there.

    Raises: DataError if the folder is absent or holds no table.
    """
    folder = Path(config.path).expanduser()
    if not folder.exists():
        raise absent(folder)
    if not folder.is_dir():
        raise DataError(seen=f"{folder} is a file", expected="a folder", fix="use data=csv for one file")
    aside = {Path(value).expanduser().resolve() for value in (config.validation, config.test) if isinstance(value, str)}
    files = [
        entry
        for entry in sorted(folder.iterdir())
        if entry.is_file() and entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".")
        if entry.resolve() not in aside
    ]
    if not files:
        here = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise DataError(
            seen=f"{folder} holds no file for a client (it holds {here})",
            expected=f"one file per client, ending in {', '.join(SUFFIXES)}",
            fix="put them there, or point data.path at their folder",
        )
    stems = [entry.stem for entry in files]
    if len(set(stems)) < len(stems):
        stems = [entry.name for entry in files]
    tables: list[Table] = []
    for entry in files:
        tables.append(_read(entry, config=config, like=tables[0] if tables else None))
    return _gather(config, tables=tables, stems=stems)


def read_breast_cancer(config: DataConfig) -> TableRows:
    """The 569 tumours that scikit-learn brings, as if they were a file.

    Source: Wolberg, Mangasarian, Street, Street 1993, UCI, doi:10.24432/C5DW2B.
    """
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415 - a second that others need not wait

    bundle = load_breast_cancer()
    names = (*(str(name) for name in bundle.feature_names), "diagnosis")
    cells = bundle.data.astype(np.str_)  # shortest text that reads back as the same float
    diagnosis = bundle.target_names.astype(np.str_)[bundle.target]
    table = Table(
        names=names,
        has_header=True,
        columns=(*cells.T, diagnosis),
        sources=(Path("scikit-learn's breast_cancer"),),
        source_of=np.zeros(len(diagnosis), dtype=np.int64),
        lines=np.arange(len(diagnosis), dtype=np.int64) + 2,
    )
    as_table = DataConfig(
        name="csv", path=str(bundle.filename), target="diagnosis", classes=["benign", "malignant"],
        validation=config.validation, test=config.test, limit=config.limit, seed=config.seed,
    )  # fmt: skip
    return _gather(as_table, tables=[table], stems=None)


def _read(path: Path, *, config: DataConfig, like: Table | None = None) -> Table:
    return read_table(
        path,
        delimiter=config.separator,
        header=config.header,
        missing=config.missing,
        known_names=like.names if like is not None and like.has_header else (),
    )


def _gather(config: DataConfig, *, tables: Sequence[Table], stems: Sequence[str] | None) -> TableRows:
    first = tables[0]
    place = first.find(config.target)
    for column in (*config.categorical, *config.drop, *config.missing_zero):
        first.find(column)  # a name that is wrong is refused before anything is drawn
    # Not stacked at once: a file in which no row has a label is refused by its own name.
    kept = []
    for table in tables:
        (own,) = column_order(table, names=first.names, has_header=first.has_header, needed=[first.names[place]])
        kept.append(keep_labelled(table, own, missing=config.missing, drop_unlabelled=config.drop_unlabelled))
    table = stack_tables(kept)
    separate = {
        key: keep_labelled(
            _align(_read(Path(value).expanduser(), config=config, like=first), like=first, config=config),
            place,
            missing=config.missing,
            drop_unlabelled=config.drop_unlabelled,
        )
        for key, value in (("validation", config.validation), ("test", config.test))
        if isinstance(value, str)
    }
    named = [
        name_classes(part, place, positive_above=config.positive_above, label_map=config.class_by_value)
        for part in (table, *separate.values())
    ]
    class_names = _class_names(config, named=named, target=table.names[place])
    groups, group_names = _groups(table, config=config) if stems is None else (table.source_of, tuple(stems))
    return TableRows(
        config=config,
        table=table,
        separate=separate,
        labels=index_classes(table, named[0], class_names=class_names),
        class_names=class_names,
        groups=groups,
        group_names=group_names,
    )


def _class_names(config: DataConfig, *, named: Sequence[NDArray[np.str_]], target: str) -> tuple[str, ...]:
    if config.positive_above is not None:
        list_classes(named, target=target)  # refuses if all rows are on one side
        return threshold_names(config.positive_above)
    found = list_classes(named, target=target)
    if not config.classes:
        return found
    return tuple(config.classes if config.label_map else map(spell, config.classes))


def _groups(table: Table, *, config: DataConfig) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if config.group is None:
        return None, ()
    cells = table.columns[table.find(config.group)]
    nobody = np.flatnonzero(missing_cells(cells, missing=config.missing))
    if nobody.size:
        raise DataError(
            seen=f"{nobody.size} rows have nothing in data.group={config.group} ({table.place(int(nobody[0]))})",
            expected="the client of every row",
            fix="fill the column, or remove these rows",
        )
    names, members = np.unique(levels(cells), return_inverse=True)
    order = sorted(range(len(names)), key=lambda place: by_size(str(names[place])))
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return rank[members], tuple(str(names[place]) for place in order)


def _align(table: Table, *, like: Table, config: DataConfig) -> Table:
    """The columns of another file under the names of the first; those that give no feature may be absent."""
    optional = [like.names[like.find(column)] for column in config.drop]
    optional += [] if config.group is None else [like.names[like.find(config.group)]]
    by_name = table.has_header and like.has_header
    needed = [name for name in like.names if not (by_name and name in optional and name not in table.names)]
    places = column_order(table, names=like.names, has_header=like.has_header, needed=needed)
    found = dict(zip(needed, places, strict=True))
    nothing = np.full(len(table), "", dtype=np.str_)
    return Table(
        names=like.names,
        has_header=like.has_header,
        columns=tuple(table.columns[found[name]] if name in found else nothing for name in like.names),
        sources=table.sources,
        source_of=table.source_of,
        lines=table.lines,
    )
