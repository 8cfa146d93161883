import json
from dataclasses import asdict, replace

import pytest
from some_invite import INVITE

from fl.chain.deployment import BadDeployment, Deployment
from fl.chain.errors import NoContract, NoTask, TokenTooLow
from fl.chain.invite import BadInvite, Invite
from fl.chain.membership import InviteDiffers, TaskOver, check_invite, join
from fl.chain.paid_task import NotCoordinator, PaidTask

DEPLOYMENT = Deployment(
    chain_id=31337, url="http://127.0.0.1:8545", contract="0x" + "11" * 20, token="0x" + "22" * 20, block=3
)
GARBAGE = [b"", b"no json", b"\xff\xfe", b"[]", b"5", b"null", b"{}", b'{"chain_id": 31337}']


def test_an_invite_reads_back(tmp_path):
    INVITE.write(tmp_path / "deep" / "invite.json")
    assert Invite.read(tmp_path / "deep" / "invite.json") == INVITE
    assert INVITE.id_bytes == bytes.fromhex("ab" * 32)


def test_a_missing_invite_is_named(tmp_path):
    with pytest.raises(BadInvite) as caught:
        Invite.read(tmp_path / "none.json")
    assert str(caught.value) == f"invite {tmp_path}/none.json is not there; ask the coordinator for it"


@pytest.mark.parametrize("content", GARBAGE)
def test_a_file_that_is_no_invite_is_refused(tmp_path, content):
    path = tmp_path / "invite.json"
    path.write_bytes(content)
    with pytest.raises(BadInvite, match=f"invite {path} is not one"):
        Invite.read(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("task_id", "0x12"), ("task_id", 5), ("task_id", "0x" + "zz" * 32), ("contract", "0x12"), ("chain_id", "one")],
)
def test_an_invite_with_a_value_of_another_form_is_refused(tmp_path, field, value):
    path = tmp_path / "invite.json"
    path.write_text(json.dumps({**asdict(INVITE), field: value}))
    with pytest.raises(BadInvite, match=field):
        Invite.read(path)


def test_a_deployment_reads_back(tmp_path):
    DEPLOYMENT.write(tmp_path / "deep" / "deployment.json")
    assert Deployment.read(tmp_path / "deep" / "deployment.json") == DEPLOYMENT


def test_a_deployment_without_its_block_searches_from_the_first(tmp_path):
    content = asdict(DEPLOYMENT)
    del content["block"]
    (tmp_path / "deployment.json").write_text(json.dumps(content))
    assert Deployment.read(tmp_path / "deployment.json").block == 0


def test_a_missing_deployment_is_named(tmp_path):
    with pytest.raises(BadDeployment) as caught:
        Deployment.read(tmp_path / "none.json")
    assert str(caught.value) == f"deployment file {tmp_path}/none.json is not there; write one with `fl deploy`"


@pytest.mark.parametrize("content", GARBAGE)
def test_a_file_that_is_no_deployment_is_refused(tmp_path, content):
    path = tmp_path / "deployment.json"
    path.write_bytes(content)
    with pytest.raises(BadDeployment, match=f"deployment file {path} is not one"):
        Deployment.read(path)


def test_a_deployment_whose_chain_was_reset_has_no_contract(deployment):
    with pytest.raises(
        NoContract, match="a devnet that was reset has lost it, and who runs it deploys again with `fl deploy`"
    ):
        replace(deployment, contract="0x" + "99" * 20).connect()


def test_an_honest_invite_leads_to_the_tasks_terms(new_world):
    world = new_world(joining=0)
    escrow, token, terms = check_invite(world.invite)
    assert (escrow.address, token.address, terms) == (world.escrow.address, world.token.address, world.task.terms)


def test_an_invite_with_another_spec_is_refused(new_world, spec):
    world = new_world(joining=0)
    other = spec(steps=99)
    with pytest.raises(InviteDiffers) as caught:
        check_invite(replace(world.invite, spec=other.to_json()))
    assert caught.value.what == "spec hash"
    assert caught.value.invite == "0x" + other.hash().hex()
    assert caught.value.chain == "0x" + world.spec.hash().hex()
    assert str(caught.value).endswith("; do not join, and ask the coordinator for the right invite")


