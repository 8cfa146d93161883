"""`fl watch` catches every fraud of the contract's list by itself."""

import hashlib
import http.server
import json
import threading
from dataclasses import replace

import pytest
from audit.liar import TOKENS, Liar, bonded, forged_levels, robbed
from cli.commands.watching import WATCHER
from eth_keys.constants import SECPK1_N
from eth_utils import to_checksum_address

from fl.audit.disputes import proofs
from fl.chain.clock import pass_time
from fl.chain.task_state import Status
from fl.chain.typed_data import Update, sign
from fl.rewards import RoundTree
from fl.rewards.tree import packed


def test_pay_that_does_not_follow_from_the_scores(liar, catches):
    liar.post_leaves(made := liar.honest(2), robbed(made))
    catches(liar, "a total or payout does not follow from the round before", "proveTransition")


def test_pay_that_fell_over_a_round_that_opens_to_nobody(new_world, watch):
    liar = Liar(new_world(rounds=4, min_stake=TOKENS))
    first = liar.post_honest(1)
    made = liar.honest(2)
    liar.post(replace(made.header, tree_root=b"\x01" * 32), made.settlement.tree.leaves)
    made = liar.honest(3)
    victim, friend, *others = made.settlement.tree.leaves
    taken = victim.cumulative - first.leaves[0].cumulative + 1
    leaves = [replace(victim, cumulative=victim.cumulative - taken),
              replace(friend, cumulative=friend.cumulative + taken), *others]  # fmt: skip
    liar.post_leaves(made, leaves)
    done = watch(liar)
    assert done.code == 1
    assert "round 3 FRAUD: a payout does not follow from round 1" in done.out
    assert "filed proveTransition in 0x" in done.out
    assert (liar.task.state().status, liar.task.state().posted) == (Status.HALTED, 2)


def test_a_score_without_an_update(liar, catches):
    made = liar.honest(2)
    first, *others = made.settlement.tree.leaves
    liar.post_leaves(made, [replace(first, update_root=bytes(32)), *others])
    catches(liar, "a total or payout does not follow", "proveTransition")


def test_pay_for_a_client_that_has_left(new_world, watch, account):
    liar = Liar(new_world(rounds=4, min_stake=TOKENS))
    liar.post_honest(1)
    liar.escrow.leave(liar.task.task_id, account=liar.world.clients[1])
    liar.post_honest(2)
    liar.post_honest(3)
    done = watch(liar)
    assert done.code == 1
    assert "round 2 is fine" in done.out  # in which it still took part
    assert "round 3 FRAUD: a total or payout does not follow from the round before" in done.out
    assert "; 1 token came in" in done.out
    assert (liar.task.state().status, liar.task.state().posted) == (Status.HALTED, 2)
    assert liar.world.token.balance(account(WATCHER).address) == TOKENS


def test_a_leaf_of_somebody_who_never_joined(liar, catches, account):
    made = liar.honest(2)
    first, *others = made.settlement.tree.leaves
    liar.post_leaves(made, [replace(first, account=account(18).address), *others])
    catches(liar, "an enrolled account has no leaf", "proveMissing")  # which it stands in for: leaves are counted


def test_a_fraud_in_the_first_round(new_world, watch):
    liar = Liar(new_world(rounds=3, min_stake=TOKENS))
    liar.post_leaves(made := liar.honest(1), robbed(made))
    done = watch(liar)
    assert done.code == 1
    assert "round 1 FRAUD: a total or payout does not follow" in done.out
    assert (liar.task.state().status, liar.task.state().posted) == (Status.HALTED, 0)


def test_another_base_model(liar, catches):
    made = liar.honest(2)
    liar.post(replace(made.header, base_model=b"\x07" * 32), made.settlement.tree.leaves)
    catches(liar, "the header does not follow from the one before", "proveBrokenChain")


def test_another_base_model_even_without_a_bundle(liar, catches):
    made = liar.honest(2)
    liar.post(replace(made.header, base_model=b"\x07" * 32), made.settlement.tree.leaves)
    (liar.bundles / "round-0002" / "manifest.json").unlink()
    catches(liar, "the header does not follow from the one before", "proveBrokenChain")


