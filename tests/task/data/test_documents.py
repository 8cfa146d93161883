"""Text in many forms: lines of JSON, Parquet, what `datasets` saved, conversations, and tokens of a tokeniser on disk."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from torch import nn

from clients.shard import survey_own_shard
from clients.trainer import train
from fl.task.data import DataConfig, DataError, PartitionConfig, TextSchema, load_federation, read_text_shard
from fl.task.data.text import IGNORED
from fl.task.spec import TaskSpec, rows_of_dataset

DOCUMENTS = ["one two three four five", "six seven eight", "nine ten"]
TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
ASKED = "<|user|>\nhi\n<|assistant|>\n"
tokenizers = pytest.importorskip("tokenizers")


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def saved(folder, rows, *, files=1):
    """As `datasets.Dataset.save_to_disk` writes a data set."""
    folder.mkdir()
    names = [f"data-{number:05d}-of-{files:05d}.arrow" for number in range(files)]
    for number, name in enumerate(names):
        table = pa.Table.from_pylist(rows[number::files])
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    return folder


@pytest.fixture
def bases(tmp_path, monkeypatch):
    """A base with a tokeniser of whole words."""
    words = {word: number for number, word in enumerate(["?", *" ".join(DOCUMENTS).split()])}
    held = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    held.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    (tmp_path / "bases" / "tiny").mkdir(parents=True)
    held.save(str(tmp_path / "bases" / "tiny" / "tokenizer.json"))
    monkeypatch.setenv("FAIRSHARE_BASES", str(tmp_path / "bases"))
    return tmp_path / "bases"


def written(tmp_path, kind, rows):
    if kind == "jsonl":
        return lines(tmp_path / "own.jsonl", rows)
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "own.parquet")
        return tmp_path / "own.parquet"
    return saved(tmp_path / "own", rows)


def decoded(row):
    return bytes(row.astype(np.uint8).tolist()).decode()


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "saved"])
def test_documents_follow_each_other(tmp_path, kind):
    path = written(tmp_path, kind, [{"text": document, "id": 7} for document in DOCUMENTS])
    data = read_text_shard(path, schema=TextSchema(context=8)).data
    joined = "".join(f"{document}\n" for document in DOCUMENTS)
    assert [decoded(row) for row in data.features] == [joined[at : at + 8] for at in range(0, 8 * len(data), 8)]
    assert [decoded(row) for row in data.labels] == [joined[at + 1 : at + 9] for at in range(0, 8 * len(data), 8)]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "saved"])
def test_only_what_the_assistant_says_is_learnt(tmp_path, kind):
    silent = [{"role": "user", "content": "and?"}]
    path = written(tmp_path, kind, [{"messages": TALK}, {"messages": silent}, {"messages": [*TALK, *TALK]}])
    schema = TextSchema(context=40, form="chat")
    spec = {"schema": json.loads(schema.to_json()), "feature_shape": [40], "num_classes": 1}
    shard, reading = survey_own_shard(path, spec=spec)
    features, labels = shard.data.features, shard.data.labels
    assert len(features) == 2
    assert decoded(features[0]).rstrip("\0") == ASKED + "yes"
    assert decoded(np.where(labels[0] == IGNORED, ord("."), labels[0])).strip(".") == "yes\n"
    assert (labels[0] != IGNORED).sum() == 4
    assert reading.notes == (
        "1 of 2 conversations is longer than 40 tokens and cut off",
        "1 conversation has no word of the assistant in that, and is left out",
    )


def test_a_tokeniser_on_disk_makes_the_tokens_and_its_hash_is_the_tasks(tmp_path, bases):
    texts = tmp_path / "texts"
    texts.mkdir()
    for name in ("anna", "bert"):
        lines(texts / f"{name}.jsonl", [{"body": document} for document in DOCUMENTS] * 8)
    config = DataConfig(name="text", path=str(texts), context=4, tokens="tiny", field="body")
    found = load_federation(config, PartitionConfig(name="natural", clients=0), seed=0)
    assert len(found.schema.sha256) == 64
    assert found.shards[0].data.features.max() == 10  # there are ten words
    assert found.shards[0].data.features.dtype == np.int64
    own = read_text_shard(texts / "anna.jsonl", schema=found.schema).data
    assert own.features[0].tolist() == [1, 2, 3, 4]
    (bases / "tiny" / "tokenizer.json").rename(bases / "gone.json")
    with pytest.raises(DataError, match="the tokeniser of tiny is not on this machine"):
        read_text_shard(texts / "anna.jsonl", schema=found.schema)
    (bases / "other").mkdir()
    tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?")).save(
        str(bases / "other" / "tokenizer.json")
    )
    other = TextSchema(context=4, tokens="other", sha256=found.schema.sha256)
    with pytest.raises(DataError, match="the tokeniser of other has sha256 .*get the one that the coordinator names"):
        read_text_shard(texts / "anna.jsonl", schema=other)
    (bases / "other" / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="is not a tokeniser"):
        TextSchema(context=4, tokens="other").reader()
    with pytest.raises(DataError, match=r"a tokeniser called '\.\./x'"):
        TextSchema(context=4, tokens="../x").reader()


class Next(nn.Module):
    """What follows a byte."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(256, 256)

    def forward(self, tokens):
        return self.table(tokens)


