"""Best and last model of a run, as files that can be used, and the card about them."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save_file
from safetensors.torch import save_file as save_torch

from fl.bundle.store import BundleStore
from fl.report.handover import BadSummary, hand_over
from fl.report.model_files import write_models
from fl.task.saved_model import BadModelFile, SavedModel

from .run_summary import run_summary


@pytest.fixture(scope="module")
def played(lasting_world):
    """Three rounds."""
    world = lasting_world(rounds=3)
    world.run(world.app(world.downhill))
    return world


@pytest.fixture
def run(played, tmp_path):
    """The run's folder and a summary in which round 2 was the best."""
    shutil.copytree(played.folder / "bundles", tmp_path / "bundles")
    summary = run_summary(clients=3, rounds=3)
    summary["rounds"][1]["test_loss"] = 0.01
    summary["task"] |= {"name": "Heart disease", "description": "Says who is ill."}
    summary["totals"] |= {"initial_accuracy": 0.5, "final_accuracy": 0.9, "rounds": 3}
    for round_ in summary["rounds"]:
        round_.setdefault("refusals", [])
    return tmp_path, summary, played.spec.to_json()


def test_best_and_last_are_the_rounds_own_models_with_their_spec(run):
    folder, summary, spec = run
    assert [path.name for path in write_models(folder, summary, spec=spec)] == [
        "best.safetensors",
        "last.safetensors",
        "README.md",
    ]
    for name, number in (("best", 2), ("last", 3)):
        saved = SavedModel.read(folder / "model" / f"{name}.safetensors")
        assert (saved.spec, saved.about["round"], saved.about["name"]) == (spec, str(number), "Heart disease")
        true = load((folder / "bundles" / f"round-{number:04d}" / "next.safetensors").read_bytes())
        assert all(np.array_equal(saved.arrays[key], true[key]) for key in true)


def test_the_card_says_what_it_is_who_trained_it_and_where_it_ends(run):
    folder, summary, spec = run
    write_models(folder, summary, spec=spec)
    card = (folder / "model" / "README.md").read_text()
    for told in (
        "# Heart disease", "Says who is ill.", "| `best.safetensors` | 2 of 3 |", "fl predict model/best.safetensors TABLE",
        "- model: `torch.nn:Linear`", "- trained on the shards of 3 clients", "| `client-2` |", "## Limits",
    ):  # fmt: skip
        assert told in card


def test_the_card_of_a_regression_or_a_language_model_tells_what_there_is(run):
    folder, summary, spec = run
    summary["totals"] |= {"initial_accuracy": None, "final_accuracy": None, "initial_loss": 0.7}
    summary["rounds"] = [round_ | {"accuracy": None, "perplexity": 2.5} for round_ in summary["rounds"]]
    write_models(folder, summary, spec=spec)
    told = (folder / "model" / "README.md").read_text()
    assert "| file | after round | test loss |\n|---|---|---|\n| `best.safetensors` | 2 of 3 | 0.0100 |" in told
    assert "- test loss 0.7000 before the first round" in told
    assert "test_accuracy" not in SavedModel.read(folder / "model" / "best.safetensors").about
    summary["totals"] |= {"initial_perplexity": 9.0}
    text = json.loads(spec) | {"schema": {"tokens": "bytes", "context": 32}, "feature_shape": [32]}
    write_models(folder, summary, spec=json.dumps(text))
    told = (folder / "model" / "README.md").read_text()
    assert "| file | after round | test perplexity | test loss |" in told
    assert "- test perplexity 9.00 before the first round, 2.50 after the last" in told
    assert "- the next byte of a text, from up to 32 before it" in told


def test_who_chose_a_name_stands_there_with_its_account(run):
    folder, summary, spec = run
    summary["clients"][0] |= {"name": "Cleveland clinic"}
    write_models(folder, summary, spec=spec)
    account = summary["clients"][0]["account"]
    assert f"| `Cleveland clinic`, `{account[:6]}…{account[-4:]}` |" in (folder / "model" / "README.md").read_text()


def test_a_model_that_was_dropped_from_the_folder_is_taken_from_the_archive(run):
    folder, summary, spec = run
    elsewhere = BundleStore.at(str(folder / "elsewhere"))
    for number in (1, 2, 3):
        elsewhere.put(number, folder / "bundles" / f"round-{number:04d}")
    BundleStore.at(str(folder / "bundles")).prune(keep=1)
    write_models(folder, summary, spec=spec)
    assert SavedModel.read(folder / "model" / "best.safetensors").about["round"] == "3"  # of those that are left
    write_models(folder, summary, spec=spec, archive=str(folder / "elsewhere"))
    assert SavedModel.read(folder / "model" / "best.safetensors").about["round"] == "2"


def test_without_a_round_there_is_no_model(run):
    folder, summary, spec = run
    assert write_models(folder, {**summary, "rounds": []}, spec=spec) == []
    assert not (folder / "model").exists()


def test_what_is_no_model_file_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(BadModelFile, match="is not there; name a model that `fl finish` wrote"):
        SavedModel.read(path)
    path.write_text("none")
    with pytest.raises(BadModelFile, match="is not a safetensors file of a model"):
        SavedModel.read(path)
    save_file({"a": np.zeros(2, np.float32)}, path)
    with pytest.raises(BadModelFile, match="holds arrays and does not say how to use them"):
        SavedModel.read(path)
    save_file({"a": np.zeros(2, np.float32)}, path, {"format": "fairshare-model", "version": "7", "spec": "{}"})
    with pytest.raises(BadModelFile, match="is of version 7, and this Fairshare reads 1"):
        SavedModel.read(path)
    told = {"format": "fairshare-model", "version": "1", "spec": "{}"}
    save_torch({"a": torch.zeros(2, dtype=torch.bfloat16)}, path, told)
    with pytest.raises(
        BadModelFile, match=r"holds numbers of a kind that is not read here \(BF16 in a\); name a model"
    ):
        SavedModel.read(path)
    save_torch({"a": torch.zeros(2, dtype=torch.complex64)}, path, told)
    with pytest.raises(BadModelFile, match=r"holds numbers of a kind that is not read here \(C64 in a\)"):
        SavedModel.read(path)
    save_file({"a": np.zeros(2, np.float32)}, path, {**told, "spec": "{"})
    with pytest.raises(BadModelFile, match="is not a safetensors file of a model .BadJson"):
        SavedModel.read(path)


@pytest.mark.parametrize(
    "text", ["{", "[]", "[" * 9000, "{}", '{"config": {"coordinator": {}}, "rounds": [7]}', '{"config": 3}']
)
def test_a_summary_that_no_run_has_written_is_refused_by_name(run, played, text):
    folder, _, _ = run
    played.invite.write(folder / "invite.json")
    (folder / "summary.json").write_text(text)
    with pytest.raises(
        BadSummary, match=r"summary\.json is not as a run writes it \(.*\); put back the file that the run left"
    ):
        hand_over(folder, account=None)
