"""Following the pay: what is told is what is on chain, and what does not fit is not believed."""

import json
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
from fastapi import APIRouter, Response

from clients.keys.ledger import FolderLedger
from clients.keys.wallet import read_invite
from clients.node.folder import NodeFolder
from clients.node.gateway import Gateway
from clients.payments import follower
from clients.payments.book import NoLeaf, PayBook
from clients.payments.follower import Payee, PayFollower
from fl.audit.disputes.evidence import BadEvidence
from fl.bundle.files import BrokenBundle
from fl.bundle.http_client import ArchiveRefused
from fl.chain.tokens import tokens
from fl.coordinator.gateway.bundle_api import archive_router
from fl.coordinator.gateway.proxy import running_gateway
from fl.coordinator.superlink.certificates import own_tls


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """A follower looks at its chain many times a second."""
    monkeypatch.setattr(follower, "_POLL_S", 0.05)


@pytest.fixture
def played(new_world, tmp_path):
    """A task of two clients and one round, played on the local engine."""
    world = new_world(rounds=1, clients=2, challenge_window=100)
    world.run(world.app(world.downhill))
    return world


@pytest.fixture
def gateway_of(tmp_path):
    """Starts a gateway for a world's folder, on a port, so that it can go away and come back."""
    tls = own_tls(tmp_path / "tls", names=[])

    def start(world, port=0, *, before=()):
        routers = [*before, archive_router(tmp_path, task=world.task)]
        return running_gateway("127.0.0.1", port, tls=tls, routers=routers)

    return start, tls


@pytest.fixture
def gateway(played, gateway_of):
    """The gateway of the played task."""
    start, tls = gateway_of
    return partial(start, played), tls


@pytest.fixture
def serving(gateway_of):
    """Serves a world's folder; yields the invite that leads there."""
    start, tls = gateway_of

    @contextmanager
    def serve(world):
        with start(world) as running:
            yield behind(world, running, tls)

    return serve


def book_of(played, folder, invite=None, account=0):
    """A client's book."""
    who = played.addresses[account] if isinstance(account, int) else account
    return PayBook(invite or played.invite, folder=NodeFolder(path=folder), escrow=played.escrow, account=who)


def behind(played, running, tls):
    """The invite with this gateway."""
    return played.invite.served_at(f"https://127.0.0.1:{running.port}", ca=tls.ca, coordinator=played.task.coordinator)


def test_a_round_is_fetched_once_and_then_read_from_the_folder(played, gateway, tmp_path):
    start, tls = gateway
    with start() as running:
        invite = behind(played, running, tls)
        pay = book_of(played, tmp_path / "node", invite).round(1)
    report = played.reports[0]
    assert (pay.earned, pay.leaf.score) == (
        report.pays[played.addresses[0]],
        next(leaf.score for leaf in report.leaves if leaf.account == played.addresses[0]),
    )
    assert str(book_of(played, tmp_path / "node", invite).round(1)) == str(pay)  # the gateway is gone


def test_a_round_that_is_not_the_posted_one_is_not_believed(played, gateway, tmp_path):
    start, tls = gateway
    path = tmp_path / "bundles" / "round-0001" / "header.json"
    header = json.loads(path.read_text())
    header["header"]["cumulative"] = "1"
    path.write_text(json.dumps(header))
    with start() as running, pytest.raises(BrokenBundle, match="its header is not the one that was posted on chain"):
        book_of(played, tmp_path / "node", behind(played, running, tls)).round(1)
    # What was not believed is fetched anew.
    assert not (tmp_path / "node" / "rounds" / "round-0001" / "header.json").exists()


def test_leaves_that_are_not_the_headers_are_not_believed(played, gateway, tmp_path):
    start, tls = gateway
    path = tmp_path / "bundles" / "round-0001" / "round.json"
    raw = json.loads(path.read_text())
    raw["leaves"][0]["cumulative"] = str(10**24)
    path.write_text(json.dumps(raw))
    with start() as running, pytest.raises(BrokenBundle, match="is not the one that the manifest names"):
        book_of(played, tmp_path / "node", behind(played, running, tls)).round(1)


def test_the_receipts_that_no_message_brought_are_fetched_and_checked(played, gateway, tmp_path):
    start, tls = gateway
    account, report = played.addresses[0], played.reports[0]
    root = next(leaf.update_root for leaf in report.leaves if leaf.account == account)
    given = tmp_path / "receipts" / f"{account}.json"
    given.parent.mkdir()
    ledger = FolderLedger(tmp_path / "node", task_id=played.task.task_id)
    with start() as running:
        book = book_of(played, tmp_path / "node", behind(played, running, tls))
        with pytest.raises(ArchiveRefused):
            book.keep_receipts()
        given.write_text(json.dumps({"1": {"update_root": "ab" * 32, "receipt": report.receipts[account].hex()}}))
        with pytest.raises(BadEvidence, match="has a receipt for round 1 that is signed by 0x"):
            book.keep_receipts()
        assert ledger.receipts() == {}
        given.write_text(json.dumps({"1": {"update_root": root.hex(), "receipt": report.receipts[account].hex()}}))
        book.keep_receipts()
    assert ledger.receipts() == {1: (root, report.receipts[account])}


