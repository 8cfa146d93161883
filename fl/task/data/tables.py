"""The rows of data=csv, data=folder and data=breast_cancer: one stacked table, its labels and its natural clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.foreign.files import expanded
from fl.plain_text import agreeing, plural
from fl.task.data.advice import shown
from fl.task.data.cells import missing_cells, numbers
from fl.task.data.column_roles import ColumnRoles
from fl.task.data.columns import align, stack_tables
from fl.task.data.config import DataConfig
from fl.task.data.dataset import Dataset
from fl.task.data.encode import encode
from fl.task.data.errors import DataError
from fl.task.data.fit import fit_schema
from fl.task.data.kinds import na_word
from fl.task.data.labels import check_words, index_classes, keep_labelled, list_classes, name_classes, threshold_names
from fl.task.data.number import by_size, spell
from fl.task.data.odd_rows import about_leaks, about_repeats, check_totals
from fl.task.data.reading import DataReading, range_of
from fl.task.data.restyle import restyle, split_level_map
from fl.task.data.schema import TableSchema
from fl.task.data.sites import Sites, find_sites
from fl.task.data.survey import Survey, disjoint, survey
from fl.task.data.suspicions import about_classes, about_names, about_numbers, counts_rows
from fl.task.data.table import Table, read_table

_BINS = 10  # of a target that is a number: held out and dealt as if each tenth were a class


@dataclass(frozen=True, kw_only=True, eq=False)
class TableRows:
    """All rows of a table that the clients and, if held back, the coordinator share."""

    config: DataConfig
    table: Table  # every row has a label; in the plain spelling
    separate: dict[str, Table]  # validation and test, if they come from files of their own
    labels: NDArray[np.int64]  # shape (N,): the class, or the tenth of the rows that a number is in
    class_names: tuple[str, ...]  # empty where the target is a number
    groups: NDArray[np.int64] | None  # shape (N,), index into group_names
    group_names: tuple[str, ...]
    roles: ColumnRoles
    reading: DataReading

    def fit(self, validation: NDArray[np.int64] | None) -> TableSchema:
        """The schema, fitted on these rows, or on the separate validation file if None."""
        config = self.config
        owned = self.separate["validation"] if validation is None else self.table.take(validation)
        return fit_schema(
            owned,
            self.roles,
            class_names=self.class_names,
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


def read_csv(config: DataConfig) -> TableRows:
    """One file, its natural clients told by a column if there is one."""
    return _gather(config, tables=[_read(config.source(), config=config)], sites=None)


def read_folder(config: DataConfig) -> TableRows:
    """One file per client, named for the client. The files of validation and test are nobody's, even if they lie there.

    Raises: DataError if the folder is absent or has no table.
    """
    aside = {expanded(value).resolve() for value in (config.validation, config.test) if isinstance(value, str)}
    sites = find_sites(config.source(), aside=aside)
    tables: list[Table] = []
    for entry in sites.files:
        tables.append(_read(entry, config=config, like=tables[0] if tables else None))
    return _gather(config, tables=tables, sites=sites)


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
    return _gather(as_table, tables=[table], sites=None)


def _read(path: Path, *, config: DataConfig, like: Table | None = None) -> Table:
    style = config.style()
    return read_table(
        path,
        delimiter=style.delimiter,
        header=style.header,
        encoding=style.encoding,
        spelling=style.spelling,
        missing=config.missing,
        known_names=like.names if like is not None and like.has_header else (),
    )


def _gather(config: DataConfig, *, tables: Sequence[Table], sites: Sites | None) -> TableRows:
    first = tables[0]
    place = first.find(config.predicted())
    for column in (*config.categorical, *config.drop, *config.missing_zero):
        first.find(column)  # a name that is wrong is refused before anything is drawn
    target, group = first.names[place], None if config.group is None else first.names[first.find(config.group)]
    named = {target, group, *_names(first, config.categorical)}
    counters = [name for name in first.untitled if name not in named and _counts(tables, name)]
    is_number = config.regression or config.positive_above is not None
    roles = ColumnRoles(
        target=target,
        predicts_number=is_number,
        group=group,
        dropped=(*_names(first, config.drop), *counters),
        categorical=_names(first, config.categorical),
        missing=tuple(config.missing),
        missing_zero=_names(first, config.missing_zero),
        level_map=tuple(split_level_map(config.level_map, names=first.names)),
        scaled=frozenset(name for name in first.names if any(f"{name}:" in entry for entry in config.scale)),
        spelling=config.style().spelling,
        ids=config.ids,
    )
    as_text = {*roles.categorical, *roles.no_feature, *([] if is_number else [roles.target])}

    def prepare(table: Table) -> Table:
        table = restyle(
            align(table, like=first, optional=roles.no_feature),
            style=config.style(),
            missing=config.missing,
            as_text=as_text,
            group=roles.group,
        )
        return keep_labelled(table, place, missing=config.missing, drop_unlabelled=config.drop_unlabelled)

    # Not stacked at once: a file in which no row has a label is refused by its own name.
    prepared = [prepare(each) for each in tables]
    for each in prepared:
        check_totals(each)
    table = stack_tables(prepared)
    separate = {
        key: prepare(_read(expanded(value), config=config, like=first))
        for key, value in (("validation", config.validation), ("test", config.test))
        if isinstance(value, str)
    }
    class_names: tuple[str, ...] = ()
    classes: dict[str, int] = {}
    if config.regression:
        labels = _tenths(table, place)
    else:
        class_names, labels = _classes(config, table=table, separate=list(separate.values()), place=place)
        counts = np.bincount(labels, minlength=len(class_names)).tolist()
        classes = dict(zip(class_names, counts, strict=True))
    groups, group_names = _groups(table, config=config) if sites is None else (table.source_of, sites.names)
    found = survey(table, roles, sites=None if groups is None else (groups, group_names))
    if separate:  # files of one task must not spell differently either
        survey(stack_tables([table, *separate.values()]), roles, sites=None)
    notes = [
        *_about_files(tables, sites=sites, counters=counters),
        *found.notes,
        *about_repeats(table, why="one that is dealt to a client and held back to score on as well is known by heart"),
        *(about_classes(classes) if classes else []),
        *(_about_target(table, place, config) if is_number else []),
        *(about_leaks(table, labels=labels, skip={target, *roles.no_feature}) if classes else []),
        *about_names(group_names),
    ]
    if groups is not None and classes:
        called = np.array(class_names)[labels]
        if sites is not None and not (config.classes or config.label_map):
            check_words(called, groups, group_names, target=target)
        notes += disjoint("the target", called, groups, group_names, setting="data.label_map")
    return TableRows(
        config=config,
        table=table,
        separate=separate,
        labels=labels,
        class_names=class_names,
        groups=groups,
        group_names=group_names,
        roles=roles,
        reading=_reading(table, found, classes=classes, place=place, counters=counters, notes=notes,
                         groups=groups, group_names=group_names),
    )  # fmt: skip


def _reading(
    table: Table,
    found: Survey,
    *,
    classes: dict[str, int],
    place: int,
    counters: Sequence[str],
    notes: Sequence[str],
    groups: NDArray[np.int64] | None,
    group_names: Sequence[str],
) -> DataReading:
    columns = [replace(column, kind="counter") if column.name in counters else column for column in found.columns]
    if not classes:
        values = numbers(table, place, present=np.ones(len(table), dtype=np.bool_))
        columns[place] = replace(columns[place], holds=range_of(float(values.min()), float(values.max())))
    counts = [] if groups is None else np.bincount(groups, minlength=len(group_names)).tolist()
    return DataReading(
        source=table.source,
        rows=len(table),
        header="names from the first line" if table.has_header else "no header: columns by place, from 0",
        columns=tuple(columns),
        classes=classes,
        clients=dict(zip(group_names, counts, strict=True)),
        notes=tuple(notes),
    )


def _about_files(tables: Sequence[Table], *, sites: Sites | None, counters: Sequence[str]) -> list[str]:
    notes = []
    if sites is not None and sites.left_out:
        notes.append(f"left out of the folder: {'; '.join(sites.left_out)}")
    if counters:
        notes.append(
            f"the column without a title ({shown(counters)}) counts the rows and is not a feature; name it to use it"
        )
    first = tables[0]
    for table in tables[1:]:
        more = [name for name in table.names if name not in first.names and name not in table.untitled]
        if table.has_header and first.has_header and more:
            notes.append(
                f"{table.source} has columns that {first.source} does not have, and they are left out: {shown(more)}"
            )
    return notes


def _about_target(table: Table, place: int, config: DataConfig) -> list[str]:
    present = ~missing_cells(table.columns[place], missing=config.missing)
    return about_numbers(
        table.names[place], table.columns[place][present], numbers(table, place, present=present)[present]
    )


def _counts(tables: Sequence[Table], name: str) -> bool:
    own = [table.columns[table.names.index(name)] for table in tables if name in table.names]
    return all(counts_rows(cells, least=3) for cells in own)


def _classes(
    config: DataConfig, *, table: Table, separate: Sequence[Table], place: int
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    named = [
        name_classes(part, place, positive_above=config.positive_above, label_map=config.class_by_value)
        for part in (table, *separate)
    ]
    declared = bool(config.classes or config.label_map or config.positive_above is not None)
    found = list_classes(named, target=table.names[place], declared=declared)  # refuses if all rows are on one side
    if config.positive_above is not None:
        found = threshold_names(config.positive_above)
    elif config.classes:
        found = tuple(config.classes if config.label_map else map(spell, config.classes))
    return found, index_classes(table, named[0], class_names=found, settled=False)


def _tenths(table: Table, place: int) -> NDArray[np.int64]:
    everywhere = np.ones(len(table), dtype=np.bool_)
    targets = numbers(table, place, present=everywhere, what="a number to predict, as data.regression=true says")
    edges = np.unique(np.quantile(targets, np.linspace(0, 1, _BINS + 1)[1:-1]))
    if edges.size == 1 and (targets == edges[0]).all():
        raise DataError(
            seen=f"every row has the same number {edges[0]:g} in column {table.names[place]!r}",
            expected="a number that varies",
            fix="check data.target",
        )
    return np.searchsorted(edges, targets, side="right").astype(np.int64)


def _groups(table: Table, *, config: DataConfig) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if config.group is None:
        return None, ()
    place = table.find(config.group)
    cells = table.columns[place]
    absent = missing_cells(cells, missing=config.missing)
    nobody = np.flatnonzero(absent)
    if nobody.size:
        marks = [str(mark) for mark in np.unique(cells[absent]) if str(mark).isalpha()]
        if marks:
            raise na_word(
                table.names[place],
                mark=marks[0],
                rows=int((cells == marks[0]).sum()),
                others=sorted(set(map(str, cells[~absent]))),
                source=table.source,
                missing=config.missing,
            )
        raise DataError(
            seen=f"{plural(nobody.size, 'row')} {agreeing(nobody.size, 'has', 'have')} nothing in data.group={config.group} ({table.place(int(nobody[0]))})",
            expected="the client of every row",
            fix="fill the column, or remove these rows",
        )
    names, members = np.unique(cells, return_inverse=True)  # as they are written: a name is not a number
    order = sorted(range(len(names)), key=lambda place: by_size(str(names[place])))
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return rank[members], tuple(str(names[place]) for place in order)


def _names(table: Table, columns: Sequence[int | str]) -> tuple[str, ...]:
    return tuple(table.names[table.find(column)] for column in columns)
