"""What an evaluator signed is known, or nothing is signed."""

import pytest

from fl.audit.evaluators.remote import SignedAnother, SignedHeaders, SignedUnknown


def test_no_flipped_byte_lets_a_second_header_be_signed(tmp_path):
    path = tmp_path / "signed.json"
    SignedHeaders(path).keep(1, b"\x01" * 32)
    SignedHeaders(path).keep(12, b"\x02" * 32)
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        for number in (1, 12):
            with pytest.raises((SignedUnknown, SignedAnother)):
                SignedHeaders(path).keep(number, b"\x03" * 32)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"garbage", b"\xff", b'{"signed": {}}'])
def test_what_cannot_be_read_is_named_with_what_to_do(tmp_path, content):
    path = tmp_path / "signed.json"
    path.write_bytes(content)
    with pytest.raises(SignedUnknown) as caught:
        SignedHeaders(path).keep(1, b"\x03" * 32)
    assert str(caught.value).startswith(f"{path} cannot be read (")
    assert str(caught.value).endswith("restore it, or remove it once every round that was signed is on chain")
    assert path.read_bytes() == content


def test_it_is_for_its_owner_only(tmp_path):
    SignedHeaders(tmp_path / "signed.json").keep(1, b"\x01" * 32)
    assert (tmp_path / "signed.json").stat().st_mode & 0o777 == 0o600
