"""An archive: it says what the bundles said, to whoever has nothing else but a chain, and no change of it goes unnoticed."""

import json
import shutil
import tracemalloc
import zipfile

import pytest

from fl.audit.archive import Archive, BadArchive, is_archive, write_archive
from fl.bundle.files import BrokenBundle
from fl.bundle.format import read_leaves
from fl.bundle.store import BundleStore, Withheld
from fl.chain.json_file import write_json


@pytest.fixture(scope="module")
def written(lasting_world):
    """Two rounds that are on chain, and their archive."""
    world = lasting_world(rounds=2)
    world.run(world.app(world.downhill))
    for report in world.reports:
        for account, receipt in report.receipts.items():
            root = next(leaf.update_root for leaf in report.leaves if leaf.account == account)
            path = world.folder / "receipts" / f"{account}.json"
            known = json.loads(path.read_text()) if path.exists() else {}
            known[str(report.round)] = {"update_root": root.hex(), "receipt": receipt.hex()}
            write_json(path, known)
    return world, lambda path, **changes: write_archive(
        path,
        **{
            "invite": world.invite,
            "bundles": BundleStore.at(str(world.folder / "bundles")),
            "rounds": [1, 2],
            "receipts": world.folder / "receipts",
            "revealed": True,
            "account": world.coordinator,
            **changes,
        },
    )


@pytest.fixture
def path(written, tmp_path):
    """The archive, to be changed."""
    written[1](tmp_path / "archive.zip")
    return tmp_path / "archive.zip"


def changed(path, name, data):
    """The archive with another content in one file, or without it."""
    other = path.with_name("changed.zip")
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(other, "w") as after:
        for info in before.infolist():
            if info.filename != name:
                after.writestr(info, before.read(info))
            elif data is not None:
                after.writestr(info, data(before.read(info)))
    return other


def test_it_holds_what_everybody_may_see_and_says_who_signed_it(written, path):
    world, _ = written
    archive = Archive.open(path)
    assert is_archive(path)
    assert (archive.invite, archive.signer) == (world.invite, world.coordinator.address)
    for report in world.reports:
        bundle = archive.bundle(report.round)
        assert read_leaves(bundle) == report.leaves
        assert bundle.read("direction.blocks") == (report.bundle / "direction.blocks").read_bytes()
        with pytest.raises(Withheld, match="next.safetensors is not in the archive"):
            bundle.read("next.safetensors")
    assert set(archive.receipts()) == set(world.addresses)
    with pytest.raises(BrokenBundle, match="header.json is not in the archive"):
        archive.bundle(3).read("header.json")


def test_the_same_task_makes_the_same_bytes(written, path, tmp_path):
    written[1](tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == path.read_bytes()


def test_directions_that_are_not_revealed_stay_out(written, tmp_path):
    written[1](tmp_path / "early.zip", revealed=False)
    with pytest.raises(Withheld, match="direction.blocks is not in the archive"):
        Archive.open(tmp_path / "early.zip").bundle(1).read("direction.blocks")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "archive.json",
            lambda text: text.replace(b'"version": 1', b'"version": 9'),
            "is of version 9, and this Fairshare",
        ),
        ("archive.json", lambda text: text + b" ", "the signature is 0x"),
        ("archive.json", lambda text: b"[]", "is not an archive of a task .BadJson"),
        ("archive.json", None, "has no archive.json"),
        ("signature.json", lambda text: b"{}", "is not an archive of a task .KeyError"),
        ("invite.json", lambda text: text.replace(b"127.0.0.1", b"127.0.0.2"), "was changed: invite.json is not what"),
    ],
)
def test_a_changed_archive_is_refused_with_what_was_changed(path, name, data, message):
    with pytest.raises(BadArchive, match=message):
        Archive.open(changed(path, name, data))


@pytest.mark.parametrize(
    "signature", ["", "none", "00" * 65, "ff" * 65, "11" * 64, "11" * 64 + "ff", "00" * 64 + "1b", 5, None, ["00"]]
)
def test_what_is_no_signature_is_refused(path, signature):
    def forged(text):
        return json.dumps({**json.loads(text), "signature": signature}).encode()

    with pytest.raises(BadArchive, match="is not an archive of a task"):
        Archive.open(changed(path, "signature.json", forged))


def test_a_changed_round_is_refused_when_it_is_read(path):
    other = changed(path, "rounds/round-0002/round.json", lambda text: text.replace(b"1", b"2", 1))
    with pytest.raises(BrokenBundle, match="round.json cannot be read .archive .* was changed"):
        Archive.open(other).bundle(2).read("round.json")


def test_receipts_have_a_size_all_together(path, monkeypatch):
    monkeypatch.setattr("fl.audit.archive._MOST_RECEIPTS", 500)
    with pytest.raises(BadArchive, match="has receipts of more than 500 bytes"):
        Archive.open(path).receipts()


def test_an_archive_that_is_cut_short_is_told_from_an_invite(refuses, path):
    path.write_bytes(path.read_bytes()[:2000])
    refuses(
        "audit",
        path,
        saying=f"archive {path} cannot be read (BadZipFile) and may be cut short; get it again from its author",
    )