def test_an_invite_with_another_coordinator_is_refused(new_world, account):
    world = new_world(joining=0)
    with pytest.raises(InviteDiffers) as caught:
        check_invite(replace(world.invite, coordinator=account(19).address))
    assert (caught.value.what, caught.value.invite, caught.value.chain) == (
        "coordinator",
        account(19).address,
        world.coordinator.address,
    )


def test_an_invite_with_another_token_is_refused(new_world):
    world = new_world(joining=0)
    with pytest.raises(InviteDiffers) as caught:
        check_invite(replace(world.invite, token=world.escrow.address))
    assert caught.value.what == "token"


def test_an_invite_to_a_task_that_is_not_there_is_refused(new_world):
    world = new_world(joining=0)
    with pytest.raises(NoTask) as caught:
        check_invite(replace(world.invite, task_id="0x" + "cd" * 32))
    assert str(caught.value) == (
        f"no task 0x{'cd' * 32} in the contract at {world.escrow.address}; check the invite and its chain"
    )


def test_a_closed_task_takes_no_clients(new_world, devnet):
    world = new_world(joining=1)
    world.task.start()
    devnet(world.w3, "evm_increaseTime", 2000)
    devnet(world.w3, "evm_mine")
    world.escrow.expire(world.task.task_id, account=world.sponsor)
    with pytest.raises(TaskOver) as caught:
        check_invite(world.invite)
    assert caught.value.status == "closed"
    assert str(caught.value) == (
        f"task {world.invite.task_id} is closed and takes no more clients; ask for another invite"
    )


def test_joining_with_more_than_one_holds_is_refused(new_world):
    world = new_world(joining=0)
    held = world.token.balance(world.clients[0].address)
    with pytest.raises(TokenTooLow) as caught:
        join(world.invite, account=world.clients[0], stake=held + 1, node_key=b"", dataset=bytes(32))
    assert (caught.value.balance, caught.value.needed, caught.value.purpose) == (held, held + 1, "stake")


def test_only_the_coordinators_key_holds_a_task(new_world, account):
    world = new_world(joining=0)
    world.invite.write(world.invite_path)
    with pytest.raises(NotCoordinator) as caught:
        PaidTask.from_invite(world.invite_path, coordinator=account(19))
    assert (caught.value.seen, caught.value.expected) == (account(19).address, world.coordinator.address)
    assert PaidTask.from_invite(world.invite_path, coordinator=world.coordinator).terms == world.task.terms


def test_an_invite_travels_as_one_line():
    invite = replace(INVITE, gateway="https://fl.example.org:8443", ca="-----BEGIN CERTIFICATE-----\n")
    line = invite.to_string()
    assert line.startswith("fairshare:")
    assert "\n" not in line
    assert Invite.load(line) == invite


def test_an_invite_loads_from_a_file_too(tmp_path):
    INVITE.write(tmp_path / "invite.json")
    assert Invite.load(str(tmp_path / "invite.json")) == INVITE


def test_an_invite_of_before_there_were_gateways_still_reads(tmp_path):
    content = asdict(INVITE)
    del content["gateway"], content["ca"]
    (tmp_path / "invite.json").write_text(json.dumps(content))
    assert Invite.read(tmp_path / "invite.json") == INVITE


def test_a_file_that_was_cut_is_refused_as_cut(tmp_path):
    INVITE.write(tmp_path / "invite.json")
    whole = (tmp_path / "invite.json").read_bytes()
    (tmp_path / "cut.json").write_bytes(whole[:200])
    with pytest.raises(BadInvite, match=r"cut.json is cut short; copy the whole file; ask the coordinator for it"):
        Invite.load(str(tmp_path / "cut.json"))


@pytest.mark.parametrize("damage", [lambda line: line[:-9], lambda line: line[:40], lambda line: "fairshare:é"])
def test_a_line_that_was_cut_is_refused(damage):
    with pytest.raises(BadInvite, match="is damaged or cut short; copy the whole line; ask the coordinator for it"):
        Invite.load(damage(INVITE.to_string()))


@pytest.mark.parametrize("gateway", ["http://fl.example.org", "https://", "https://host/path", 5])
def test_a_gateway_without_tls_or_with_a_path_is_refused(tmp_path, gateway):
    (tmp_path / "invite.json").write_text(json.dumps({**asdict(INVITE), "gateway": gateway}))
    with pytest.raises(BadInvite, match="gateway is"):
        Invite.read(tmp_path / "invite.json")