def test_an_account_without_a_leaf_is_told_so(played, gateway, tmp_path):
    start, tls = gateway
    with start() as running, pytest.raises(NoLeaf) as caught:
        book_of(played, tmp_path / "node", behind(played, running, tls), played.sponsor.address).round(1)
    assert str(caught.value).startswith(f"round 1 as posted has no leaf for {played.sponsor.address}")


def test_a_receipt_for_another_update_is_told(played, gateway, tmp_path):
    start, tls = gateway
    ledger = FolderLedger(tmp_path / "node", task_id=played.task.task_id)
    ledger.keep_receipt(round_number=1, update_root=b"\x09" * 32, receipt=b"\x01" * 65)
    with start() as running:
        pay = book_of(played, tmp_path / "node", behind(played, running, tls)).round(1)
    assert pay.omitted
    assert str(pay).endswith("receipt is for another update than this round holds, which is provable on chain")


def test_a_gateway_that_is_a_look_behind_the_chain_is_no_trouble(played, gateway, until, tmp_path):
    start, tls = gateway
    said, asked = [], []
    behind_still = APIRouter()

    @behind_still.get("/api/bundles/round-0001/{file}")
    def file(file: str) -> Response:
        asked.append(file)
        if len(asked) == 1:
            return Response('{"detail": "round 1 is not posted yet"}', 404, media_type="application/json")
        if len(asked) == 2:
            return Response(
                '{"detail": "the coordinator does not know the chain yet"}', 503, media_type="application/json"
            )
        return Response((tmp_path / "bundles" / "round-0001" / file).read_bytes())

    with start(before=[behind_still]) as running:
        invite = behind(played, running, tls)
        follower = PayFollower(
            invite,
            Payee(account=played.clients[0], claims=False),
            folder=NodeFolder(path=tmp_path / "node"),
            gateway=Gateway(invite.gateway, ca=invite.ca),
            grace_s=0,
            say=said.append,
        )
        follower.start()
        until(lambda: said, what="the first line")
        follower.stop()
    assert len(asked) > 2
    assert said[0].startswith("round 1: score ")


def test_a_follower_waits_for_gateway_and_window_and_claims(played, gateway, until, devnet, tmp_path):
    start, tls = gateway
    said = []
    with start() as running:
        port, invite = running.port, behind(played, running, tls)
    follower = PayFollower(
        invite,
        Payee(account=played.clients[0], claims=True),
        folder=NodeFolder(path=tmp_path / "node"),
        gateway=Gateway(invite.gateway, ca=invite.ca),
        grace_s=0,
        say=said.append,
    )
    follower.start()
    try:
        until(lambda: said, what="the first line")
        assert said[0].startswith("round 1 is posted, but what it paid is not known yet: ")
        with start(port):
            until(lambda: any("it is final after" in line for line in said), what="the round told")
            assert said[1].startswith("round 1: score ")
            assert "the coordinator's gateway answers again" in said
            assert not follower.over
            devnet(played.w3, "evm_increaseTime", 200)
            devnet(played.w3, "evm_mine")
            until(lambda: follower.over, what="the claim")
    finally:
        follower.stop()
    earned = played.reports[0].pays[played.addresses[0]]
    assert played.escrow.claimed(played.task.task_id, played.addresses[0]) == earned
    claimed = f"claimed: {played.addresses[0]} was paid {earned / 1e18:,.2f} tokens in all"
    assert len([line for line in said if line.startswith(claimed)]) == 1
    # It ended the task itself, since nobody else did, and has its stake back.
    assert played.escrow.client(played.task.task_id, played.addresses[0]).stake == 0
    assert "the stake is back: 1 token" in said
    told = "\n".join(said[said.index(f"receipt of {played.addresses[0]} for task {invite.task_id[:10]}…:") :])
    assert f"earned: {tokens(earned)} tokens, paid out" in told
    assert "took part in every round: 1" in told
    assert "off the loss; the price is " in told
    assert "returned: 1 token of stake" in told
    assert len([line for line in said if "not known yet" in line]) == 1  # trouble is said once


@pytest.mark.parametrize("answer", [Response(status_code=503), Response(b"[" * 100_000)], ids=["away", "brackets"])
def test_the_claim_does_not_wait_for_receipts(played, gateway, until, devnet, answer):
    start, tls = gateway
    said, asked = [], []
    hostile = APIRouter()

    @hostile.get("/api/receipts/{account}")
    def receipts(account: str):
        asked.append(account)
        return answer

    devnet(played.w3, "evm_increaseTime", 200)
    devnet(played.w3, "evm_mine")
    with start(before=[hostile]) as running:
        invite = behind(played, running, tls)
        follower = PayFollower(
            invite,
            Payee(account=played.clients[0], claims=True),
            folder=NodeFolder(path=played.folder / "node"),
            gateway=Gateway(invite.gateway, ca=invite.ca),
            grace_s=0,
            say=said.append,
        )
        follower.start()
        try:
            until(lambda: follower.over, what="the claim")
        finally:
            follower.stop()
    assert set(asked) == {played.addresses[0]}
    assert said[0].startswith("round 1: score ")
    assert any(line.startswith("claimed: ") for line in said)


