"""Files of state with a seal: what is read is what was written, or it is said that it is not."""

import json
import stat

import pytest

from fl.chain.json_file import read_sealed, seal, unseal, write_sealed
from fl.chain.whole_file import private_folder, set_aside
from fl.foreign.files import Absent
from fl.foreign.json_text import BadJson


def test_what_is_sealed_reads_back_for_its_owner_only(tmp_path):
    path = tmp_path / "deep" / "signed.json"
    write_sealed(path, {"signed": {"1": "ab"}, "n": 3})
    assert read_sealed(path) == {"signed": {"1": "ab"}, "n": 3}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_flipped_bit_goes_unseen(tmp_path):
    path = tmp_path / "signed.json"
    values = {"signed": {"1": "ab", "2": "cd"}}
    write_sealed(path, values)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            try:
                found = read_sealed(path)
            except BadJson:
                continue
            assert found == values  # a space that became another one


def test_bytes_beside_the_values_are_sealed_with_them():
    sealed = seal({"round": 1}, over=b"blocks")
    assert unseal(sealed, over=b"blocks") == {"round": 1}
    with pytest.raises(BadJson, match="it is not what was written there: its sha256 is another one"):
        unseal(sealed, over=b"block5")
    with pytest.raises(BadJson, match="is not an object"):
        unseal([], over=b"")


def test_what_is_not_there_is_absent(tmp_path):
    with pytest.raises(Absent):
        read_sealed(tmp_path / "none.json")


def test_what_is_set_aside_takes_a_name_that_was_free(tmp_path):
    path = tmp_path / "a.json"
    for number in (1, 2):
        path.write_text(json.dumps(number))
        assert set_aside(path) == tmp_path / f"a.json.damaged-{number}"
    assert not path.exists()
    assert (tmp_path / "a.json.damaged-1").read_text() == "1"


def test_a_private_folder_is_its_owners_whatever_it_was_before(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    for folder in (tmp_path / "open", tmp_path / "new" / "deep"):
        assert stat.S_IMODE(private_folder(folder).stat().st_mode) == 0o700
