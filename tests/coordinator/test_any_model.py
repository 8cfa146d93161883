"""Federations of models and losses that are no classification: what is reported, and adapters of a language model from end to end."""

import importlib.util
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from fl.bundle.format import Bundle
from fl.cli.commands.predict import main as predict
from fl.coordinator.config import AttackConfig, ChainConfig, ModelConfig, RunConfig, ScorerConfig, TaskConfig
from fl.coordinator.result import Watcher
from fl.coordinator.run import run_federation
from fl.errors import FairshareError
from fl.report.page import page
from fl.report.summary import summarise
from fl.task.data import DataConfig, PartitionConfig
from fl.task.saved_model import SavedModel

LINES = {
    "anna": b"the rain falls on the hill and the rain runs down the hill to the sea ",
    "bert": b"a dog ran over the road and the dog sat down by the side of the road ",
    "cora": b"she said that he said that she had said what he had said to her then ",
}
LLAMA = {
    "config": {
        "model_type": "llama", "vocab_size": 256, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 32, "initializer_range": 0.1,
    },
    "lora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "lm_head"]},
}  # fmt: skip


class Normed(nn.Module):
    """Batch norm on whatever comes in; importable for nodes that trust this module."""

    def __init__(self, feature_shape, num_classes):
        super().__init__()
        self.norm, self.out = nn.BatchNorm1d(feature_shape[0]), nn.Linear(feature_shape[0], num_classes)

    def forward(self, x):
        return self.out(self.norm(x * 1000 + 50_000))


def run(folder, anvil, **changes):
    """One run and its summary."""
    settings = {
        "task": TaskConfig(rounds=2, steps=5, batch_size=16),
        "data": DataConfig(name="breast_cancer", limit=200),
        "partition": PartitionConfig(name="iid", clients=3),
        "chain": ChainConfig(id=31337, url=anvil),
        "scorer": ScorerConfig(read_clients=0),
    }
    config = RunConfig(**{**settings, **changes})
    result = run_federation(config, folder=folder, watcher=Watcher())
    return result, summarise(config, result, folder=folder)


def test_one_logit_is_right_or_wrong(anvil, tmp_path):
    result, summary = run(tmp_path, anvil, task=TaskConfig(rounds=1, steps=10, loss="binary"))
    assert result.tests[-1].accuracy > 0.8
    assert "accuracy, and its clients earned" in page(summary)


def test_several_labels_have_a_loss_and_no_accuracy(anvil, tmp_path):
    result, summary = run(tmp_path, anvil, task=TaskConfig(rounds=1, steps=10, loss="multi_label"))
    assert result.tests[-1].accuracy is None
    assert result.tests[-1].loss < result.initial.loss
    told = page(summary)
    assert "test loss, and its clients earned" in told
    assert "Accuracy" not in told


def test_a_batch_norm_on_raw_features_learns_and_its_statistics_are_the_committed_rows(anvil, tmp_path):
    result, _ = run(tmp_path, anvil, model=ModelConfig(path=f"{__name__}:Normed"), task=TaskConfig(rounds=2, steps=10))
    assert result.tests[-1].accuracy > 0.85
    bundle, _ = Bundle.read(result.rounds[-1].bundle)
    assert bundle.layout.names == ("norm.weight", "norm.bias", "out.weight", "out.bias")
    assert all(report.scores and not report.refusals for report in result.rounds)


