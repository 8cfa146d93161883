"""The settings of the data and of their split over the clients, checked once.

Plain dataclasses, because Hydra refuses to override a frozen schema, and without postponed annotations, because
OmegaConf reads the types themselves.
"""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fl.errors import ConfigError
from fl.foreign.files import expanded
from fl.plain_text import plural
from fl.task.data.file_style import FileStyle, TypedStyle, check_choice, pairs
from fl.task.data.table import DEFAULT_MISSING

_TABLES = ("csv", "folder")
_DATA_NAMES = ("digits", "breast_cancer", "csv", "folder", "idx", "images", "holdout", "text")
_FILES = {
    "csv": "FILE",
    "folder": "FOLDER",
    "idx": "FOLDER",
    "images": "FOLDER",
    "holdout": "FOLDER",
    "text": "FOLDER",
}  # what data.path is
_OF_PICTURES = ("size", "color")
_OF_TEXT = ("context", "tokens", "form", "field")
_PARTITION_NAMES = ("iid", "dirichlet", "sizes", "labels", "natural")


@dataclass(kw_only=True)
class DataConfig:
    """Which rows there are, what is to be predicted, and what the coordinator holds back.

    A column is named by its header, or by its place counted from 0; -1 is the last one. A header wins over a place.
    Paths are relative to where the command runs.
    """

    # digits | breast_cancer | csv (one table) | folder (one table per client) | idx (MNIST files) | images (a folder of
    # pictures a class) | text (a file a client) | holdout (the coordinator's rows alone, where clients are machines with files of
    # their own)
    name: str = "digits"
    path: str | None = None  # csv: a file; folder: of files; idx: a folder or its file of images; holdout: any of them
    target: int | str | None = None  # csv, folder, holdout of a table: the column to predict
    # What the coordinator holds back to score (validation) and to report (test). A float is a share of all rows, an
    # integer a number of rows, a string the path of a separate file (csv, folder) or pair of files (idx).
    validation: int | float | str = 0.2
    test: int | float | str = 0.2
    # Two ways to turn what stands in the target column into classes; without them every value is a class.
    regression: bool = False  # the target is a number that the model predicts, with task.loss=mse or huber
    positive_above: float | None = None  # class 1 is a target above this number, class 0 the rest
    # VALUE:CLASS each, such as [0:well,1:ill,2:ill]; a list, because Hydra lets nobody add keys to a map.
    label_map: list[str] = field(default_factory=list)
    # Class names in order, for idx the names of labels 0, 1, ... Empty: all that occur, numbers by size, then words.
    classes: list[str] = field(default_factory=list)
    drop_unlabelled: bool = False  # leave rows without a label out; otherwise they are refused, with their numbers
    categorical: list[int | str] = field(default_factory=list)  # besides those that hold words, found by themselves
    ids: bool = False  # all columns hold ids, of words or items, which the model takes as whole numbers
    drop: list[int | str] = field(default_factory=list)  # columns that are not features, such as a patient number
    # What stands for no value, in any case; a number in any spelling, so that -999 is -999.0 too.
    missing: list[str] = field(default_factory=lambda: list(DEFAULT_MISSING))
    missing_zero: list[int | str] = field(default_factory=list)  # columns where 0 stands for no value too
    delimiter: str = "auto"  # one character, tab, or auto: whichever of , ; | and tab the first line has most of
    header: bool | str = "auto"  # does the first row name the columns: true, false or auto
    encoding: str = (
        "auto"  # of text: auto is UTF-8, or UTF-16 with its mark; cp1252 for most files of Windows in the West
    )
    # How numbers are written; see `fl.task.data.spelling`. What no setting reads is refused.
    decimal: str = "point"  # point | comma | either
    thousands: str = "none"  # none | comma | point | space | apostrophe
    censored: str = "refuse"  # "<5": refuse | bound (5) | half (2.5) | missing
    dates: str = "refuse"  # refuse | ymd | dmy | mdy: read as days since 1970
    units: list[str] = field(default_factory=list)  # words or signs that may stand beside a number, such as [mg/l,%]
    # COLUMN:LEVEL:NAME each, such as [sex:M:male,sex:m:male]: a level that is written in several ways. It travels with the
    # task. A level that is mapped to itself is one of its own, however near it is to another.
    level_map: list[str] = field(default_factory=list)
    scale: list[str] = field(default_factory=list)  # [SITE:]COLUMN:FACTOR[+OFFSET]: numbers in another unit
    group: int | str | None = None  # csv: the column whose values are the natural clients; never a feature
    limit: int | None = None  # use at most so many rows, drawn with the seed; separate files are used whole
    size: int = 28  # images: pixels of a side that every picture is brought to
    color: bool = False  # images: three channels instead of one
    context: int = 64  # text: tokens of one row
    tokens: str = "bytes"  # text: bytes, or a base on this machine whose tokeniser makes tokens
    # text: text | chat, conversations of which only the assistant's words are learnt | labels, a class for each text | tags, one
    # for each word | pairs, a better and a worse answer
    form: str = "text"
    field: str = ""  # text: of a line of JSON or a row, that holds text or messages; empty: text, messages
    seed: int | None = None  # draws limit, validation and test; None: the seed of the run

    def __post_init__(self) -> None:
        check_choice("data.name", self.name, _DATA_NAMES)
        self._check_that_settings_apply()
        for key in ("validation", "test"):
            self._check_held_out(key, getattr(self, key))
        shares = [value for value in (self.validation, self.test) if isinstance(value, float)]
        if sum(shares) >= 1:
            raise ConfigError(
                f"data.validation {self.validation} and data.test {self.test} leave the clients no row; "
                "set two shares that add up to less than 1"
            )
        self._check_classes()
        self.style()  # refuses what makes no sense
        check_choice("data.form", self.form, ("text", "chat", "labels", "tags", "pairs"))
        if not 8 <= self.size <= 1024:
            raise ConfigError(f"data.size is {self.size}; set 8 to 1024 pixels")
        if not 1 <= self.context <= 1 << 20:
            raise ConfigError(f"data.context is {self.context}; set 1 to {1 << 20} tokens")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"data.limit is {self.limit}; set 1 or more rows, or leave it out to use all")
        if self.seed is not None and self.seed < 0:
            raise ConfigError(f"data.seed is {self.seed}; set 0 or more")

    def style(self) -> FileStyle:
        """How the files are written. The map of labels is the task's, and not in it."""
        return TypedStyle(
            delimiter=self.delimiter,
            header=self.header,
            encoding=self.encoding,
            decimal=self.decimal,
            thousands=self.thousands,
            censored=self.censored,
            dates=self.dates,
            units=self.units,
            level_map=self.level_map,
            scale=self.scale,
        ).checked()

    def source(self) -> Path:
        """Where the rows are read from. Raises: ConfigError if it is not set, and there have to be files."""
        if not self.path:
            fitting = _FILES.get(self.name, "PATH")
            raise ConfigError(f"data.path is not set; data={self.name} reads it, add data.path={fitting}")
        return expanded(self.path)

    def predicted(self) -> int | str:
        """The column that is predicted. Raises: ConfigError if it is not set."""
        if self.target is None or self.target == "":
            raise ConfigError(
                f"data.target is not set; data={self.name} has to know which column to predict, "
                "add data.target=COLUMN (its name, or its place counted from 0; -1 is the last)"
            )
        return self.target

    @property
    def class_by_value(self) -> dict[str, str]:
        """The label map: class name by value of the target."""
        return dict(pairs(self.label_map))

    def _check_that_settings_apply(self) -> None:
        if self.name in _FILES:
            self.source()
        if self.name in _TABLES:
            self.predicted()
        allowed = {"name", "validation", "test", "limit", "seed"}
        allowed |= {"path"} if self.name in _FILES else set()
        allowed |= {"classes"} if self.name in ("idx", "images", "text") else set()
        allowed |= set(_OF_PICTURES) if self.name == "images" else set()
        allowed |= set(_OF_TEXT) if self.name == "text" else set()
        for setting in fields(self):
            if (
                self.name in _TABLES
                and setting.name not in (*_OF_TEXT, *_OF_PICTURES)
                and (setting.name != "group" or self.name == "csv")
            ):
                continue
            if self.name == "holdout":  # what it holds besides is seen when it is read
                allowed = {known.name for known in fields(self)} - {
                    "group",
                    "validation",
                    "limit",
                    *_OF_TEXT,
                    *_OF_PICTURES,
                }
            value = getattr(self, setting.name)
            if setting.name not in allowed and value != _default(setting):
                raise ConfigError(
                    f"data.{setting.name} is {value!r}, which data={self.name} does not read; leave it out"
                )

    def _check_classes(self) -> None:
        if self.positive_above is not None and not math.isfinite(self.positive_above):
            raise ConfigError(f"data.positive_above is {self.positive_above}; set a finite number")
        if self.positive_above is not None and (self.label_map or self.classes):
            other = "data.label_map" if self.label_map else "data.classes"
            raise ConfigError(f"data.positive_above and {other} both say what the classes are; set one of them")
        if self.regression and (self.positive_above is not None or self.label_map or self.classes):
            told = "positive_above" if self.positive_above is not None else "label_map" if self.label_map else "classes"
            raise ConfigError(
                f"data.{told} makes classes of the target, which data.regression=true reads as a number; "
                "set one of them"
            )
        if self.classes and len(self.classes) < 2:
            raise ConfigError(f"data.classes names one class, {self.classes[0]!r}; name 2 or more, or leave it out")
        if len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"data.classes names a class twice: {', '.join(self.classes)}; name each once")
        for entry in self.label_map:
            if not all(part.strip() for part in entry.rpartition(":")):
                raise ConfigError(f"data.label_map holds {entry!r}; write VALUE:CLASS, such as [0:well,1:ill]")

    def _check_held_out(self, key: str, value: int | float | str) -> None:
        if isinstance(value, str):
            if not value:
                raise ConfigError(f"data.{key} is empty; set a share, a number of rows, or a file")
            if self.name in ("digits", "breast_cancer"):
                raise ConfigError(
                    f"data.{key} is the path {value!r}, but data={self.name} reads no files; "
                    "set a share such as 0.2, or a number of rows"
                )
        elif isinstance(value, bool):
            raise ConfigError(f"data.{key} is {value}; set a share between 0 and 1, a number of rows, or a file")
        elif isinstance(value, float) and not 0 < value < 1:
            raise ConfigError(
                f"data.{key} is the share {value}; set a share above 0 and below 1, or a whole number of rows"
            )
        elif isinstance(value, int) and value < 1:
            raise ConfigError(f"data.{key} is {value} rows; set 1 or more, or a share between 0 and 1")


