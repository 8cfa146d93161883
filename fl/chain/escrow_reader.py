"""The contract in Python, as far as it only answers: terms, states, enrolments, posted rounds, challenges and events."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from eth_abi.exceptions import DecodingError
from eth_typing import HexStr
from eth_utils import to_checksum_address
from web3 import Web3
from web3.exceptions import TransactionNotFound, Web3Exception
from web3.types import EventData

from fl.chain.bound_contract import BoundContract
from fl.chain.checked_requests import BadCallOutput
from fl.chain.enrolment import Enrolment, Enrolments, Joined, Left, Slashed, Step
from fl.chain.errors import NoContract, NoTask, NotPosted
from fl.chain.log_ranges import HistoryUnread
from fl.chain.schedule import Schedule
from fl.chain.sender import Sent, ask, ask_all, url_of
from fl.chain.task_log import TaskLog
from fl.chain.task_state import Backer, Challenge, Client, OpenedChallenge, Posting, Status, TaskState, Terms
from fl.chain.typed_data import ZERO_HASH, Domain, Header, digest, expanded, header_hash
from fl.codec.keccak import keccak
from fl.plain_text import plural

_MOST_ROUNDS = (1 << 24) - 3  # that the contract opens a task for
_MOST_LOGS = 8  # tasks whose events are kept
_LAG_S, _LAG_LOOK_S = 30.0, 0.2  # that a node's events may be behind its state
_CHALLENGE = [field.name for field in fields(Challenge)]


class EscrowReader:
    """The Fairshare contract at an address, for who only asks it.

    Raises: NoContract if there is no code at the address, or it is of another contract.
    """

    def __init__(self, w3: Web3, address: str) -> None:
        self.w3 = w3
        self.chain_id = w3.eth.chain_id
        self.address = to_checksum_address(address)
        if not w3.eth.get_code(self.address):
            raise NoContract(address=self.address, chain_id=self.chain_id, what="Fairshare contract")
        self._contract = BoundContract(w3, self.address, name="Fairshare")
        self.domain = Domain(chain_id=self.chain_id, contract=self.address)
        self._task_logs: dict[tuple[bytes, int], TaskLog] = {}
        self._contracts: set[str] = set()  # addresses that have code
        self._enrolments: dict[tuple[bytes, int], tuple[int, Enrolments]] = {}  # with the log's version
        try:
            stated = self.domain_fields()
        except Web3Exception:  # any other contract, such as the token of a deployment file with the two swapped
            stated = None
        if stated != tuple(self.domain.as_dict().values()):
            raise NoContract(address=self.address, chain_id=self.chain_id, what="Fairshare contract")

    def task(self, task_id: bytes, *, block: int | None = None) -> tuple[Terms, TaskState]:
        """A task's terms and state, now or as they were at a block. Raises: NoTask if there is none of this id."""
        terms, state = ask(self._contract.functions.task(task_id), block=block)
        if state[1] == Status.NONE:
            raise NoTask(task_id=task_id, address=self.address)
        names = [*Terms.__dataclass_fields__]
        terms = dict(zip(names, terms, strict=True))
        terms["evaluators"] = tuple(terms["evaluators"])
        state = dict(zip([*TaskState.__dataclass_fields__], state, strict=True))
        if state["status"] not in iter(Status) or not state["posted"] <= state["rounds"] <= _MOST_ROUNDS:
            reason = f"status {state['status']}, {state['posted']} of {plural(state['rounds'], 'round')}"
            raise BadCallOutput(url=url_of(self.w3), method="task", reason=reason)
        state["status"] = Status(state["status"])
        return Terms(**terms), TaskState(**state)

    @staticmethod
    def task_id(sponsor: str, salt: bytes) -> bytes:
        """The id that a task of this sponsor and salt has: keccak256(abi.encode(sponsor, salt))."""
        return keccak(bytes(12) + bytes.fromhex(sponsor[2:]) + salt)

    def has_task(self, task_id: bytes) -> bool:
        """Whether a task was ever opened under this id."""
        return ask(self._contract.functions.task(task_id))[1][1] != Status.NONE

    def enrolments(self, task_id: bytes, *, from_block: int = 0) -> Enrolments:
        """Every client with a place in the task, leavers included, in the order of joining."""
        log = self._log(task_id, from_block)
        events, key = log.events("Joined", "Left", "Slashed"), (task_id, from_block)
        version, known = self._enrolments.get(key, (-1, Enrolments()))
        if version != log.version:
            known = Enrolments(map(_step, events))
            self._enrolments[key] = (log.version, known)
        return known

    def schedule(self, task_id: bytes, *, from_block: int = 0) -> Schedule:
        """What the task's rounds may pay by and by."""
        _, state = self.task(task_id)
        budgets = [(1, state.budget)]
        if added := self._logs("BudgetAdded", task_id, from_block=from_block):
            # The terms on chain have by now what was added.
            budgets = [(1, added[0]["args"]["budget"] - added[0]["args"]["amount"])]
            started = [_place(event) for event in self._logs("Started", task_id, from_block=from_block)]
            posted = [_place(event) for event in self._logs("Posted", task_id, from_block=from_block)]
            for event in added:
                before = [place for place in (*started, *posted) if place < _place(event)]
                # What comes while a round is under way counts in the one after; what comes before the start, at once.
                budgets.append((len(before) + 1, event["args"]["budget"]))
        planned = state.rounds
        if state.stopping:  # the terms on chain have by now the round of the stop
            planned = self._opened(task_id, from_block=from_block)["rounds"]
        return Schedule(planned=planned, rounds=state.rounds, budgets=tuple(budgets))

    def _opened(self, task_id: bytes, *, from_block: int) -> Mapping[str, Any]:
        """The terms as the task was opened with. Raises: HistoryUnread where the node leaves out how it was."""
        if not (events := self._logs("Opened", task_id, from_block=from_block)):
            raise HistoryUnread(
                first=from_block, last=self.w3.eth.block_number, reason="the task's opening is not among them"
            )
        return events[0]["args"]["terms"]

    def coordinators(self, task_id: bytes, *, from_block: int = 0) -> list[str]:
        """Who has coordinated the task, one after the other; the last does now, and receipts of all of them count."""
        changes = self._logs("CoordinatorChanged", task_id, from_block=from_block)
        return [*(change["args"]["from"] for change in changes), self.task(task_id)[0].coordinator]

    def offered_to(self, task_id: bytes, *, from_block: int = 0) -> str:
        """Who may take the coordinator's place, "" for nobody."""
        steps = self._log(task_id, from_block).events("CoordinatorOffered", "CoordinatorChanged")
        last = steps[-1] if steps else None
        if last is None or last["event"] == "CoordinatorChanged" or int(last["args"]["to"], 16) == 0:
            return ""
        return last["args"]["to"]

    def joining(self, task_id: bytes, account: str, *, from_block: int = 0) -> tuple[Enrolment, Sent] | None:
        """How an account joined, as it was then, and in which transaction; None if it never did.

        Args:
            task_id: 32 bytes.
            account: The client's.
            from_block: Where the task's events begin.
        """
        events = self._logs("Joined", task_id, from_block=from_block, account=account)
        return (_enrolment(events[-1]["args"]), self._sent_in(events[-1])) if events else None

    def client(self, task_id: bytes, account: str) -> Client:
        """What the contract holds of an account; all zero if it never joined."""
        values = ask(self._contract.functions.clientOf(task_id, account))
        return Client(**dict(zip(Client.__dataclass_fields__, values, strict=True)))

    def claimed(self, task_id: bytes, account: str) -> int:
        """Wei paid to a client so far."""
        return ask(self._contract.functions.clientOf(task_id, account))[1]

    def claimed_by_all(self, task_id: bytes, accounts: Sequence[str]) -> list[int]:
        """`claimed` of many accounts."""
        found = ask_all([self._contract.functions.clientOf(task_id, account) for account in accounts])
        return [values[1] for values in found]

    def credits(self, token: str, accounts: Sequence[str]) -> list[int]:
        """`credit` of many accounts."""
        return ask_all([self._contract.functions.creditOf(token, account) for account in accounts])

    def is_final(self, task_id: bytes, round_number: int) -> bool:
        """Whether the round can be claimed from."""
        return ask(self._contract.functions.isFinal(task_id, round_number))

    def posted(self, task_id: bytes, round_number: int) -> tuple[bytes, int]:
        """The leading 27 bytes of a round's `header_hash`, and when it was posted, seconds; zeros if it was not."""
        return tuple(ask(self._contract.functions.roundOf(task_id, round_number)))

    def posted_at(self, task_id: bytes, round_number: int) -> int:
        """When a round was posted, seconds; 0 if it was not."""
        return ask(self._contract.functions.roundOf(task_id, round_number))[1]

    def overdue_at(self, task_id: bytes, *, terms: Terms, state: TaskState) -> int:
        """From when on anybody may end a task whose next round is missing, seconds; later where a round was held.

        Args:
            task_id: 32 bytes.
            terms: Of the task, which is open or has started.
            state: Where it stands.
        """
        return max(state.since, self.posted_at(task_id, state.posted)) + terms.round_timeout

    def posting(self, task_id: bytes, round_number: int, *, from_block: int = 0) -> Posting:
        """How a round was posted.

        Args:
            task_id: 32 bytes.
            round_number: The round.
            from_block: Where the task's events begin.
        Raises: NotPosted if it was not.
        """
        end = time.monotonic() + _LAG_S
        while not (found := self.posted_headers(task_id, from_block=from_block).get(round_number)):
            # One node of a service may tell the state of a block whose events another one does not have yet.
            if not self.posted_at(task_id, round_number) or time.monotonic() > end:
                raise NotPosted(task_id=task_id, round_number=round_number)
            time.sleep(_LAG_LOOK_S)
        header, event = found
        return Posting(
            header=header,
            cover=event["args"]["cover"],
            time=self.w3.eth.get_block(event["blockNumber"])["timestamp"],
            sent=self._sent_in(event),
        )

    def posted_headers(self, task_id: bytes, *, from_block: int = 0) -> dict[int, tuple[Header, EventData]]:
        """Every header that was posted, by round, and its event.

        The events leave out what follows: a header names the one before, and the task's validation set.
        """
        found: dict[int, tuple[Header, EventData]] = {}
        previous = validation = ZERO_HASH
        for event in self._log(task_id, from_block).events("Opened", "Posted"):
            if event["event"] == "Opened":
                validation = event["args"]["terms"]["validationHash"]
                continue
            values = {**event["args"], "previous": previous, "validation": validation}
            header = Header(
                **{field.name: values[name] for field, name in zip(fields(Header), Header.SOLIDITY, strict=True)}
            )
            found[header.round] = header, event
            previous = header_hash(header)
        return found

    def signatures_in(self, transaction: str) -> list[bytes]:
        """The signatures that a post carried, 65 bytes each; none if the node does not know the transaction any more."""
        try:
            data = self.w3.eth.get_transaction(HexStr(transaction))["input"]
            _, arguments = self._contract.decode_function_input(data)
        except (TransactionNotFound, DecodingError, ValueError, KeyError):
            return []
        pairs = (
            signature.values() if isinstance(signature, Mapping) else signature
            for signature in arguments.get("signatures", ())
        )
        return [expanded(r, vs) for r, vs in pairs]

    def header_hash(self, header: Header) -> bytes:
        """What the contract takes for the header's hash, which the next one names."""
        return ask(self._contract.functions.headerHash(header.as_tuple()))

    def header_digest(self, header: Header) -> bytes:
        """What the contract takes for what the evaluators sign."""
        return ask(self._contract.functions.headerDigest(header.as_tuple()))

    def credit(self, token: str, account: str) -> int:
        """Wei of a token that an account can withdraw."""
        return ask(self._contract.functions.creditOf(token, account))

    def domain_fields(self) -> tuple[str, str, int, str]:
        """name, version, chain id and contract of the EIP-712 domain, as the contract states them (EIP-5267)."""
        return tuple(ask(self._contract.functions.eip712Domain())[1:5])

    # ---- evaluators -------------------------------------------------------------------------------------------------

    def backer(self, task_id: bytes, evaluator: str) -> Backer:
        """What stands behind an evaluator."""
        return _backer(ask(self._contract.functions.backerOf(task_id, evaluator)))

    def backers(self, task_id: bytes, evaluators: Sequence[str]) -> dict[str, Backer]:
        """`backer` of many evaluators."""
        found = ask_all([self._contract.functions.backerOf(task_id, evaluator) for evaluator in evaluators])
        return dict(zip(evaluators, map(_backer, found), strict=True))

    def seated(self, task_id: bytes) -> list[str]:
        """The evaluators whose signatures count: those that the terms name and, where they have to stake, did."""
        terms, _ = self.task(task_id)
        if not terms.evaluator_stake:
            return list(terms.evaluators)
        return [name for name, backer in self.backers(task_id, terms.evaluators).items() if backer.stake]

    def speakers(self, task_id: bytes, *, from_block: int = 0) -> dict[str, str]:
        """Who speaks for an evaluator that is a contract: account → contract. Of an account's contracts, the first."""
        found: dict[str, str] = {}
        for event in self._logs("EvaluatorStaked", task_id, from_block=from_block):
            payer, evaluator = event["args"]["payer"], event["args"]["evaluator"]
            if payer != evaluator and payer not in found and self.is_contract(evaluator):
                found[payer] = evaluator
        return found

    def is_contract(self, address: str) -> bool:
        """Whether there is code at an address."""
        if address not in self._contracts and self.w3.eth.get_code(to_checksum_address(address)):
            self._contracts.add(address)
        return address in self._contracts

    def is_approved(self, header: Header, evaluator: str) -> bool:
        """Whether an evaluator that is a contract approved a header."""
        return ask(self._contract.functions.isApproved(digest(header, domain=self.domain), evaluator))

    def at_fault(self, task_id: bytes, *, from_block: int = 0) -> set[int]:
        """Rounds whose signers could have seen what was proven wrong in them."""
        return {event["args"]["round"] for event in self._logs("SignersAtFault", task_id, from_block=from_block)}

    # ---- disputes ---------------------------------------------------------------------------------------------------

    def challenges(self, task_id: bytes, *, from_block: int = 0) -> list[OpenedChallenge]:
        """Every score challenge of a task, settled ones included, in order."""
        events = self._logs("Challenged", task_id, from_block=from_block)
        return [
            OpenedChallenge(
                id=args["id"],
                challenge=Challenge(**dict(zip(_CHALLENGE, args["challenge"].values(), strict=True))),
                sums=tuple(
                    int.from_bytes(args["sums"][start : start + 16], "big", signed=True)
                    for start in range(0, len(args["sums"]), 16)
                ),
            )
            for event in events
            for args in [event["args"]]
        ]

    def challenge_bond(self, task_id: bytes) -> int:
        """Wei that a challenge of a score escrows."""
        return ask(self._contract.functions.challengeBond(task_id))

    def standing_of(self, challenge_id: bytes) -> tuple[bool, int, int]:
        """Whether a challenge is open, its deadline (s), and how many sums its challenger still owes."""
        return tuple(ask(self._contract.functions.standingOf(challenge_id))[:3])

    def next_demand(self, task_id: bytes, challenge_id: bytes, demander: str, *, from_block: int = 0) -> int:
        """The number that a demander's next demand in a challenge has, from 1; it escrows as many times the task's `min_stake`.

        Args:
            task_id: 32 bytes.
            challenge_id: 32 bytes.
            demander: Who demands.
            from_block: Where the task's events begin.
        """
        log = self._log(task_id, from_block)
        return len(log.events("Demanded", id=challenge_id, demander=demander)) + 1

    def was_upheld(self, challenge_id: bytes) -> bool:
        """Whether a challenge ended as right; the bonds of its demands are its challenger's then, else the demanders'."""
        return ask(self._contract.functions.standingOf(challenge_id))[3]

    # ---- events -----------------------------------------------------------------------------------------------------

    def _logs(self, name: str, task_id: bytes, *, from_block: int, **filters: object) -> list[EventData]:
        return self._log(task_id, from_block).events(name, **filters)

    def events(self, name: str, task_id: bytes, *, from_block: int = 0, **filters: object) -> list[EventData]:
        """A task's events of one kind, those of its challenges included, in the order of the chain.

        Args:
            name: Of the event.
            task_id: 32 bytes.
            from_block: Where the task's events begin.
            filters: Arguments of the event that have to have these values.
        """
        return self._log(task_id, from_block).events(name, **filters)

    def _log(self, task_id: bytes, from_block: int) -> TaskLog:
        key = (task_id, from_block)
        if key not in self._task_logs:
            while len(self._task_logs) >= _MOST_LOGS:
                self._task_logs.pop(next(iter(self._task_logs)))
            self._task_logs[key] = TaskLog(self.w3, self.address, task_id, from_block=from_block)
        return self._task_logs[key]

    def _sent_in(self, event: EventData) -> Sent:
        receipt = self.w3.eth.get_transaction_receipt(event["transactionHash"])
        return Sent(
            hash=event["transactionHash"].to_0x_hex(),
            gas=receipt["gasUsed"],
            block=event["blockNumber"],
            contract=None,
        )


def _backer(told: Sequence[Any]) -> Backer:
    return Backer(payer=told[0], stake=told[1])


def _place(event: EventData) -> tuple[int, int]:
    """Where on the chain an event stands."""
    return event["blockNumber"], event["logIndex"]


def _step(event: EventData) -> Step:
    args = event["args"]
    match event["event"]:
        case "Joined":
            return Joined(enrolment=_enrolment(args))
        case "Left":
            return Left(account=args["account"], round=args["leftRound"])
        case _:
            return Slashed(account=args["account"])


def _enrolment(args: Mapping[str, Any]) -> Enrolment:
    return Enrolment(
        account=args["account"],
        first_round=args["firstRound"],
        left_round=0,
        stake=args["stake"],
        node_key=args["nodeKey"],
        dataset=args["dataset"],
    )
