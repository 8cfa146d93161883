"""The deployment file: where the contracts are, so that every other command can find them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from web3 import Web3

from fl.chain.erc20 import Token
from fl.chain.errors import ChainError
from fl.chain.escrow import Escrow
from fl.chain.json_file import write_json
from fl.chain.provider import PatientProvider
from fl.chain.rpc_url import without_key
from fl.chain.sender import connect
from fl.codec.address import is_checksummed
from fl.foreign.files import Absent, Unreadable, read_file
from fl.foreign.json_text import BadJson, object_of, read_json, shown, text_of, whole_of

_MOST_BYTES, _LONGEST_URL = 1 << 16, 2000
_BEHIND = 3  # blocks that a load balancer's nodes may lag
_LARGEST = 2**64 - 1  # of a chain id or a block's number


class BadDeployment(ChainError):
    """A deployment file is absent or says something other than a deployment."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"deployment file {self.path} {self.problem}; write one with `fl deploy`"


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Where one Fairshare contract and one token are."""

    chain_id: int
    url: str  # of the RPC node
    contract: str
    token: str
    block: int = 0  # of the contract's creation: events are searched from here

    def connect(self) -> tuple[Web3, Escrow, Token]:
        """Reach both contracts. Raises: ChainUnreachable, WrongChain, NoContract."""
        w3 = connect(self.url, chain_id=self.chain_id)
        # The contract is there as of its block. A node that is a little behind is waited for; a devnet that was reset is far behind.
        if self.block and isinstance(w3.provider, PatientProvider) and w3.eth.block_number >= self.block - _BEHIND:
            w3.provider.saw(self.block)
        return w3, Escrow(w3, self.contract), Token(w3, self.token)

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all, and without a key that the URL may hold."""
        write_json(path, {**asdict(self), "url": without_key(self.url)})

    @classmethod
    def read(cls, path: Path) -> Deployment:
        """Read the file. Raises: BadDeployment."""
        try:
            raw = object_of(read_json(read_file(path, most=_MOST_BYTES)))
            found = cls(
                **{field.name: raw[field.name] for field in fields(cls) if field.name in raw or field.name != "block"}
            )
            whole_of(found.chain_id, least=1, most=_LARGEST, what="chain_id")
            whole_of(found.block, least=0, most=_LARGEST, what="block")
            text_of(found.url, most=_LONGEST_URL, what="url")
        except Absent:
            raise BadDeployment(path=str(path), problem="is not there") from None
        except KeyError as error:
            raise BadDeployment(path=str(path), problem=f"is not one (it has no {error})") from error
        except (Unreadable, BadJson) as error:
            raise BadDeployment(path=str(path), problem=f"is not one ({error.problem})") from error
        for name, address in (("contract", found.contract), ("token", found.token)):
            if not is_checksummed(address):
                raise BadDeployment(path=str(path), problem=f"is not one ({name} is {shown(address)})")
        return found
