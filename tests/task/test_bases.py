"""Bases on a machine's own disk: read whole or refused in one line, and no code that lies beside them ever runs."""

import builtins
import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from clients.joining import cost
from fl.errors import ConfigError
from fl.task.model_size import ModelTooLarge
from fl.task.models import build_model
from fl.task.trust import Trust

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

SIZE = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 8,
}  # fmt: skip
LORA = {"r": 2, "target_modules": ["q_proj", "v_proj"]}
PLANTED = "open({!r}, 'w').write('ran')\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base as save_pretrained writes it."""
    folder = tmp_path_factory.mktemp("made") / "tiny"
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZE)).save_pretrained(folder)
    return folder


@pytest.fixture
def bases(tmp_path, monkeypatch, made):
    """A folder of bases with one that is whole."""
    shutil.copytree(made, tmp_path / "tiny")
    monkeypatch.setenv("FAIRSHARE_BASES", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def build(**arguments):
    """The model as a spec of somebody else's has it built."""
    return build_model(
        "fl.task.language:CausalLM",
        {"lora": LORA, **arguments},
        feature_shape=(8,),
        num_classes=1,
        seed=0,
        trust=Trust(),
    )


def configured(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def reweighted(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shard", ["1GB", "4KB"])
def test_weights_of_any_kind_in_one_file_or_several_are_read_without_a_word(bases, capfd, kind, shard):
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZE)).to(kind)
    model.save_pretrained(bases / "other", max_shard_size=shard)
    capfd.readouterr()
    read = build(base="other").model.base_model.model.lm_head.weight
    assert capfd.readouterr() == ("", "")
    assert torch.equal(read, model.lm_head.weight.float())


def test_tied_weights_are_not_missed(bases):
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZE, tie_word_embeddings=True)).save_pretrained(
        bases / "tied"
    )
    assert build(base="tied")(torch.zeros(1, 4, dtype=torch.int64)).shape == (1, 4, 40)


def _without_a_weight(folder):
    reweighted(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))


def _with_another_shape(folder):
    reweighted(folder, lambda weights: weights.update({"model.layers.1.mlp.up_proj.weight": torch.zeros(3, 16)}))


def _with_nan(folder):
    reweighted(folder, lambda weights: weights["model.norm.weight"].fill_(torch.nan))


def _cut_off(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:3000])


def _pickled(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_a_weight, r"the base tiny lacks model\.layers\.1\.mlp\.up_proj\.weight, .*fetch its folder again"),
        (_with_another_shape, r"has model\.layers\.1\.mlp\.up_proj\.weight of another shape"),
        (_with_nan, r"holds NaN or infinity in model\.norm\.weight"),
        (_cut_off, "the base tiny cannot be read .*fetch its folder again"),
        (_pickled, "its weights are pickles, which can run code and are never read: save it again"),
        (lambda folder: configured(folder, quantization_config={"quant_method": "bitsandbytes"}), "is quantised; take the one"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "tiny is an adapter and not a base"),
        (lambda folder: (folder / "config.json").write_text("{"), "the base tiny cannot be read"),
        (lambda folder: (folder / "config.json").unlink(), "the base tiny cannot be read"),
    ],
)  # fmt: skip
def test_a_base_that_is_not_whole_is_refused_in_one_line(bases, capfd, spoil, message):
    spoil(bases / "tiny")
    with pytest.raises(ConfigError, match=message) as refused:
        build(base="tiny")
    assert "\n" not in str(refused.value)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["llama", "planted"])
