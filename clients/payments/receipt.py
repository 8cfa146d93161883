"""The end of a client's part in plain words: what it earned and why, what came back, and where the money is."""

from __future__ import annotations

from collections.abc import Sequence

from clients.payments.book import SCORE, RoundPay
from fl.chain.accounts import ANVIL_CHAIN
from fl.chain.invite import Invite
from fl.chain.rpc_url import shown
from fl.chain.tokens import in_tokens
from fl.plain_text import printable, ranges
from fl.rewards import HIGHEST_PRICE, price_of

_LONG = 0.995  # a factor below it is worth a word


def receipt(
    rounds: Sequence[RoundPay],
    *,
    invite: Invite,
    account: str,
    paid: int,
    returned: int,
    slashed: bool,
    wallet: str = "",
    payee: str = "",
) -> list[str]:
    """Lines for the owner.

    Args:
        rounds: The posted rounds that have a leaf of the account, by number.
        paid: Wei that were claimed.
        returned: Wei of stake that came back just now.
        slashed: Whether the stake is gone without having come back.
        wallet: The file of its key, "" where it is in none.
        payee: Who is paid for it, "" for itself.
    """
    name = f"“{printable(invite.name, most=60)}”" if invite.name else f"task {invite.task_id[:10]}…"
    lines = [f"receipt of {account} for {name}:"]
    lines.append(f"  earned: {in_tokens(paid)}, paid out")
    lines += [f"    {line}" for line in _why(rounds)]
    if returned:
        lines.append(f"  returned: {in_tokens(returned)} of stake")
    elif slashed:
        lines.append("  returned: no stake now; it came back before, or two signed updates of one round have cost it")
    elsewhere = payee not in ("", account)
    whose = f"{payee}, the payee of {account}," if elsewhere else account
    lines.append(f"  where: at {whose} on chain {invite.chain_id}, as the token {invite.token}")
    lines += [f"    {line}" for line in _spend(invite, "" if elsewhere else wallet)]
    return lines


def _why(rounds: Sequence[RoundPay]) -> list[str]:
    if not rounds:
        return ["no round has a place of this account"]
    took = [round_.header.round for round_ in rounds if round_.leaf.weight]
    missed = [round_ for round_ in rounds if not round_.leaf.weight]
    last = rounds[-1]
    every = ranges([round_.header.round for round_ in rounds])
    if not took:
        lines = ["took part in no round"]
    elif missed:
        lines = [f"took part in {ranges(took)} of rounds {every}"]
    else:
        lines = [f"took part in every round: {every}"]
    lines += [
        f"missed round {missed_round.header.round}: {missed_round.absence or 'no answer was counted'}"
        for missed_round in missed[:5]
    ]
    if len(missed) > 5:
        lines.append(f"and missed {len(missed) - 5} more")
    total = last.leaf.total / SCORE
    if last.header.price < HIGHEST_PRICE and last.leaf.total > 0:
        price = price_of(last.header.price)
        lines.append(
            f"its updates took {total:.4f} off the loss; the price is {price:,.2f} tokens for 1.0, the same for everybody"
        )
    elif last.leaf.total <= 0:
        lines.append(f"all in all its updates took nothing off the loss ({total:+.4f}); that pays nothing")
    if lengths := [round_.factor for round_ in rounds if round_.factor is not None and round_.factor < _LONG]:
        lines.append(
            f"in {len(lengths)} round{'s' * (len(lengths) > 1)} the update was longer than the round's median and counted "
            f"for {min(lengths):.0%} at the least"
        )
    if last.leaf.cumulative > max(0.0, total) * price_of(last.header.price) * 10**18 * 1.001:
        lines.append("what it had earned before never falls, so it keeps more than its score is worth now")
    return lines


def _spend(invite: Invite, wallet: str) -> list[str]:
    lines = []
    if wallet:
        lines.append(f"any Ethereum wallet opens it: import {wallet} with its password (“JSON file” in MetaMask),")
        lines.append(f"add the network {shown(invite.url)} and the token's address; send it on from there")
    if invite.chain_id == ANVIL_CHAIN:
        lines.append("this chain is a devnet: its tokens are worth nothing elsewhere")
    return lines
