import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_keys.constants import SECPK1_N
from vector_files import document, unhex

from fl.chain.typed_data import (
    Domain,
    GatewayNotice,
    Header,
    InvalidSignature,
    Receipt,
    Update,
    compact,
    digest,
    sign,
    signer_of,
)

VECTORS = document("eip712")
DOMAIN = Domain(chain_id=int(VECTORS["chainId"]), contract=VECTORS["contract"])
ACCOUNT = Account.from_key("0x" + "11" * 32)


def message_of(case: dict) -> Header | Update | Receipt:
    struct = {"Header": Header, "Update": Update, "Receipt": Receipt}[case["struct"]]
    kinds = struct.SOLIDITY.values()
    values = [
        value if kind == "address" else unhex(value) if kind == "bytes32" else int(value)
        for kind, value in zip(kinds, case["message"].values())
    ]
    return struct(**dict(zip(struct.__dataclass_fields__, values)))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["struct"])
def test_digests_are_those_of_the_vectors(case):
    assert digest(message_of(case), domain=DOMAIN) == unhex(case["digest"])


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["struct"])
def test_a_signature_is_good_for_one_contract_and_chain_only(case):
    message = message_of(case)
    signature = sign(message, domain=DOMAIN, account=ACCOUNT)
    assert signer_of(message, domain=DOMAIN, signature=signature) == ACCOUNT.address
    for other in (
        Domain(chain_id=1, contract=DOMAIN.contract),
        Domain(chain_id=DOMAIN.chain_id, contract=ACCOUNT.address),
    ):
        assert signer_of(message, domain=other, signature=signature) != ACCOUNT.address


@pytest.mark.parametrize("signature", [b"", bytes(65), b"\xff" * 65, bytes(64)])
def test_bytes_that_are_no_signature_are_refused(signature):
    with pytest.raises(InvalidSignature, match=f"{len(signature)} bytes are not a signature: 65 bytes"):
        signer_of(message_of(VECTORS["cases"][1]), domain=DOMAIN, signature=signature)


def test_the_second_form_of_a_signature_is_refused():
    message = message_of(VECTORS["cases"][1])
    signature = sign(message, domain=DOMAIN, account=ACCOUNT)
    s = SECPK1_N - int.from_bytes(signature[32:64], "big")
    mirrored = signature[:32] + s.to_bytes(32, "big") + bytes([27 + 28 - signature[64]])
    with pytest.raises(InvalidSignature, match="lower half of the curve's order"):
        signer_of(message, domain=DOMAIN, signature=mirrored)


def test_a_compact_signature_keeps_r_s_and_parity():
    for case in VECTORS["cases"]:
        signature = sign(message_of(case), domain=DOMAIN, account=ACCOUNT)
        r, vs = compact(signature)
        s = int.from_bytes(vs, "big") & ((1 << 255) - 1)
        assert (r, s, 27 + (vs[0] >> 7)) == (signature[:32], int.from_bytes(signature[32:64], "big"), signature[64])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"round": -1}, "-1 is not a uint32"),
        ({"round": 1 << 32}, "4294967296 is not a uint32"),
        ({"task_id": bytes(31)}, "is not a bytes32"),
        ({"client": "0x12"}, "'0x12' is not an address"),
    ],
)
def test_a_value_that_its_type_does_not_hold_is_not_signed(changes, told):
    values = {
        "task_id": bytes(32), "round": 1, "client": "0x" + "11" * 20, "base_model": bytes(32), "update_root": bytes(32),
    }  # fmt: skip
    with pytest.raises(ValueError, match=told):
        digest(Update(**{**values, **changes}), domain=Domain(chain_id=1, contract="0x" + "22" * 20))


@pytest.mark.parametrize("text", ["", "https://hub.example.org:8443", "Herzklinik Köln\n❤"])
def test_a_text_is_hashed_as_wallets_hash_it(text):
    notice = GatewayNotice(task_id=b"\x07" * 32, gateway=text, authority=text, name=text, description=text)
    values = dict(zip(GatewayNotice.SOLIDITY, [notice.task_id, *[text] * 4], strict=True))
    types = {"GatewayNotice": [{"name": name, "type": kind} for name, kind in GatewayNotice.SOLIDITY.items()]}
    wallets = encode_typed_data(domain_data=DOMAIN.as_dict(), message_types=types, message_data=values)
    assert sign(notice, domain=DOMAIN, account=ACCOUNT) == ACCOUNT.sign_message(wallets).signature