def test_code_beside_a_base_is_not_run_and_nobody_is_asked(bases, tmp_path, monkeypatch, kind):
    asked = []
    monkeypatch.setattr(builtins, "input", lambda *words: asked.append(words) or "y")
    there = bases / "tiny"
    configured(there, model_type=kind, auto_map={"AutoConfig": "planted.C", "AutoModelForCausalLM": "planted.M"})
    (there / "planted.py").write_text(PLANTED.format(str(tmp_path / "ran")))
    if kind == "llama":
        build(base="tiny")
    else:
        with pytest.raises(ConfigError, match="the base tiny needs code of its own, which is never run"):
            build(base="tiny")
    assert not asked
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lora": {**LORA, "megatron_config": {"x": 1}, "megatron_core": "megatron_planted"}}, "lora has 'megatron_config'; a task may set r,"),
        ({"lora": {**LORA, "bias": "all"}}, "lora has .bias.; a task may set r,"),
        ({"lora": {**LORA, "lora_dorpout": 0.1}}, "lora has 'lora_dorpout'; did you mean lora_dropout"),
        ({"lora": {**LORA, "init_lora_weights": "corda"}}, "init_lora_weights is 'corda'; set true, false, gaussian or orthogonal"),
        ({"lora": {"target_modules": ["q_proj", "v_porj"]}}, "names 'v_porj', and the base has no such layer; did you mean v_proj"),
        ({"lora": {**LORA, "modules_to_save": ["lm_haed"]}}, "modules_to_save names 'lm_haed'.*did you mean lm_head"),
        ({"config": {"model_type": "llama", **SIZE, "attn_implementation": "org/kernel"}}, "attn_implementation is 'org/kernel'; set eager or sdpa"),
        ({"config": {"model_type": "llama", **SIZE, "auto_map": {}}}, "config has auto_map, which no task may set"),
        ({"config": {"model_type": "bert", **SIZE}, "lora": None}, "BertLMHeadModel looks at the tokens that follow"),
    ],
)  # fmt: skip
def test_settings_that_lead_to_code_or_nowhere_are_refused(bases, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**({"base": "tiny"} if "config" not in arguments else {}), **arguments)


def test_more_tokens_than_a_base_takes_and_tokens_that_it_does_not_know_are_named(bases):
    model = build(base="tiny")
    with pytest.raises(ConfigError, match="takes 8 tokens at once and a row has 9; set data.context to 8 or less"):
        model(torch.zeros(1, 9, dtype=torch.int64))
    with pytest.raises(ConfigError, match="has token 255 and the base knows 40, 0 to 39; set data.tokens"):
        model(torch.full((1, 4), 255))


def test_a_base_on_disk_may_be_larger_than_what_travels_and_one_that_is_drawn_may_not(bases, monkeypatch, spec):
    monkeypatch.setattr("fl.task.models.MOST_MODEL", 1000)
    monkeypatch.setattr("fl.task.spec.MOST_MODEL", 1000)
    assert sum(parameter.numel() for parameter in build(base="tiny").parameters()) > 2000
    with pytest.raises(ModelTooLarge, match="1,000"):
        build(config={"model_type": "llama", **SIZE})
    given = {"model": "fl.task.language:CausalLM", "loss": "language_modelling"}
    adapters = spec(**given, model_arguments={"base": "tiny", "lora": LORA}, trainable="adapters")
    assert adapters.build_model()
    whole = spec(**given, model_arguments={"base": "tiny"})
    with pytest.raises(ConfigError, match="values of the model travel, 1,000 are the most; train adapters of it"):
        whole.build_model()


def test_what_a_base_takes_is_known_before_it_is_read(bases, monkeypatch, spec):
    """From config.json alone: there are no weights here."""
    (bases / "tiny" / "model.safetensors").unlink()
    configured(bases / "tiny", hidden_size=4096, intermediate_size=8192, num_hidden_layers=60, vocab_size=100_000)
    needed = {}
    for dtype in ("float32", "bfloat16"):
        found = spec(
            model="fl.task.language:CausalLM",
            model_arguments={"base": "tiny", "lora": LORA, "dtype": dtype},
            loss="language_modelling",
            trainable="adapters",
        )
        needed[dtype] = cost.least_memory(found)
    assert needed["float32"] > 20 << 30
    assert needed["bfloat16"] == pytest.approx(needed["float32"] / 2, rel=0.01)
    monkeypatch.setattr(cost, "_free_memory", lambda: 8 << 30)
    with pytest.raises(cost.TooLittleMemory, match="and this machine has 8.6 GB left"):
        cost.check_memory(needed["bfloat16"])


def test_checkpointing_recomputes_the_same_without_a_word(bases, capfd):
    found = []
    for checkpointing in (False, True):
        model = build(base="tiny", checkpointing=checkpointing).train()
        capfd.readouterr()
        model(torch.arange(8)[None]).square().mean().backward()
        found.append([parameter.grad for name, parameter in model.named_parameters() if "lora_B" in name])
        assert capfd.readouterr() == ("", "")
    for plain, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(plain, recomputed)


@pytest.mark.parametrize("library", ["transformers", "peft"])
def test_the_library_that_is_missing_is_the_one_that_is_named(bases, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=f"^{library} is not installed .*run pip install 'fairshare\\[llm\\]'"):
        build(base="tiny")