@dataclass(kw_only=True)
class PartitionConfig:
    """How the rows that are not held back are dealt to the clients; see `fl.task.data.partition` for each way."""

    name: str = "dirichlet"  # iid | dirichlet | sizes | labels | natural
    clients: int = 6  # sizes, natural: 0 is as many as there are sizes or groups
    alpha: float = 0.5  # dirichlet: small is skewed, large is even
    sizes: list[float] = field(default_factory=list)  # sizes: shard sizes in any one unit, one per client
    labels_per_client: int = 2  # labels: classes that each client holds
    min_samples: int = 1  # refuse to give anybody fewer rows than this

    def __post_init__(self) -> None:
        check_choice("partition.name", self.name, _PARTITION_NAMES)
        counted = self.name in ("sizes", "natural")
        if self.clients < (0 if counted else 1):
            least = "0 (as many as there are) or more" if counted else "1 or more"
            raise ConfigError(f"partition.clients is {self.clients}; set {least}")
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise ConfigError(f"partition.alpha is {self.alpha}; set a number above 0, such as 0.5")
        if self.min_samples < 1:
            raise ConfigError(f"partition.min_samples is {self.min_samples}; set 1 or more, nobody trains on nothing")
        if self.labels_per_client < 1:
            raise ConfigError(f"partition.labels_per_client is {self.labels_per_client}; set 1 or more")
        if self.name == "sizes":
            self._check_sizes()

    def _check_sizes(self) -> None:
        if not self.sizes:
            raise ConfigError("partition.sizes is empty; list one size per client, such as partition.sizes=[1,2,3]")
        for size in self.sizes:
            if not (size > 0 and math.isfinite(size)):
                raise ConfigError(f"partition.sizes holds {size}; set every size above 0")
        if self.clients not in (0, len(self.sizes)):
            raise ConfigError(
                f"partition.sizes lists {plural(len(self.sizes), 'size')} for {plural(self.clients, 'client')}; "
                "list one per client, or set partition.clients=0 to count them"
            )


def _default(setting: Any) -> Any:  # Any: dataclasses.Field has no public type for its default
    return setting.default_factory() if callable(setting.default_factory) else setting.default
