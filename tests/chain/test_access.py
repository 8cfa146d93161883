"""Access tokens: good for one account, one task, a short time."""

import pytest
from eth_account import Account

from fl.chain.access import AccessRefused, access_token, account_of
from fl.chain.typed_data import Domain

DOMAIN = Domain(chain_id=31337, contract="0x" + "11" * 20)
TASK, NOW = b"\x01" * 32, 1_800_000_000
ACCOUNT = Account.from_key(b"\x07" * 32)


def token(**changed):
    return access_token(ACCOUNT, **{"domain": DOMAIN, "task_id": TASK, "expires": NOW + 60, **changed})


def read(text, **changed):
    return account_of(text, **{"domain": DOMAIN, "task_id": TASK, "now": NOW, **changed})


def test_a_token_tells_who_made_it():
    assert read(token()) == ACCOUNT.address


@pytest.mark.parametrize(
    "changed",
    [
        {"task_id": b"\x02" * 32},
        {"domain": Domain(chain_id=1, contract=DOMAIN.contract)},
        {"domain": Domain(chain_id=31337, contract="0x" + "22" * 20)},
    ],
)
def test_a_token_opens_nothing_elsewhere(changed):
    with pytest.raises(AccessRefused, match="is not signed by it for this task; use the account's own key"):
        read(token(), **changed)


def test_an_account_cannot_be_borrowed():
    other = Account.from_key(b"\x08" * 32).address
    with pytest.raises(AccessRefused, match=f"the token says {other}"):
        read(token().replace(ACCOUNT.address, other))


def test_an_expired_token_says_for_how_long():
    with pytest.raises(AccessRefused, match="expired 40 s ago; make a new one, and look at this machine's clock"):
        read(token(), now=NOW + 100)


def test_a_token_that_is_good_for_years_is_refused():
    with pytest.raises(AccessRefused, match="is good for 999999 s, at most 3600 are taken"):
        read(token(expires=NOW + 999_999))


@pytest.mark.parametrize(
    "text", ["", "x", "a.b.c", f"{ACCOUNT.address}.5", f"0x12.{NOW}.AAAA", f"{ACCOUNT.address}.{NOW + 5}.AAA"]
)
def test_garbage_is_refused(text):
    with pytest.raises(AccessRefused):
        read(text)
