"""What a task says of its table's columns: which is predicted, which give no feature, and how the others are read."""

from __future__ import annotations

from dataclasses import dataclass, field

from fl.task.data.spelling import Spelling
from fl.task.data.table import DEFAULT_MISSING


@dataclass(frozen=True, kw_only=True)
class ColumnRoles:
    """Columns by name, and what holds for the cells of all of them."""

    target: str  # the one to predict
    predicts_number: bool = False  # so that it has a unit
    group: str | None = None  # names the clients
    dropped: tuple[str, ...] = ()  # give no feature
    categorical: tuple[str, ...] = ()  # codes that look like numbers
    missing: tuple[str, ...] = DEFAULT_MISSING  # what stands for no value, in any case
    missing_zero: tuple[str, ...] = ()  # where 0 stands for no value too
    level_map: tuple[tuple[str, str, str], ...] = ()  # (column, level, name) by which levels were merged
    scaled: frozenset[str] = frozenset()  # whose unit the owner settled
    spelling: Spelling = field(default_factory=Spelling)  # by which the numbers were read
    ids: bool = False  # the columns hold ids, which a model takes as whole numbers

    @property
    def no_feature(self) -> tuple[str, ...]:
        """Columns that a shard may lack: those that are left out, and the one that names the clients."""
        return self.dropped if self.group is None else (*self.dropped, self.group)
