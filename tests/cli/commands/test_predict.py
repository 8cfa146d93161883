"""`fl predict`: rows in, predictions out, by the schema that the model's file brings along."""

import csv
import importlib.util
import io
import json
import re

import numpy as np
import pytest
import torch

from fl.task.data import DataConfig, PartitionConfig, load_federation
from fl.task.data.schema import CategoricalColumn, IdColumn, NumericColumn, TableSchema
from fl.task.saved_model import SavedModel


@pytest.fixture
def model(tmp_path, spec, table_schema):
    """A linear model of three columns whose first one decides: class 1 where it is above its mean."""
    told = spec(schema=table_schema, class_names=("0", "1"))
    weight = np.zeros((2, 3), np.float32)
    weight[:, 0] = (-3, 3)
    path = tmp_path / "model" / "best.safetensors"
    SavedModel(
        arrays={"weight": weight, "bias": np.zeros(2, np.float32)}, spec=told.to_json(), about={"round": "1"}
    ).write(path)
    return path


def table(tmp_path, text, name="new.csv"):
    """A file."""
    path = tmp_path / name
    path.write_text(text)
    return path


def predicted(done):
    """Classes by row."""
    assert done.code == 0, done.err
    return [row["class"] for row in csv.DictReader(io.StringIO(done.out))]


def test_a_row_needs_no_label(fl, model, tmp_path):
    assert predicted(fl("predict", model, table(tmp_path, "a,b,c\n9,0,0\n-9,0,0\n"))) == ["1", "0"]
    assert predicted(fl("predict", model, table(tmp_path, "c,label,b,a\n0,,0,9\n0,?,0,-9\n"))) == ["1", "0"]


@pytest.mark.parametrize("row", ["9,0,0", "9,0,0,1"])
def test_without_names_nobody_can_tell_the_columns(refuses, model, tmp_path, row):
    refuses(
        "predict",
        model,
        table(tmp_path, f"{row}\n-{row}\n"),
        saying=f"{tmp_path / 'new.csv'} has no header; expected a header",
    )


def test_the_folder_names_its_best_model_and_a_file_takes_the_predictions(fl, model, tmp_path):
    rows = table(tmp_path, "a,b,c\n9,0,0\n")
    done = fl("predict", model.parent, rows, f"out={tmp_path / 'out.csv'}")
    assert done.out == f"1 predictions are in {tmp_path / 'out.csv'}\n"
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == "row,class,p(0),p(1)"


def test_a_number_is_predicted_in_its_own_unit(fl, tmp_path, spec, table_schema):
    schema = {**table_schema, "class_names": [], "target_scale": [120.0, 20.0]}
    weight = np.array([[1.0, 0.0, 0.0]], np.float32)
    told = spec(schema=schema, class_names=(), loss="mse", model_arguments={"in_features": 3, "out_features": 1})
    path = tmp_path / "model.safetensors"
    SavedModel(arrays={"weight": weight, "bias": np.zeros(1, np.float32)}, spec=told.to_json(), about={}).write(path)
    column = schema["columns"][0]
    above = column["mean"] + 2 * column["std"]
    done = fl("predict", path, table(tmp_path, f"a,b,c\n{above},0,0\n{column['mean']},0,0\n"))
    assert done.out.splitlines() == [f"row,{schema['target']}", "1,160", "2,120"], done.err


@pytest.mark.parametrize(
    ("loss", "names", "lines"),
    [
        ("binary", ("0", "1"), ["row,class,p(0),p(1)", "1,1,0.0474,0.9526", "2,0,0.9526,0.0474"]),
        ("multi_label", ("ill", "old"), ["row,p(ill),p(old)", "1,0.9526,0.0474", "2,0.0474,0.9526"]),
    ],
)
def test_one_logit_or_several_labels_are_told_as_chances(fl, linear, tmp_path, *, loss, names, lines):
    path = linear([3, -3][: 1 if loss == "binary" else 2], loss=loss, class_names=names)
    done = fl("predict", path, table(tmp_path, "a,b,c\n1,0,0\n-1,0,0\n"))
    assert done.out.splitlines() == lines, done.err


@pytest.fixture
def linear(tmp_path, spec, table_schema):
    """A file of a linear model with an output for each weight of the first column, which has mean 0 and deviation 1."""

    def write(slopes, **changes):
        schema = {
            **table_schema,
            "columns": [{**column, "mean": 0.0, "std": 1.0} for column in table_schema["columns"]],
        }
        weight = np.zeros((len(slopes), 3), np.float32)
        weight[:, 0] = slopes
        told = spec(schema=schema, model_arguments={"in_features": 3, "out_features": len(slopes)}, **changes)
        path = tmp_path / "model.safetensors"
        arrays = {"weight": weight, "bias": np.zeros(len(slopes), np.float32)}
        SavedModel(arrays=arrays, spec=told.to_json(), about={}).write(path)
        return path

    return write