def test_a_follower_says_once_that_the_chain_is_away(played, until, relay, tmp_path):
    said = []
    url = relay.open(played.invite.url)
    follower = PayFollower(
        replace(played.invite, url=url),
        Payee(account=played.clients[0], claims=False),
        folder=NodeFolder(path=tmp_path / "node"),
        gateway=None,
        say=said.append,
    )
    relay.close()
    follower.start()
    try:
        until(lambda: said, what="the trouble")
        assert said[0].startswith(f"the chain at {url} does not answer (")
        relay.open(played.invite.url)
        until(lambda: "the chain answers again" in said, what="the chain's return")
    finally:
        follower.stop()
    assert len([line for line in said if line.startswith("the chain at")]) == 1


def test_a_follower_without_gas_says_so_and_claims_once_it_has_some(played, gateway, until, devnet, tmp_path):
    start, tls = gateway
    said, account = [], played.clients[0]
    until_final = played.escrow.posted_at(played.task.task_id, 1) + 200
    devnet(played.w3, "evm_setNextBlockTimestamp", until_final)
    devnet(played.w3, "evm_mine")
    devnet(played.w3, "anvil_setBalance", account.address, "0x0")
    with start() as running:
        invite = behind(played, running, tls)
        follower = PayFollower(
            invite,
            Payee(account=account, claims=True),
            folder=NodeFolder(path=tmp_path / "node"),
            gateway=Gateway(invite.gateway, ca=invite.ca),
            grace_s=0,
            say=said.append,
        )
        follower.start()
        try:
            until(lambda: any("has no ETH on chain 31337 to pay for gas" in line for line in said), what="the reason")
            devnet(played.w3, "anvil_setBalance", account.address, hex(10**18))
            until(lambda: follower.over, what="the claim")
        finally:
            follower.stop()
    assert any(line.startswith("claimed: ") for line in said)


class Stop(Exception):
    """Ends a run between two rounds."""


def test_a_follower_of_an_account_that_left_lets_the_node_rest_and_fetches_the_stake(
    new_world, serving, until, devnet, tmp_path
):
    world = new_world(rounds=3, clients=2, challenge_window=100)

    def leave_in_round_two(report):
        world.reports.append(report)
        if report.round == 1:
            world.escrow.leave(world.task.task_id, account=world.clients[0])
        if report.round == 2:
            raise Stop

    with pytest.raises(Stop):
        world.run(world.app(world.downhill), on_round=leave_in_round_two)
    said = []
    with serving(world) as invite:
        follower = PayFollower(
            invite,
            Payee(account=world.clients[0], claims=True),
            folder=NodeFolder(path=tmp_path / "node"),
            gateway=None,
            grace_s=0,
            say=said.append,
        )
        follower.start()
        try:
            until(lambda: follower.idle, what="its rest")
            assert not follower.over
            devnet(world.w3, "evm_increaseTime", 200)
            devnet(world.w3, "evm_mine")
            until(lambda: follower.over, what="the stake")
        finally:
            follower.stop()
    assert "this account left the task; the node no longer takes part and waits for its stake" in said
    assert "the stake is back: 1 token" in said
    assert any(line.startswith("what later rounds add to the pay comes with `fl finish") for line in said)
    client = world.escrow.client(world.task.task_id, world.addresses[0])
    earned = next(leaf.cumulative for leaf in world.reports[-1].leaves if leaf.account == world.addresses[0])
    assert (client.stake, client.claimed) == (0, earned)


def test_a_follower_writes_a_hand_over_into_the_folder_from_where_the_node_reads_it(played, account, until, tmp_path):
    folder, said, following = NodeFolder(path=tmp_path / "node"), [], account(14)
    folder.path.mkdir()
    folder.bind(invite=played.invite, account=played.addresses[0])
    assert read_invite(str(folder.invite_path)).coordinator == played.coordinator.address
    held = played.escrow
    # The contract lets nobody take a task over that is closed; this one has its last round posted, no more.
    held.offer_coordinator(played.task.task_id, following.address, account=played.coordinator)
    held.take_coordinator(played.task.task_id, account=following)
    follower = PayFollower(
        played.invite, Payee(account=played.clients[0], claims=False), folder=folder, gateway=None, say=said.append
    )
    follower.start()
    try:
        until(lambda: read_invite(str(folder.invite_path)).coordinator == following.address, what="the new coordinator")
    finally:
        follower.stop()
    told = f"the task was handed over by {played.coordinator.address}; its coordinator is {following.address} now"
    assert said.count(told) == 1
