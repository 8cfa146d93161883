"""Classifiers of texts and of words, and a model beside its base: the heads and the losses that go with them."""

import math

import pytest
import torch

from fl.errors import ConfigError
from fl.scoring.passes import threads_for
from fl.task.model_vector import choose, travelling
from fl.task.models import build_model
from fl.task.objectives import Preference, TokenClassification, UnfitOutput
from fl.task.trust import Trust

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

CONFIG = {
    "model_type": "llama", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 16, "initializer_range": 0.3,
}  # fmt: skip
LORA = {"r": 2, "target_modules": ["q_proj", "v_proj"]}
TEXTS = torch.tensor([[3, 4, 5, -1, -1], [6, 7, 8, 9, 10]])


def build(kind, **arguments):
    given = {"config": CONFIG, "lora": LORA, **arguments}
    given = {name: value for name, value in given.items() if value is not None}
    return build_model(
        f"fl.task.language:{kind}", given, feature_shape=(5,), num_classes=3, seed=0, trust=Trust()
    ).eval()


@pytest.mark.parametrize("model_type", ["llama", "bert"])
def test_a_text_has_the_same_class_whatever_stands_behind_its_end(model_type):
    layers = ["q_proj"] if model_type == "llama" else ["query"]
    model = build(
        "SequenceClassifier", config={**CONFIG, "model_type": model_type}, lora={"r": 2, "target_modules": layers}
    )
    found = model(TEXTS)
    assert found.shape == (2, 3)
    torch.testing.assert_close(model(TEXTS[:1, :3]), found[:1], atol=1e-5, rtol=1e-4)
    assert any("modules_to_save" in name for name in travelling(choose(model, "adapters")))


def test_a_base_without_a_head_gets_one_that_is_the_same_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("FAIRSHARE_BASES", str(tmp_path))
    settings = {name: value for name, value in CONFIG.items() if name != "model_type"}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).save_pretrained(tmp_path / "tiny")
    first, second = (build("SequenceClassifier", config=None, base="tiny") for _ in range(2))
    assert first(TEXTS).equal(second(TEXTS))
    assert build("TokenClassifier", config=None, base="tiny")(TEXTS).shape == (2, 5, 3)


def test_the_loss_of_words_counts_those_that_have_a_class():
    logits = torch.randn(2, 5, 3)
    labels = torch.tensor([[1, -100, -100, -100, -100], [0, -100, 2, -100, -100]])
    rows = TokenClassification().rows_of(logits, labels)
    logs = logits.log_softmax(2)
    expected = torch.stack([-logs[0, 0, 1], -(logs[1, 0, 0] + logs[1, 2, 2]) / 2])
    torch.testing.assert_close(rows, expected)
    with pytest.raises(UnfitOutput, match=r"takes logits of shape \(n, tokens, classes\)"):
        TokenClassification().rows_of(logits[:, 0], labels)


def pairs():
    tokens = torch.tensor([[[1, 2, 3, 4], [1, 2, 5, 6]]])
    targets = torch.tensor([[[-100, 3, 4, -100], [-100, 5, 6, 7]]])
    return tokens, targets


def test_preference_is_measured_against_the_base_and_leaves_the_model_as_it_was():
    model, loss = build("CausalLM"), Preference()
    choose(model, "*lora_A*")  # peft would say anew what is trained
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    tokens, targets = pairs()
    assert loss(model, (tokens, targets)).tolist() == pytest.approx([math.log(2)])
    base = model.reference(tokens[0])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    assert model.reference(tokens[0]).equal(base)
    changed = model(tokens[0])
    assert not changed.allclose(base)

    def gain(side):
        held = targets[0, side] != -100
        of = [each[side].log_softmax(1)[held, targets[0, side][held]].sum() for each in (changed, base)]
        return of[0] - of[1]

    expected = -torch.nn.functional.logsigmoid(0.1 * (gain(0) - gain(1)))
    torch.testing.assert_close(loss(model, (tokens, targets)), expected[None], atol=1e-6, rtol=1e-5)
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before


def test_nobody_passes_beside_a_loss_that_switches_adapters(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr("fl.scoring.passes._cores", lambda: 4)
    model = build("CausalLM")
    assert threads_for(model, TokenClassification()) == 4
    assert threads_for(model, Preference()) == 1


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ConfigError, match="has no adapters; set model.arguments.lora"):
        Preference()(build("CausalLM", lora=None), pairs())
    with pytest.raises(UnfitOutput, match="data.form=pairs"):
        Preference()(build("CausalLM"), (TEXTS, TEXTS))
    with pytest.raises(UnfitOutput, match=r"give it reference\(tokens\)"):
        Preference()(torch.nn.Embedding(40, 40), pairs())