def test_what_does_not_fit_is_refused(fl, refuses, model, tmp_path):
    refuses("predict", model, table(tmp_path, "a,b\n1,2\n"), saying=f"{tmp_path / 'new.csv'} has no column 'c'")
    refuses("predict", tmp_path, saying="no table is named; write fl predict MODEL TABLE")
    refuses("predict", tmp_path / "none", "x", saying=f"{tmp_path / 'none'} is not there, or has no model")
    refuses("predict", "a", "b", "c", saying="fl predict takes model and data without a key, and a, b, c are named")
    saved = SavedModel.read(model)
    SavedModel(arrays={"other": saved.arrays["bias"]}, spec=saved.spec, about={}).write(model)
    refuses(
        "predict", model, table(tmp_path, "a,b,c\n1,2,3\n"), saying=f"{model} does not fit its own spec: other arrays"
    )


def test_onnx_without_its_packages_is_refused_with_the_command_to_run(refuses, model, monkeypatch, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else real(name))
    refuses(
        "predict",
        model,
        f"onnx={tmp_path / 'm.onnx'}",
        saying="onnx is set and the packages onnx and onnxscript are not",
    )


COLUMNS = (
    NumericColumn(name="age", mean=50.0, std=10.0, marks_missing=True, zero_is_missing=False),
    NumericColumn(name="pressure", mean=130.0, std=20.0, marks_missing=False, zero_is_missing=True),
    CategoricalColumn(name="pain", levels=("none", "typical", "4"), marks_missing=True, zero_is_missing=False),
)
ROWS = [
    ("61", "150", "typical"),
    ("", "0", "none"),
    ("1e9", "", "never seen"),
    ("44", "131.5", ""),
    ("39.5", "90", "4.0"),
]


@pytest.mark.slow  # the exporter takes seconds to import
@pytest.mark.parametrize(
    ("loss", "outputs", "names", "scale"),
    [
        ("cross_entropy", 3, ("well", "ill", "worse"), None),
        pytest.param("binary", 1, ("well", "ill"), None, marks=pytest.mark.long),
        pytest.param("multi_label", 2, ("ill", "old"), None, marks=pytest.mark.long),
        pytest.param("mse", 1, (), (120.0, 20.0), marks=pytest.mark.long),
    ],
)
def test_onnx_runtime_says_of_a_raw_table_what_fl_predict_says(fl, tmp_path, spec, *, loss, outputs, names, scale):
    onnx = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    schema = TableSchema(
        names=("age", "pressure", "pain", "outcome"),
        has_header=True,
        columns=COLUMNS,
        target="outcome",
        class_names=names,
        positive_above=None,
        label_map=(),
        missing=("",),
        target_scale=scale,
    )
    width, told = schema.num_features, json.loads(schema.to_json())
    made = spec(
        schema=told, class_names=names, loss=loss, num_classes=max(2, len(names)), feature_shape=(width,),
        model_arguments={"in_features": width, "out_features": outputs},
    )  # fmt: skip
    weight = np.random.default_rng(1).normal(size=(outputs, width)).astype(np.float32)
    path = tmp_path / "model.safetensors"
    arrays = {"weight": weight, "bias": np.full(outputs, 0.1, np.float32)}
    SavedModel(arrays=arrays, spec=made.to_json(), about={}).write(path)
    rows = table(tmp_path, "\n".join(["age,pressure,pain", *(",".join(row) for row in ROWS), ""]))
    said = fl("predict", path, rows, f"onnx={tmp_path / 'm.onnx'}")
    assert said.code == 0, said.err
    line, *lines = said.out.splitlines()
    assert line == (
        f"written to {tmp_path / 'm.onnx'}: it takes rows and gives what `fl predict` says of them; its metadata names columns "
        "and classes"
    )

    session = onnx.InferenceSession(str(tmp_path / "m.onnx"))
    about = session.get_modelmeta().custom_metadata_map
    columns = json.loads(about["fairshare.columns"])
    assert json.loads(about["fairshare.classes"]) == list(names)
    levels = {column["name"]: column["levels"] for column in columns if "levels" in column}
    assert [column["name"] for column in columns] == ["age", "pressure", "pain"]
    assert levels == {"pain": ["none", "typical", "4"]}
    places = {**{level: float(place) for place, level in enumerate(levels["pain"])}, "4.0": 2.0}
    raw = [
        [float(age or "nan"), float(pressure or "nan"), places.get(pain, -1.0 if pain else float("nan"))]
        for age, pressure, pain in ROWS
    ]
    (found,) = session.run(None, {"rows": np.array(raw, np.float64)})
    assert found.dtype == np.float64
    expected = [[float(cell) for cell in row.split(",") if re.fullmatch(r"[-+.e\d]+", cell)][1:] for row in lines[1:]]
    assert found == pytest.approx(np.array(expected), abs=1e-4, rel=1e-5)