def test_what_is_no_zip_is_no_archive(path, tmp_path):
    (tmp_path / "text.zip").write_text("none")
    assert not is_archive(tmp_path / "text.zip")
    with pytest.raises(BadArchive, match="cannot be read .BadZipFile"):
        Archive.open(tmp_path / "text.zip")
    with pytest.raises(BadArchive, match="cannot be read .FileNotFoundError"):
        Archive.open(tmp_path / "absent.zip")


def test_a_file_that_cannot_be_unpacked_is_named(tmp_path):
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(damaged, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive.json", '{"version": 1, "files": {}}' * 20)
    content = bytearray(damaged.read_bytes())
    start = 30 + len("archive.json")
    content[start] = 0xFF  # no way to begin a block of deflate
    damaged.write_bytes(content)
    with pytest.raises(BadArchive, match=r"holds archive.json, which cannot be unpacked .Error -3"):
        Archive.open(damaged)


def with_said_size(path, size):
    """A ZIP of one file, which says another size of it, in both places where it says it."""
    content = bytearray(path.read_bytes())
    content[22:26] = size.to_bytes(4, "little")
    listed = content.rindex(b"PK\x01\x02")
    content[listed + 24 : listed + 28] = size.to_bytes(4, "little")
    path.write_bytes(content)


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_file_that_swells_is_not_unpacked(tmp_path, packing):
    """40 MB in a file of kilobytes, which says of itself that it is 10 bytes."""
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", packing) as archive:
        archive.writestr("archive.json", bytes(40 << 20))
    with_said_size(bomb, 10)
    tracemalloc.start()
    try:
        with pytest.raises(BadArchive, match=r"cannot be read .BadZipFile|packed in a way that none is"):
            Archive.open(bomb)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_million_names_are_not_read(path):
    with path.open("ab") as file:
        start = file.tell()
        names = 400_000
        file.write((b"PK\x01\x02" + bytes(42)) * names)
        length = file.tell() - start
        file.write(
            b"PK\x05\x06"
            + bytes(4)
            + b"\xff\xff\xff\xff"
            + length.to_bytes(4, "little")
            + start.to_bytes(4, "little")
            + bytes(2)
        )
    with pytest.raises(BadArchive, match="has too many files"):
        Archive.open(path)


def test_a_round_that_is_not_there_keeps_an_archive_from_being_written(written, tmp_path):
    with pytest.raises(BrokenBundle, match="round-0003"):
        written[1](tmp_path / "none.zip", rounds=[1, 2, 3])
    assert not (tmp_path / "none.zip").exists()


def test_an_audit_of_it_needs_nothing_but_the_chain(written, path, fl):
    world, _ = written
    done = fl("audit", path, "partial=true")
    assert (done.code, done.err) == (0, "")
    assert fl("audit", path).code == 1
    lines = done.out.splitlines()
    assert lines[0] == f"archive {path}, signed by {world.coordinator.address}: the task's coordinator"
    assert [line.split() for line in lines if line.startswith("round ")] == [["round", "1", "ok"], ["round", "2", "ok"]]
    assert "not checked in rounds 1–2: the scores of 3 clients (their updates are not here)" in done.out


def test_an_update_with_a_receipt_that_was_left_out_shows(written, path, fl, tmp_path):
    world, write = written
    receipts = tmp_path / "receipts"
    shutil.copytree(world.folder / "receipts", receipts)
    account = world.addresses[0]
    root = bytes(range(32))
    known = json.loads((receipts / f"{account}.json").read_text())
    word = world.task.receipt(round_number=1, client=account, update_root=root)
    write_json(receipts / f"{account}.json", {**known, "1": {"update_root": root.hex(), "receipt": word.hex()}})
    write(tmp_path / "omitting.zip", receipts=receipts)
    done = fl("audit", tmp_path / "omitting.zip")
    assert done.code == 1
    assert f"round 1    DIFFERS  the update of {account} with the receipt for 0x{root.hex()} was left out" in done.out


def test_an_archive_that_somebody_else_signed_says_so(written, fl, tmp_path):
    world, write = written
    write(tmp_path / "theirs.zip", account=world.sponsor)
    assert f"signed by {world.sponsor.address}: nobody of the task" in fl("audit", tmp_path / "theirs.zip").out


def test_a_look_that_could_not_read_a_round_is_no_clean_bill(written, fl, tmp_path):
    world, _ = written
    shutil.copytree(world.folder / "bundles", tmp_path / "run" / "bundles")
    world.invite.write(tmp_path / "run" / "invite.json")
    look = ("watch", tmp_path / "run", "dry=true", "once=true", f"folder={tmp_path / 'watch'}")
    assert fl(*look).code == 0
    (tmp_path / "run" / "bundles" / "round-0002" / "round.json").unlink()
    done = fl(*look)
    assert done.code == 1
    assert "not read: round 2: " in done.out
    assert done.out.endswith("not everything could be read, so this look says nothing about the rest\n")