def test_a_shard_stays_in_its_file_and_trains(tmp_path):
    (tmp_path / "own.txt").write_bytes(b"\xef\xbb\xbf" + b"abcdefgh" * 40)
    data = read_text_shard(tmp_path / "own.txt", schema=TextSchema(context=8)).data
    assert data.features.dtype == np.uint8  # one byte a token, in pages of the file
    assert not data.features.flags.owndata
    spec = TaskSpec(
        model=f"{__name__}:Next",
        feature_shape=(8,),
        num_classes=1,
        loss="language_modelling",
        steps=20,
        batch_size=4,
        learning_rate=20.0,
    )
    base = np.zeros(256 * 256, dtype=np.float32)
    made, loss = train(Next(), base, features=data.features, labels=data.labels, spec=spec, seed=0)
    assert loss < np.log(256)
    assert made.reshape(256, 256)[ord("a")].argmax() == ord("b")
    whole = rows_of_dataset(data)
    assert str(whole.features.dtype) == "torch.int64"
    assert whole.features[0].tolist() == list(b"abcdefgh")


@pytest.mark.parametrize(
    ("name", "content", "form", "message"),
    [
        ("own.jsonl", b"{", "text", "own.jsonl, line 1 is not a JSON object"),
        ("own.jsonl", b"\n[1]\n", "text", r"line 2 is not a JSON object \(it is a list\)"),
        ("own.jsonl", b'{"body": "x"}', "text", r"row 1 has not a text in 'text' \(it has body\).*data.field"),
        ("own.jsonl", b'{"messages": []}', "chat", "row 1 has not a list of messages in 'messages'"),
        ("own.jsonl", b'{"messages": [{"role": "user"}]}', "chat", 'row 1 has a message {"role": "user"}'),
        ("own.txt", b"plain", "chat", "own.txt is plain text.*or leave data.form out"),
        ("own.parquet", b"PAR1", "text", r"own.parquet cannot be read \("),
        ("own.jsonl", b'{"messages": [{"role": "user", "content": "x"}]}', "chat", "has no conversation with a word of"),
        ("own.txt", b"", "text", "holds 0 bytes.*at least 9, one row"),
    ],
)  # fmt: skip
def test_text_that_cannot_be_read_is_refused(tmp_path, name, content, form, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text_shard(tmp_path / name, schema=TextSchema(context=8, form=form))


def test_a_saved_data_set_that_names_other_files_is_refused(tmp_path):
    folder = saved(tmp_path / "own", [{"text": "x"}], files=1)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../secret"}]}))
    with pytest.raises(DataError, match=r"names '\.\./secret'"):
        read_text_shard(folder, schema=TextSchema(context=8))
    (folder / "state.json").write_text("{}")
    with pytest.raises(DataError, match="state.json cannot be read"):
        read_text_shard(folder, schema=TextSchema(context=8))