def test_a_model_that_does_not_work_is_refused_before_a_chain_is_started(tmp_path):
    config = RunConfig(
        model=ModelConfig(path="torch.nn:LazyLinear", arguments={"out_features": 2}),
        data=DataConfig(name="breast_cancer", limit=100),
        partition=PartitionConfig(name="iid", clients=2),
    )
    with pytest.raises(FairshareError, match="lazy and has no size yet"):
        run_federation(config, folder=tmp_path, watcher=Watcher())
    assert [path.name for path in tmp_path.iterdir()] == ["data.json"]  # what was understood of the data, and no chain


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs fairshare[llm]")
def test_adapters_of_a_language_model_are_trained_scored_and_paid(anvil, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, line in LINES.items():
        (texts / f"{name}.txt").write_bytes(line * 20)
    task = TaskConfig(
        rounds=2,
        steps=8,
        batch_size=8,
        learning_rate=0.02,
        optimizer="adam",
        loss="language_modelling",
        trainable="adapters",
    )
    result, summary = run(
        tmp_path,
        anvil,
        task=task,
        model=ModelConfig(path="fl.task.language:CausalLM", arguments=LLAMA),
        data=DataConfig(name="text", path=str(texts), context=16),
        partition=PartitionConfig(name="natural", clients=0),
        attack=AttackConfig(behaviours=["2:free_ride"]),
        scorer=ScorerConfig(read_clients=8),
    )
    assert result.tests[-1].perplexity == pytest.approx(math.exp(result.tests[-1].loss))
    assert result.tests[-1].perplexity < 0.7 * result.initial.perplexity
    assert [client.name for client in result.clients] == ["anna", "bert", "cora"]
    assert result.clients[0].earned > 0 < result.clients[1].earned
    assert result.clients[2].earned == 0
    assert len(result.spec.frozen) == 64
    bundle, _ = Bundle.read(result.rounds[-1].bundle)
    assert all("lora_" in name for name in bundle.layout.names)
    assert result.parameters == bundle.layout.size < 3000  # of 10,000: the base is not sent
    told = page(summary)
    assert "perplexity, and its clients earned" in told
    sample = summary["sample"]
    assert bytes(sample["opening"], "ascii") in LINES["anna"] * 2  # the first of the test rows is of the first file
    assert sample["before"] != sample["after"]
    assert "A sample of text" in told
    errors = result.rounds[0].reading.errors
    assert all(
        np.isfinite(error) and error > 0 for account, error in errors.items() if account != result.clients[2].account
    )


ROWS = {
    "labels": [{"text": f"it was {word} {word}", "label": word} for word in ("good", "bad")],
    "tags": [{"tokens": ["it", "was", word], "tags": ["o", "o", word]} for word in ("good", "bad")],
    "pairs": [{"prompt": "it was ", "chosen": "good", "rejected": "bad"}],
}


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs fairshare[llm]")
@pytest.mark.parametrize(
    ("form", "kind", "loss"),
    [
        ("labels", "SequenceClassifier", "cross_entropy"),
        ("tags", "TokenClassifier", "token_classification"),
        ("pairs", "CausalLM", "preference"),
    ],
)
def test_adapters_learn_classes_tags_and_preferences(anvil, tmp_path, form, kind, loss):
    (tmp_path / "texts").mkdir()
    for name in ("anna", "bert"):
        rows = "".join(json.dumps(row) + "\n" for row in ROWS[form] * 20)
        (tmp_path / "texts" / f"{name}.jsonl").write_text(rows)
    result, summary = run(
        tmp_path,
        anvil,
        task=TaskConfig(
            rounds=1, steps=15, batch_size=8, learning_rate=0.01, optimizer="adam", loss=loss, trainable="adapters"
        ),
        model=ModelConfig(
            path=f"fl.task.language:{kind}",
            arguments={"config": LLAMA["config"], "lora": {"r": 4, "target_modules": ["q_proj", "v_proj"]}},
        ),
        data=DataConfig(name="text", path=str(tmp_path / "texts"), context=20, form=form),
        partition=PartitionConfig(name="natural", clients=0),
    )
    assert result.tests[-1].loss < 0.9 * result.initial.loss
    assert (result.tests[-1].accuracy is None) == (form != "labels")
    assert result.tests[-1].perplexity is None
    assert summary["sample"] is None
    assert all(client.earned > 0 for client in result.clients)


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs fairshare[llm]")
def test_saved_adapters_read_a_text_and_go_on(tmp_path, spec, capsys):
    from fl.task.model_vector import sent_arrays  # noqa: PLC0415

    named = spec(
        model="fl.task.language:CausalLM",
        model_arguments=LLAMA,
        loss="language_modelling",
        trainable="adapters",
        feature_shape=(8,),
        num_classes=1,
        class_names=(),
        schema={"context": 8, "tokens": "bytes"},
    )
    named = named.with_base(named.build_model())
    arrays = sent_arrays(named.build_model(), whole=False)
    SavedModel(arrays=arrays, spec=named.to_json(), about={}).write(tmp_path / "best.safetensors")
    (tmp_path / "own.txt").write_bytes(LINES["anna"])
    predict([str(tmp_path), str(tmp_path / "own.txt")])
    seen = capsys.readouterr()
    lines = seen.out.splitlines()
    assert lines[0] == "row,perplexity"
    assert len(lines) == 1 + 8
    assert all(float(line.split(",")[1]) > 1 for line in lines[1:])
    assert "over 8 rows" in seen.err
    assert "it goes on: “" in seen.err


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs fairshare[llm]")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "a language model has a config or a base"),
        ({"config": {"model_type": "nothing"}}, "model.arguments.config is not a language model's"),
        (
            {"config": LLAMA["config"], "lora": {"target_modules": ["nowhere"]}},
            "lora.target_modules names 'nowhere', and the base has no such layer; it has down_proj, embed_tokens, gate_proj",
        ),
        ({"config": LLAMA["config"], "dtype": "int8"}, "model.arguments.dtype is 'int8'; set float32 or bfloat16"),
        ({"base": "../../etc"}, "write the name of a folder in"),
        ({"base": "org/absent"}, "the base org/absent is not on this machine"),
    ],
)
def test_a_language_model_that_cannot_be_built_is_refused(spec, arguments, message, monkeypatch, tmp_path):
    monkeypatch.setenv("FAIRSHARE_BASES", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FairshareError, match=message):
        spec(model="fl.task.language:CausalLM", model_arguments=arguments).build_model()


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs fairshare[llm]")
def test_a_base_is_read_from_this_machines_disk_and_named_by_its_hash(spec, monkeypatch, tmp_path):
    from fl.task.language import CausalLM  # noqa: PLC0415 - only where the extra is there
    from fl.task.spec import OtherBase  # noqa: PLC0415

    torch.manual_seed(1)
    CausalLM(config=LLAMA["config"]).model.save_pretrained(tmp_path / "tiny")
    monkeypatch.setenv("FAIRSHARE_BASES", str(tmp_path))
    task_spec = spec(
        model="fl.task.language:CausalLM", model_arguments={"base": "tiny", "lora": LLAMA["lora"]}, trainable="adapters"
    )
    told = task_spec.with_base(task_spec.build_model())
    assert told.build_model()(torch.zeros(1, 4, dtype=torch.int64)).shape == (1, 4, 256)
    CausalLM(config=LLAMA["config"]).model.save_pretrained(tmp_path / "tiny")
    with pytest.raises(OtherBase, match="get the base that the coordinator names"):
        told.build_model()
