"""Addresses with EIP-55's checksum."""

import pytest
from eth_utils import to_checksum_address

from fl.codec.address import checksummed, given_address, is_checksummed, raw_address


@pytest.mark.parametrize("number", [0, 1, 0xF39FD6E51AAD88F6F4CE6AB8827279CFFFB92266, 2**160 - 1])
def test_the_checksum_is_that_of_eip_55(number):
    raw = number.to_bytes(20, "big")
    address = checksummed(raw)
    assert address == to_checksum_address(raw)
    assert is_checksummed(address)
    assert raw_address(address.lower()) == raw


@pytest.mark.parametrize("text", ["", "0x12", 7, None, "0x" + "g" * 40, "f39fd6e51aad88f6f4ce6ab8827279cfffb92266"])
def test_what_is_no_address_is_refused(text):
    assert not is_checksummed(text)
    with pytest.raises(ValueError, match="is not an address"):
        raw_address(text)


def test_a_wrong_case_is_no_checksum():
    assert not is_checksummed("0xf39fd6e51aad88f6f4ce6ab8827279cffFb92266")


def test_an_address_that_is_given_has_its_checksum_or_one_case():
    address = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    for text in (address, address.lower(), "0x" + address[2:].upper()):
        assert given_address(text) == address
    for text in (
        address.replace("C8", "c8"),
        address.replace("0x7", "0x8"),
        address[2:],
        address[:-1],
        "0x" + "g" * 40,
        "",
    ):
        assert given_address(text) is None
