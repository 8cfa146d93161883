"""What everybody can check of a posted round: header, manifest and round.json, held against the chain and each other.

No update and no direction is needed: signatures, stakes, the most that an update may weigh, every total and payout from
its score, the price, the tree. What remains are the scores themselves, for which `fl.audit.own_update` and `fl.audit.recompute` need more.
"""

from __future__ import annotations

from itertools import pairwise

from fl.audit.difference import ChainView, Comparison, RoundDiffers
from fl.bundle.round_record import RoundRecord
from fl.chain.typed_data import Header, InvalidSignature, Update, signer_of
from fl.rewards import WEIGHT_ONE, Account, Leaf, RoundTree, settle_round
from fl.rewards.tree import NO_UPDATE
from fl.task.spec import TaskSpec


def check_published(record: RoundRecord, header: Header, *, view: ChainView, spec: TaskSpec) -> None:
    """Check the part of a round that everybody is given.

    Args:
        record: As read from round.json.
        header: As posted.
        view: What the chain says.
        spec: The task's.
    Raises: RoundDiffers with the first difference.
    """
    number = header.round
    check = Comparison(number)
    check.equal("the task of round.json", record.task_id, header.task_id)
    check.equal("the round of round.json", record.round, number)
    _check_links(header, view, check)
    _check_updates(record, header, view, spec, check)
    if view.previous is None:
        check.equal("the number of leaves before round 1", len(record.previous), 0)
    else:
        _check_tree("the previous leaves", record.previous, view.previous, check)
    check.equal("the enrolment", header.enrolment, view.enrolments.hash(number))
    _check_leaves(record, header, view.accounts_before(record.previous, number=number), view, check)
    _check_tree("the leaves", record.leaves, header, check)


def _check_links(header: Header, view: ChainView, check: Comparison) -> None:
    check.equal("the previous header", header.previous, view.previous_hash)
    check.equal("the validation set", header.validation, view.terms.validation_hash)
    check.equal("the base model, against the round before,", header.base_model, view.base_model)


def _check_updates(record: RoundRecord, header: Header, view: ChainView, spec: TaskSpec, check: Comparison) -> None:
    for left, right in pairwise(record.updates):
        if int(left.account, 16) >= int(right.account, 16):
            check.equal(
                "the order of the updates", f"{right.account} after {left.account}", "ascending accounts, each once"
            )
    staked = sum(update.stake for update in record.updates if update.selected)
    for listed in record.updates:
        check.enrolled(listed, view)
        update = Update(
            task_id=header.task_id,
            round=header.round,
            client=listed.account,
            base_model=header.base_model,
            update_root=listed.root,
        )
        try:
            signer = signer_of(update, domain=view.domain, signature=listed.signature)
        except InvalidSignature as error:
            raise RoundDiffers(header.round, f"the update of {listed.account}", str(error), "signed") from error
        check.equal(f"the signer of {listed.account}'s update", signer, listed.account)
        # A clip takes weight; so do duplicates, whose shares nobody can tell without the updates.
        share = (2 * listed.stake * WEIGHT_ONE + staked) // (2 * staked) if listed.selected else 0
        if listed.weight > share and spec.duplicate_cosine is None:
            raise RoundDiffers(header.round, f"the weight of {listed.account}", str(listed.weight), f"at most {share}")


def _check_leaves(
    record: RoundRecord, header: Header, before: dict[str, Account], view: ChainView, check: Comparison
) -> None:
    leaves = {leaf.account: leaf for leaf in record.leaves}
    for account in before:
        if account not in leaves:
            check.equal(f"the leaf of {account}", "absent", "there: it is enrolled")
    for account in leaves:
        if account not in before:
            check.equal(f"the leaf of {account}", "there", "absent: it is not enrolled")
    listed = {update.account: update for update in record.updates}
    for account, leaf in leaves.items():
        update = listed.get(account)
        check.equal(f"the update root of the leaf of {account}", leaf.update_root, update.root if update else NO_UPDATE)
        check.equal(f"the weight of the leaf of {account}", leaf.weight, update.weight if update else 0)
        if update is None:
            check.equal(f"the score of {account}, which sent no update,", leaf.score, 0)
    scores = {account: leaf.score for account, leaf in leaves.items()}
    payout = settle_round(before, scores=scores, allowed=view.schedule.allowed(header.round))
    for account, after in payout.accounts.items():
        check.equal(f"the total of {account}, by its score,", leaves[account].total, after.total)
    check.equal("the price", header.price, payout.price)
    check.equal("the price of round.json", record.price, payout.price)
    for account, after in payout.accounts.items():
        check.equal(f"the cumulative of {account}", leaves[account].cumulative, after.cumulative)


def _check_tree(what: str, leaves: tuple[Leaf, ...], header: Header, check: Comparison) -> None:
    for left, right in pairwise(leaves):
        if int(left.account, 16) >= int(right.account, 16):
            check.equal(
                f"the order of {what}", f"{right.account} after {left.account}", "ascending accounts, each once"
            )
    check.equal(f"the number of {what}", header.leaf_count, len(leaves))
    tree = RoundTree(leaves)
    check.equal(f"the cumulative of {what}", header.cumulative, tree.cumulative)
    check.equal(f"the root of {what}", header.tree_root, tree.root)