@pytest.mark.slow
def test_onnx_runtime_takes_ids_as_they_stand_in_the_table(fl, tmp_path, spec):
    onnx = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    schema = TableSchema(
        names=("first", "second", "liked"),
        has_header=True,
        columns=(IdColumn(name="first", highest=9), IdColumn(name="second", highest=9)),
        target="liked",
        class_names=("no", "yes"),
        positive_above=None,
        label_map=(),
        missing=("",),
        target_scale=None,
    )
    made = spec(
        schema=json.loads(schema.to_json()), class_names=("no", "yes"), feature_shape=(2,),
        model="torch.nn:EmbeddingBag", model_arguments={"num_embeddings": 10, "embedding_dim": 2, "mode": "sum"},
    )  # fmt: skip
    weight = np.random.default_rng(1).normal(size=(10, 2)).astype(np.float32)
    path = tmp_path / "model.safetensors"
    SavedModel(arrays={"weight": weight}, spec=made.to_json(), about={}).write(path)
    rows = table(tmp_path, "first,second\n3,9\n0,1\n7,7\n")
    said = fl("predict", path, rows, f"onnx={tmp_path / 'm.onnx'}")
    assert said.code == 0, said.err
    session = onnx.InferenceSession(str(tmp_path / "m.onnx"))
    (found,) = session.run(None, {"rows": np.array([[3, 9], [0, 1], [7, 7]], np.float64)})
    told = [row for row in csv.reader(io.StringIO(said.out)) if row and re.fullmatch(r"[-+.e\d]+", row[-1])]
    assert found == pytest.approx(np.array([[float(cell) for cell in row[-2:]] for row in told]), abs=1e-4)


@pytest.mark.slow
def test_a_model_that_onnx_does_not_know_is_refused_in_one_line(refuses, model, monkeypatch, tmp_path):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")

    def export(*arguments, **options):
        raise RuntimeError("\n  Unsupported: aten::odd\nand two hundred lines")

    monkeypatch.setattr(torch.onnx, "export", export)
    refuses(
        "predict",
        model,
        f"onnx={tmp_path / 'm.onnx'}",
        saying="torch.nn:Linear cannot be written as ONNX (RuntimeError: Unsupported: aten::odd); `fl predict` without onnx= uses",
    )
    assert not (tmp_path / "m.onnx").exists()


@pytest.fixture
def ward(tmp_path, spec):
    """A model of a number and a category, whose coordinator had `f` read as female: class 1 is what the sex says."""
    rows = "".join(f"{1 + n % 8 / 10:.1f},{('male', 'f')[n % 2]},{('ill', 'well')[n % 2]}\n" for n in range(80))
    path = table(tmp_path, "crea,sex,outcome\n" + rows, name="coordinator.csv")
    data = DataConfig(name="csv", path=str(path), target="outcome", level_map=["sex:f:female"])
    found = load_federation(data, PartitionConfig(name="iid", clients=1), seed=0)
    schema = json.loads(found.schema.to_json())
    told = spec(
        schema=schema,
        class_names=tuple(schema["class_names"]),
        feature_shape=found.feature_shape,
        model_arguments={"in_features": 3, "out_features": 2},
    )
    weight = np.array([[0, -9, 9], [0, 9, -9]], np.float32)
    path = tmp_path / "ward.safetensors"
    SavedModel(arrays={"weight": weight, "bias": np.zeros(2, np.float32)}, spec=told.to_json(), about={}).write(path)
    return path


def test_a_table_is_read_with_the_tasks_own_level_map(fl, ward, tmp_path):
    rows = table(tmp_path, "crea,sex\n1.1,f\n1.1,female\n1.2,male\n")
    assert predicted(fl("predict", ward, rows)) == ["well", "well", "ill"]


@pytest.mark.parametrize(
    ("text", "saying", "settings"),
    [
        (
            "crea;sex\n1,1;f\n1,2;male\n",
            "line 2, column 'crea' holds '1,1'; expected a number; set decimal=comma",
            ["decimal=comma"],
        ),
        (
            "crea,sex\n1.1,F\n1.2,m\n",
            "column 'sex' of {path} holds 'F', 'm' (2 rows), which the task does not know; expected its levels (female, male); set "
            "level_map=[sex:F:female,sex:m:male] to merge them",
            ["level_map=[sex:F:female,sex:m:male]"],
        ),
        (
            "crea,sex\n" + "97.2,f\n106.1,male\n" * 3,
            "column 'crea' of {path} is 101.7 in the middle, where the task's is 1.",
            ["scale=crea:0.0113"],
        ),
    ],
)
def test_a_table_in_other_words_or_units_is_refused_with_its_setting(fl, ward, tmp_path, *, text, saying, settings):
    rows = table(tmp_path, text)
    done = fl("predict", ward, rows)
    assert (done.code, done.out) == (1, "")
    assert saying.format(path=rows) in done.err
    assert predicted(fl("predict", ward, rows, *settings)) == ["well", "ill"] * ((len(text.splitlines()) - 1) // 2)


def test_what_the_task_does_not_know_of_a_table_is_noted_beside_the_predictions(fl, ward, tmp_path):
    done = fl("predict", ward, table(tmp_path, "crea,sex\n1.1,f\n1.2,diverse\n"))
    assert done.err == (
        "note: column 'sex' holds 'diverse' in 1 row, which the task does not know: they count as if nothing stood there\n"
    )
    assert len(predicted(done)) == 2