def test_two_leaves_of_one_account(liar, catches):
    made = liar.honest(2)
    first, second, *others = made.settlement.tree.leaves
    liar.post_leaves(made, [first, replace(second, account=first.account), *others], published=True)
    catches(liar, "two leaves of one account, or out of order", "proveDisorder")


def test_an_account_without_a_leaf(liar, catches):
    made = liar.honest(2)
    leaves = list(made.settlement.tree.leaves)
    leaves[1] = replace(leaves[1], account=to_checksum_address(f"0x{int(leaves[1].account, 16) + 1:040x}"))
    liar.post_leaves(made, leaves)
    catches(liar, "an enrolled account has no leaf", "proveMissing")


def test_an_update_with_a_receipt_that_was_left_out(liar, catches, tmp_path):
    made = liar.honest(2)
    victim = made.participants[1]
    receipt = liar.task.receipt(round_number=2, client=victim.account, update_root=victim.root)
    path = tmp_path / "receipts.json"
    path.write_text(json.dumps({"2": {"update_root": victim.root.hex(), "receipt": receipt.hex()}}))
    leaves = [
        replace(leaf, update_root=b"\x09" * 32) if leaf.account == victim.account else leaf
        for leaf in made.settlement.tree.leaves
    ]
    liar.post_leaves(made, leaves)
    catches(
        liar, f"the update of {victim.account} has a receipt and was left out", "proveOmission",
        f"receipts={path}", f"account={victim.account}", bounty=0,
    )  # fmt: skip


@pytest.mark.parametrize("level", [0, 1])
def test_sums_that_are_not_those_of_the_leaves_as_soon_as_a_leaf_is_shown(liar, watch, account, level):
    made = liar.honest(2)
    leaves = list(made.settlement.tree.leaves)
    leaves[0] = replace(leaves[0], cumulative=leaves[0].cumulative - 1000)
    levels = forged_levels(tuple(leaves), level=level)
    lie = liar.post(replace(made.header, tree_root=levels[-1][0].node), tuple(leaves))
    told = watch(liar)
    assert told.code == 0  # its leaves do not make the tree, and nobody has shown what does
    assert "not checked: anything but the header (the published leaves are not those of the posted tree)" in told.out
    assert "round 2 is fine" not in told.out
    asker, place = account(16), 1 if level == 0 else 2
    bonded(liar, asker)
    header, leaf = lie.header.as_tuple(), leaves[place]
    liar.escrow.submit("requestLeaf", (header, leaf.account), account=asker)
    siblings = packed(proofs.siblings_of(levels, index=place))
    liar.escrow.submit("showLeaf", (header, leaf.as_tuple(), (place, siblings)), account=liar.world.coordinator)
    done = watch(liar)
    assert done.code == 1
    assert "round 2 FRAUD: the tree promises other sums than its leaves" in done.out
    assert f"filed {'proveBadLeaf' if level == 0 else 'proveBadNode'} in 0x" in done.out
    assert liar.task.state().status == Status.HALTED


def test_a_leaf_that_is_withheld_is_asked_for_and_an_unanswered_request_voids_the_round(liar, watch, account):
    liar.post_honest(2)
    (liar.bundles / "round-0002").rename(liar.bundles / "aside")
    own, watcher = liar.world.addresses[1], account(WATCHER)
    liar.world.token.mint(watcher.address, TOKENS, account=watcher)
    assert "filed" not in watch(liar, f"account={own}").out  # it may come yet
    pass_time(liar.world.w3, until=liar.escrow.posted_at(liar.task.task_id, 2) + 51)
    told = watch(liar, f"account={own}").out
    assert f"round 2: the leaf of {own} is withheld" in told
    assert "filed requestLeaf in 0x" in told
    assert "filed" not in watch(liar, f"account={own}").out
    pass_time(liar.world.w3, until=liar.world.w3.eth.get_block("latest")["timestamp"] + 101)
    told = watch(liar, f"account={own}").out
    assert f"round 2 FRAUD: nobody showed the leaf of {own}" in told
    assert "filed upholdRequest in 0x" in told
    assert (liar.task.state().status, liar.task.state().posted) == (Status.HALTED, 1)


