"""Settings of data and partition: refused at the edge, and the YAML groups hold nothing else."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from fl.errors import ConfigError
from fl.task.data import DataConfig, PartitionConfig

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "digit"}, "data.name is 'digit'; known are .* did you mean digits"),
        ({"name": "csv"}, "data.path is not set; .*data.path=FILE"),
        ({"name": "folder"}, "data.path is not set; .*data.path=FOLDER"),
        ({"name": "holdout"}, "data.path is not set; .*data.path=FOLDER"),
        ({"name": "holdout", "path": "a", "limit": 3}, "data.limit is 3, which data=holdout does not read"),
        ({"name": "csv", "path": "a.csv"}, "data.target is not set; .*data.target=COLUMN"),
        ({"path": "a.csv"}, "data.path is 'a.csv', which data=digits does not read"),
        ({"name": "idx", "path": "a", "drop": ["x"]}, r"data.drop is \['x'\], which data=idx does not read"),
        ({"name": "folder", "path": "a", "target": 0, "group": "x"}, "data.group is 'x', which data=folder does not"),
        ({"validation": 1.0}, "data.validation is the share 1.0; set a share above 0 and below 1"),
        ({"validation": 0.0}, "data.validation is the share 0.0"),
        ({"test": -0.5}, "data.test is the share -0.5"),
        ({"test": float("nan")}, "data.test is the share nan"),
        ({"validation": 0}, "data.validation is 0 rows; set 1 or more"),
        ({"validation": True}, "data.validation is True"),
        ({"validation": ""}, "data.validation is empty"),
        ({"validation": "v.csv"}, "data.validation is the path 'v.csv', but data=digits reads no files"),
        ({"validation": 0.5, "test": 0.5}, "leave the clients no row"),
        ({"limit": 0}, "data.limit is 0; set 1 or more rows"),
        ({"seed": -1}, "data.seed is -1; set 0 or more"),
    ],
)
def test_a_data_setting_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DataConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"positive_above": 0.0, "label_map": ["0:a"]}, "data.positive_above and data.label_map both say"),
        ({"positive_above": 0.0, "classes": ["a", "b"]}, "data.positive_above and data.classes both say"),
        ({"positive_above": float("inf")}, "data.positive_above is inf; set a finite number"),
        ({"label_map": ["0"]}, r"data.label_map holds '0'; write VALUE:CLASS, such as \[0:well,1:ill\]"),
        ({"classes": ["a"]}, "data.classes names one class, 'a'"),
        ({"classes": ["a", "a"]}, "data.classes names a class twice"),
        ({"header": "maybe"}, "data.header is 'maybe'; set true, false or auto"),
        ({"delimiter": "::"}, "data.delimiter is '::'; set one character"),
        ({"delimiter": '"'}, "cannot part two cells"),
        ({"encoding": "utf8000"}, "data.encoding is 'utf8000', which Python does not know; set auto, cp1252"),
        ({"decimal": "coma"}, "data.decimal is 'coma'; known are point, comma, either; did you mean comma"),
        ({"thousands": "dot"}, "data.thousands is 'dot'; known are none, comma, point, space, apostrophe"),
        ({"decimal": "comma", "thousands": ","}, "data.thousands and data.decimal are both comma"),
        ({"decimal": "either", "thousands": "point"}, "both point; a number's marks must differ"),
        ({"censored": "drop"}, "data.censored is 'drop'; known are refuse, bound, half, missing"),
        ({"dates": "iso"}, "data.dates is 'iso'; known are refuse, ymd, dmy, mdy"),
        ({"units": ["mg", "5"]}, r"data.units holds \['mg', '5'\]; name words or signs"),
        ({"level_map": ["sex:M"]}, r"data.level_map holds 'sex:M'; write COLUMN:LEVEL:NAME, such as \[sex:M:male\]"),
        ({"scale": ["crea"]}, "data.scale holds 'crea'; write COLUMN:FACTOR"),
        ({"scale": ["crea:0"]}, "data.scale holds 'crea:0'; write COLUMN:FACTOR"),
        ({"scale": ["crea:2/32"]}, "data.scale holds 'crea:2/32'; write COLUMN:FACTOR"),
        ({"scale": ["crea:1e999"]}, "data.scale holds 'crea:1e999'; write COLUMN:FACTOR"),
        ({"regression": True, "positive_above": 1.0}, "data.positive_above makes classes of the target"),
        ({"regression": True, "label_map": ["0:a"]}, "data.label_map makes classes of the target"),
        (
            {"regression": True, "classes": ["a", "b"]},
            "data.classes makes classes of the target, which data.regression",
        ),
    ],
)
def test_a_table_setting_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DataConfig(name="csv", path="a.csv", target="y", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "diriclet"}, "partition.name is 'diriclet'; .*did you mean dirichlet"),
        ({"clients": 0}, "partition.clients is 0; set 1 or more"),
        ({"name": "natural", "clients": -1}, r"partition.clients is -1; set 0 \(as many as there are\)"),
        ({"alpha": 0.0}, "partition.alpha is 0.0; set a number above 0"),
        ({"alpha": float("nan")}, "partition.alpha is nan"),
        ({"min_samples": 0}, "partition.min_samples is 0; set 1 or more"),
        ({"labels_per_client": 0}, "partition.labels_per_client is 0; set 1 or more"),
        ({"name": "sizes"}, "partition.sizes is empty; list one size per client"),
        ({"name": "sizes", "clients": 2, "sizes": [1.0, 0.0]}, "partition.sizes holds 0.0; set every size above 0"),
        ({"name": "sizes", "clients": 3, "sizes": [1.0, 2.0]}, "lists 2 sizes for 3 clients"),
    ],
)
def test_a_partition_setting_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        PartitionConfig(**settings)


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("data/*.yaml")) + sorted(CONFIGS.glob("partition/*.yaml")))
def test_a_choice_is_described_in_its_first_line_and_holds_keys_of_its_dataclass_only(file):
    text = file.read_text()
    known = {setting.name for setting in fields(DataConfig if file.parent.name == "data" else PartitionConfig)}
    raw = yaml.safe_load(text)
    assert text.startswith("# ")
    assert set(raw) - {"defaults"} <= known
    assert raw == {"defaults": ["csv"]} or raw["name"] == file.stem  # the first is a table by another name


def test_every_choice_has_its_file():
    assert {file.stem for file in CONFIGS.glob("data/*.yaml")} == {
        "digits", "breast_cancer", "csv", "parquet", "folder", "idx", "holdout", "images", "text",
    }  # fmt: skip
    assert {file.stem for file in CONFIGS.glob("partition/*.yaml")} == {
        "iid",
        "dirichlet",
        "sizes",
        "labels",
        "natural",
    }


@pytest.fixture
def composed():
    """Compose overrides as `fl run` would, with a primary config that lists partition before data."""
    store = ConfigStore.instance()
    store.store(name="data_test_schema", node={"data": DataConfig, "partition": PartitionConfig})
    store.store(
        name="data_test",
        node={"defaults": ["data_test_schema", {"partition": "dirichlet"}, {"data": "digits"}, "_self_"]},
    )

    def build(*overrides: str) -> tuple[DataConfig, PartitionConfig]:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("data_test", overrides=list(overrides))
        return OmegaConf.to_object(config.data), OmegaConf.to_object(config.partition)

    return build


def test_parquet_is_a_table_by_another_name(composed):
    named = ["data.path=a.parquet", "data.target=ill", "data.limit=9"]
    assert composed("data=parquet", *named) == composed("data=csv", *named)


def test_hydra_builds_what_the_command_line_says(composed):
    data, partition = composed()
    assert (data, partition) == (DataConfig(), PartitionConfig(min_samples=10))
    data, _ = composed(
        "data=csv", "data.path=a.csv", "data.target=-1", "data.validation=v.csv", "data.test=20", "data.header=true",
        "data.missing_zero=[4,chol]", "data.label_map=[0:ill,b: well,x:y:z]",
    )  # fmt: skip
    assert (data.target, data.validation, data.test, data.header) == (-1, "v.csv", 20, True)
    assert (data.missing_zero, data.class_by_value) == ([4, "chol"], {"0": "ill", "b": "well", "x:y": "z"})
    assert data.missing == ["", "?", "NA", "N/A", "#N/A", "nan", "null"]


def test_a_folder_is_split_naturally_unless_told_otherwise(composed):
    folder = ("data=folder", "data.path=a", "data.target=y")
    assert composed(*folder)[1] == PartitionConfig(name="natural", clients=0)
    assert composed(*folder, "partition=iid")[1].name == "iid"
