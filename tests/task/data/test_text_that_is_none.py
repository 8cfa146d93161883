"""Files that are no text, or not all meant: each refused with what to do, where a model of bytes would learn them all the same."""

import gzip
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from fl.task.data import DataConfig, DataError, PartitionConfig, TextSchema, load_federation, read_text_shard
from fl.task.data.text import IGNORED

LINE = b'{"text": "hello world again and again"}\n'


def read(path, **settings):
    return read_text_shard(path, schema=TextSchema(**{"context": 8, **settings}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("own.txt", "café au lait".encode("cp1252"), "is not UTF-8 text .*iconv -f cp1252 -t utf-8 own.txt"),
        ("own.txt", "hello world, hello".encode("utf-16"), "is not UTF-8 text .*iconv -f utf-16"),
        ("own.txt", "hello world, hello".encode("utf-16-le"), "holds null bytes.*iconv -f utf-16"),
        ("own.txt", bytes(40), "holds null bytes"),
        ("own.pkl", b"\x80\x04\x95" + b"x" * 40, "is not UTF-8 text"),
        ("own.docx", b"PK\x03\x04" + b"x" * 40, "is a zip archive, as .docx and .xlsx are"),
        ("own.pdf", b"%PDF-1.4\n" + b"x" * 40, "is a PDF"),
        ("own.jsonl.gz", gzip.compress(LINE, mtime=0), "is packed by gzip"),
        ("own.json", json.dumps([{"text": "hello world again"}]).encode(), "is a list; .*write a line of JSON for each"),
        ("own.csv", b"text\nhello world again\n", "is a table; .*write a line of JSON for each"),
        ("own.jsonl", LINE + b'{"other": 1}\n', r"row 2 has not a text in 'text' \(it has other\).*data.field"),
        ("own.jsonl", LINE + b'{"text": null}\n', r"row 2 has not a text in 'text' but nothing \(null\).*mend the row"),
        ("own.jsonl", LINE + b'{"text": ["a"]}\n', "row 2 has not a text in 'text' but a list"),
        ("own.jsonl", LINE + '{"text": "café"}\n'.encode("cp1252"), "line 2 is not a JSON object .*not UTF-8"),
        ("own.jsonl", b"\n\n", "holds 0 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


def test_code_and_notes_are_text_whatever_they_are_called(tmp_path):
    for name in ("notes", "own.py", "own.log"):
        (tmp_path / name).write_text("print('hello world')\n")
        assert len(read(tmp_path / name).data) == 2


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([{"text": "x"}], "but an object"),
        ([["x"]], "but a list"),
        ([b"hello world"], "but bytes"),
        (["hello world again", None], r"row 2 has not a text in 'text' but nothing \(null\)"),
    ],
)
def test_nested_columns_of_parquet_are_no_text(tmp_path, column, message):
    parquet.write_table(pa.table({"text": column}), tmp_path / "own.parquet")
    with pytest.raises(DataError, match=message):
        read(tmp_path / "own.parquet")


def test_a_column_of_codes_is_text_and_nested_ones_beside_it_are_not_looked_at(tmp_path):
    text = pa.array(["hello world again"] * 4).dictionary_encode()
    parquet.write_table(pa.table({"text": text, "about": [{"a": [1]}] * 4}), tmp_path / "own.parquet")
    assert len(read(tmp_path / "own.parquet").data) == 8


def saved(folder, **state):
    folder.mkdir(parents=True)
    table = pa.table({"text": ["hello world again"] * 4})
    with pa.OSFile(str(folder / "data.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}], **state}))


def test_of_a_data_set_with_several_splits_one_is_asked_for(tmp_path):
    for split in ("test", "train"):
        saved(tmp_path / "own" / split)
    (tmp_path / "own" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(DataError, match=r"several splits of a data set \(test, train\).*such as .*own/train"):
        read(tmp_path / "own")
    assert len(read(tmp_path / "own" / "train").data) == 8
    config = DataConfig(name="text", path=str(tmp_path / "own"), context=8)
    with pytest.raises(DataError, match="several splits"):
        load_federation(config, PartitionConfig(name="natural", clients=0), seed=0)


def test_rows_that_were_filtered_out_are_not_read_all_the_same(tmp_path):
    saved(tmp_path / "own", _indices_data_files=[{"filename": "indices.arrow"}])
    with pytest.raises(DataError, match=r"a choice of rows beside its rows.*flatten_indices\(\)"):
        read(tmp_path / "own")


def talks(path, *messages):
    path.write_text("".join(json.dumps({"messages": each}) + "\n" for each in messages))
    return path


def said(role, content):
    return {"role": role, "content": content}


def test_conversations_of_other_roles_are_told_what_theirs_are_called(tmp_path):
    path = talks(tmp_path / "own.jsonl", [said("human", "hi"), said("gpt", "yes")])
    with pytest.raises(DataError, match=r"\(its roles are gpt, human\).*call those whose words .* 'assistant'"):
        read(path, form="chat", context=40)


def test_an_assistant_that_says_nothing_teaches_nothing(tmp_path):
    silent, speaking = (
        [said("user", "hi"), said("assistant", " ")],
        [said("user", "hi"), said("assistant", "yes")],
    )
    shard = read(talks(tmp_path / "own.jsonl", silent, speaking), form="chat", context=40)
    assert (shard.data.labels != IGNORED).sum() == len("yes\n")
    assert shard.notes == ("1 conversation has no word of the assistant in that, and is left out",)