def test_a_leaf_that_is_asked_for_is_shown(liar, watch, account):
    posted, asker = liar.post_honest(2), account(16)
    bonded(liar, asker)
    liar.escrow.submit("requestLeaf", (posted.header.as_tuple(), liar.world.addresses[0]), account=asker)
    assert not liar.escrow.is_final(liar.task.task_id, 2)
    done = watch(liar)
    assert done.code == 0
    assert "filed showLeaf in 0x" in done.out
    assert "; 1 token came in" in done.out  # the asker's bond
    assert liar.task.state().open_challenges == 0


def test_a_sum_that_is_not_that_of_the_tree(liar, catches):
    made = liar.honest(2)
    first, *others = made.settlement.tree.leaves
    leaves = (replace(first, cumulative=first.cumulative + 1000), *others)
    liar.post(replace(made.header, tree_root=RoundTree(leaves).root), leaves)
    catches(liar, "the header states another sum than its tree", "proveBadNode")


def test_a_leaf_that_the_header_does_not_count(liar, catches, account):
    made = liar.honest(2)
    leaves = made.settlement.tree.leaves
    tree = RoundTree([*leaves, replace(leaves[0], account=account(18).address, cumulative=0)])
    liar.post(replace(made.header, tree_root=tree.root), tree.leaves)
    catches(liar, "the tree has more leaves than clients", "proveBadNode")


def test_a_single_leaf_whose_header_states_another_sum(new_world, catches):
    liar = Liar(new_world(rounds=3, clients=1, min_stake=TOKENS))
    liar.first = liar.post_honest(1)
    made = liar.honest(2)
    (leaf,) = made.settlement.tree.leaves
    leaves = (replace(leaf, cumulative=leaf.cumulative - 1000),)
    liar.post(replace(made.header, tree_root=RoundTree(leaves).root), leaves)
    catches(liar, "the header states another sum than its tree", "proveBadLeaf")


HIGH_S = "11" * 32 + f"{SECPK1_N - 1:064x}" + "1b"


@pytest.mark.parametrize(
    "nonsense",
    [
        {"updates": [{"signature": "00"}]},
        {"updates": "none"},
        {"shapes": [[-1]]},
        {"previous": 5},
        {"signatures": "00" * 65},
        {"signatures": HIGH_S},
        None,
    ],
    ids=["short", "updates", "shapes", "previous", "v", "high s", "manifest"],
)
def test_no_nonsense_beside_the_leaves_hides_a_fraud(liar, catches, nonsense):
    def spoil(folder):
        if nonsense is None:
            (folder / "manifest.json").write_bytes(b"[" * 100_000)
            return
        raw = json.loads((folder / "round.json").read_text())
        if signature := nonsense.get("signatures"):
            for update in raw["updates"]:
                update["signature"] = signature
        else:
            raw |= nonsense
        text = json.dumps(raw).encode()
        (folder / "round.json").write_bytes(text)
        sums = json.loads((folder / "manifest.json").read_text())
        sums["round.json"] = hashlib.sha256(text).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(sums))

    liar.post_leaves(made := liar.honest(2), robbed(made), spoil=spoil)
    catches(liar, "a total or payout does not follow from the round before", "proveTransition")


@pytest.fixture
def moody(liar):
    """A web server over the bundles that has one file and never sends it; its URL."""

    class Moody(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given):
            super().__init__(*given, directory=str(liar.bundles))

        def do_GET(self):
            if self.path == "/round-0001/round.json":
                self.send_error(503)
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moody) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_that_never_comes_hides_no_fraud_in_another_round(liar, moody, fl, watch):
    made = liar.honest(2)
    first, second, *others = made.settlement.tree.leaves
    liar.post_leaves(made, [first, replace(second, account=first.account), *others], published=True)
    audited = fl("audit", liar.world.folder, f"bundles={moody}")
    assert audited.code == 1
    lines = audited.out.splitlines()
    assert lines[1].startswith(f"round 1    NOT CHECKED  {moody}/round-0001/round.json does not answer (")
    assert lines[2].startswith("round 2    DIFFERS  ")
    assert lines[-2] == "1 of 2 rounds differs: 2"
    assert lines[-1] == "1 of 2 rounds could not be looked at to the end: 1; run it again"
    done = watch(liar, f"bundles={moody}")
    assert done.code == 1
    assert f"not read: round 1: {moody}/round-0001/round.json does not answer (" in done.out
    assert "round 2 FRAUD: two leaves of one account, or out of order" in done.out
    assert "filed proveDisorder in 0x" in done.out


