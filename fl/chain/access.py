"""Who asks: a short-lived token that an account signs to fetch from a coordinator what is not for everybody.

The token is an EIP-712 message in the task's own domain, so it opens nothing at another task, contract or chain, and it is
not a session: whoever holds it until it expires can use it, which is why it only travels over TLS.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode

from eth_account.signers.local import LocalAccount

from fl.chain.errors import ChainError
from fl.chain.typed_data import Access, Domain, InvalidSignature, sign, signer_of
from fl.codec.address import is_checksummed

LIFETIME_S = 300  # of the tokens that our own programs make
_LONGEST_S = 3600  # a clock that is an hour off shows; a token that is good for years would be a password


class AccessRefused(ChainError):
    """A request carries no token, or one that does not hold."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"access refused: {self.problem}"


def access_token(account: LocalAccount, *, domain: Domain, task_id: bytes, expires: int) -> str:
    """A token `address.expires.signature` that is good until `expires`, in Unix seconds.

    Args:
        account: Asks.
        domain: Of the contract.
        task_id: Whose bundles are asked for, 32 bytes.
        expires: Last second that it is good for, Unix.
    """
    signature = sign(Access(task_id=task_id, expires=expires), domain=domain, account=account)
    return f"{account.address}.{expires}.{urlsafe_b64encode(signature).decode()}"


def account_of(token: str, *, domain: Domain, task_id: bytes, now: int) -> str:
    """The checksum address that made a token.

    Args:
        token: As `access_token` makes it, or anything else.
        domain: Of the contract.
        task_id: Whose bundles are asked for, 32 bytes.
        now: Unix seconds.
    Raises: AccessRefused if it is malformed, expired, good for more than an hour, or signed by another key or for
        another task.
    """
    address, _, rest = token.partition(".")
    until, _, encoded = rest.partition(".")
    try:
        expires, signature = int(until), urlsafe_b64decode(encoded)
    except (ValueError, binascii.Error):
        raise AccessRefused(
            "the token is not address.expires.signature; sign in with `fl` of the same version"
        ) from None
    if not is_checksummed(address):
        raise AccessRefused("the token is not address.expires.signature; sign in with `fl` of the same version")
    if expires < now:
        raise AccessRefused(
            f"the token expired {now - expires} s ago; make a new one, and look at this machine's clock"
        )
    if expires > now + _LONGEST_S:
        raise AccessRefused(
            f"the token is good for {expires - now} s, at most {_LONGEST_S} are taken; look at this machine's clock"
        )
    try:
        signer = signer_of(Access(task_id=task_id, expires=expires), domain=domain, signature=signature)
    except (InvalidSignature, OverflowError) as error:
        raise AccessRefused(f"the token's signature cannot be read ({error})") from None
    if signer != address:
        raise AccessRefused(
            f"the token says {address} and is not signed by it for this task; use the account's own key"
        )
    return address