def signed_update(liar, fill):
    """A signed update of the first client for round 2, as another observer saw it."""
    client = liar.world.clients[0]
    update = Update(
        task_id=liar.task.task_id, round=2, client=client.address, base_model=bytes(32), update_root=bytes([fill]) * 32
    )
    return {
        "round": 2,
        "client": client.address,
        "base_model": bytes(32).hex(),
        "update_root": update.update_root.hex(),
        "signature": sign(update, domain=liar.task.domain, account=client).hex(),
    }


def test_a_client_that_signed_two_updates_loses_its_stake(liar, watch, account, tmp_path):
    liar.post_honest(2)  # with the first client's update
    (tmp_path / "seen.json").write_text(json.dumps([signed_update(liar, 1)]))
    done = watch(liar, f"updates={tmp_path / 'seen.json'}")
    client = liar.world.clients[0].address
    assert done.code == 1
    assert f"round 2 FRAUD: {client} signed two updates" in done.out
    assert "filed proveEquivocation in 0x" in done.out
    assert liar.world.token.balance(account(WATCHER).address) == liar.world.stakes[0] // 2
    assert liar.task.state().status == Status.STARTED


@pytest.mark.parametrize("bogus", ["00" * 65, HIGH_S, "somebody else's"])
def test_what_a_client_did_not_sign_hides_no_second_update(liar, watch, tmp_path, bogus):
    forged = signed_update(liar, 1)
    others = liar.world.clients[1].unsafe_sign_hash(bytes(32)).signature.hex()
    forged["signature"] = others if bogus == "somebody else's" else bogus
    updates = [forged, signed_update(liar, 2), signed_update(liar, 3)]
    (tmp_path / "seen.json").write_text(json.dumps(updates))
    done = watch(liar, f"updates={tmp_path / 'seen.json'}")
    assert done.code == 1
    assert f"round 2 FRAUD: {liar.world.clients[0].address} signed two updates" in done.out
    assert "filed proveEquivocation in 0x" in done.out


def test_what_was_seen_is_remembered_between_two_starts(liar, watch, tmp_path):
    watch(liar)
    (notes,) = (tmp_path / "watch").rglob("updates.json")
    assert {(note["round"], note["client"]) for note in json.loads(notes.read_text())} == {
        (1, client) for client in liar.world.addresses
    }


def test_evaluators_that_signed_a_fraud_lose_their_stakes_by_the_same_look(new_world, watch, account):
    world = new_world(rounds=3, min_stake=TOKENS, evaluators=3, quorum=2, evaluator_stake=20 * TOKENS)
    world.token.mint(world.coordinator.address, 60 * TOKENS, account=world.sponsor)
    world.task.stake_for(world.evaluators)
    liar = Liar(world)
    liar.post_leaves(made := liar.honest(1), robbed(made))
    signed = set(world.escrow.signatures_in(world.task.posting(1).sent.hash))
    dry = watch(liar, "dry=true")
    assert "slashEvaluators" not in dry.out  # nothing is proven yet
    done = watch(liar)
    assert "filed proveTransition in 0x" in done.out
    assert "signed what they could have seen to be wrong" in done.out
    assert "filed slashEvaluators in 0x" in done.out
    stakes = [world.escrow.backer(world.task.task_id, evaluator.address).stake for evaluator in world.evaluators]
    assert stakes == [0] * len(signed) + [20 * TOKENS] * (3 - len(signed))
    # The bounty is the conviction's; the stakes are nobody's.
    assert world.token.balance(account(WATCHER).address) == TOKENS
    assert "slashEvaluators" not in watch(liar).out
