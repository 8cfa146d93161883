"""Every reason to refuse a reply, by its words."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict

from fl.chain.enrolment import Enrolment
from fl.chain.typed_data import Domain, Update, sign
from fl.codec import Blocks, block_root, model_hash
from fl.coordinator.round.collect import Question, collect
from fl.protocol import RECORD, SignedUpdate, TrainRequest

DOMAIN = Domain(chain_id=31337, contract="0x" + "11" * 20)
TASK, BASE = b"t" * 32, model_hash(np.zeros(8, dtype=np.float32))
WIRE = Blocks.encode(np.linspace(-1, 1, 8)).to_bytes()


@pytest.fixture
def members(account):
    """Three clients."""
    return [account(index) for index in (5, 6, 7)]


@pytest.fixture
def enrolled(members):
    """All three, joined for round 1."""
    return {
        member.address: Enrolment(
            account=member.address, first_round=1, left_round=0, stake=10 + number, node_key=b"", dataset=bytes(32)
        )
        for number, member in enumerate(members)
    }


def update_of(member, *, wire=WIRE, signer=None, domain=DOMAIN, task=TASK, number=1, base=BASE):
    """A signed update of this client."""
    update = Update(task_id=task, round=number, client=member.address, base_model=base, update_root=block_root(wire))
    return SignedUpdate(
        account=member.address,
        round=number,
        base_model=base,
        blocks=wire,
        signature=sign(update, domain=domain, account=signer or member),
        seconds_training=1.5,
        seconds_signing=0.5,
    )


def reply(content, *, node=2):
    """A reply with this signed update, record, or error."""
    asked = Message(RecordDict(), node, "train")
    if isinstance(content, Error):
        return Message(content, reply_to=asked)
    record = content.to_record() if isinstance(content, SignedUpdate) else content
    records = {} if record is None else {RECORD: record}
    return Message(RecordDict({**records, "metrics": MetricRecord({"train-loss": 0.5})}), reply_to=asked)


def sort(replies, enrolled, *, number=1, size=8, owners=None):
    """Collect round `number`."""
    question = Question(task_id=TASK, round=number, base_model=BASE, size=size, enrolled=enrolled, domain=DOMAIN)
    return collect(replies, question, owners=owners)


def refusal_from(answer, enrolled, **options):
    """The one refusal of one reply."""
    accepted, (refused,) = sort([answer], enrolled, **options)
    assert accepted == []
    return refused


def refusal(content, enrolled, **options):
    """The one refusal of what one node sent."""
    return refusal_from(reply(content), enrolled, **options)


def test_an_honest_update_is_accepted_as_it_was_signed(members, enrolled):
    (update,), refused = sort([reply(update_of(members[1]), node=7)], enrolled)
    assert refused == []
    assert (update.account, update.node_id, update.stake) == (members[1].address, 7, 11)
    assert (update.wire, update.root) == (WIRE, block_root(WIRE))
    assert update.metrics == {"train-loss": 0.5}
    assert (update.seconds_training, update.seconds_signing) == (1.5, 0.5)
    np.testing.assert_array_equal(update.blocks.decode(), Blocks.from_bytes(WIRE, size=8).decode())


def test_updates_come_in_ascending_order_of_their_accounts(members, enrolled):
    accepted, _ = sort([reply(update_of(member)) for member in members], enrolled)
    numbers = [int(update.account, 16) for update in accepted]
    assert numbers == sorted(numbers)
    assert len(numbers) == 3


def test_a_node_that_failed_is_refused_with_its_reason(enrolled):
    refused = refusal(Error(code=0, reason="RuntimeError: disk full"), enrolled)
    assert (refused.node_id, refused.account) == (2, "")
    assert refused.reason == "the node failed: RuntimeError: disk full"


def test_a_strangers_words_become_one_printable_line_that_is_cut(members, enrolled):
    refused = refusal(Error(code=0, reason="\x1b[2Jgone\n2026 INFO all is well" + "x" * 5000), enrolled)
    assert refused.reason.startswith("the node failed: ?[2Jgone 2026 INFO all is wellxxx")
    assert len(refused.reason) == 1000
    refused = refusal(replace(update_of(members[0]), account="\x1b]0;" + "A" * 5000), enrolled)
    assert refused.account == "?]0;" + "A" * 37 + "…"
    assert refused.reason.startswith("?]0;AAA")
    assert len(refused.reason) == 1000


@pytest.mark.parametrize("told", [float("nan"), float("inf"), -1.0, 1e308])
def test_a_time_that_no_training_takes_is_refused(members, enrolled, told):
    for key in ("training", "signing"):
        update = replace(update_of(members[0]), **{f"seconds_{key}": told})
        assert refusal(update, enrolled).reason == (
            f"the reply has no signed update (seconds-{key} is {told}, a time of 0 to 1000000000 s is expected); wrap the "
            "ClientApp with mods=[clients.sign_updates]"
        )


def test_metrics_are_finite_numbers_under_printable_names(members, enrolled):
    answer = reply(update_of(members[0]))
    answer.content["metrics"] = MetricRecord(
        {"loss": float("nan"), "a\x1b": 1.0, "list": [1.0], **{f"m{number:03}": number for number in range(200)}}
    )
    (update,), _ = sort([answer], enrolled)
    assert list(update.metrics.items())[:2] == [("a?", 1.0), ("m000", 0)]
    assert len(update.metrics) == 100


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (None, "'fairshare'"),
        (ConfigRecord({}), "'account'"),
        (ConfigRecord({"account": b"bytes"}), "account is a bytes, str is expected"),
        (ConfigRecord({"account": "0x", "round": 1.0}), "round is a float, int is expected"),
    ],
)
def test_a_reply_without_a_signed_update_is_refused(enrolled, record, problem):
    assert refusal(record, enrolled).reason == (
        f"the reply has no signed update ({problem}); wrap the ClientApp with mods=[clients.sign_updates]"
    )


def test_a_stranger_is_refused(account, enrolled):
    stranger = account(19)
    refused = refusal(update_of(stranger), enrolled)
    assert refused.account == stranger.address
    assert refused.reason == f"{stranger.address} has not joined the task; join with a stake first"


def test_a_client_that_joined_later_is_refused(members, enrolled):
    who = members[0].address
    enrolled[who] = replace(enrolled[who], first_round=3)
    assert refusal(update_of(members[0]), enrolled).reason == f"{who} counts from round 3, this is round 1"


def test_a_client_that_left_is_refused(members, enrolled):
    who = members[0].address
    enrolled[who] = replace(enrolled[who], left_round=2)
    assert refusal(update_of(members[0], number=2), enrolled, number=2).reason == (
        f"{who} counts from round 1 and left before round 2, this is round 2"
    )


def test_a_leavers_last_round_counts(members, enrolled):
    who = members[0].address
    enrolled[who] = replace(enrolled[who], left_round=2)
    assert len(sort([reply(update_of(members[0]))], enrolled)[0]) == 1


def test_an_update_for_another_round_is_refused(members, enrolled):
    assert refusal(update_of(members[0], number=2), enrolled).reason == (
        "the update is for round 2, round 1 is open; train again"
    )


def test_an_update_from_another_model_is_refused(members, enrolled):
    assert refusal(update_of(members[0], base=b"\xab" * 32), enrolled).reason == (
        f"the update starts from model abababababababab…, this round's is {BASE.hex()[:16]}…; fetch the model and train "
        "again"
    )


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        (b"", "0 bytes were given for 8 values, 513 are expected"),
        (WIRE + WIRE, "1026 bytes were given for 8 values, 513 are expected"),
        (bytes([1]) + WIRE[1:], r"block 0 has exponent 1, outside [-64, 0]"),
        (WIRE[:-1] + b"\x01", "the padding after value 8 is not zero"),
        (WIRE[:1] + b"\x80\x00" + WIRE[3:], "block 0 holds -32768, outside [-32767, 32767]"),
    ],
)
def test_blocks_in_another_form_are_refused(members, enrolled, wire, problem):
    honest = update_of(members[0])
    assert refusal(replace(honest, blocks=wire), enrolled).reason == (
        f"not a block vector: {problem}; encode it with fl.codec.Blocks.encode"
    )


@pytest.mark.parametrize("signature", [b"", b"x" * 65, b"\x00" * 65])
def test_bytes_that_are_no_signature_are_refused(members, enrolled, signature):
    refused = refusal(replace(update_of(members[0]), signature=signature), enrolled)
    assert refused.reason.startswith(f"{len(signature)} bytes are not a signature: 65 bytes r ‖ s ‖ v are expected")


def test_anothers_signature_is_refused(members, enrolled):
    first, second = members[0], members[1]
    assert refusal(update_of(first, signer=second), enrolled).reason == (
        f"the update says {first.address} and is signed by {second.address}; sign with the account's own key"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"task": b"u" * 32},
        {"domain": Domain(chain_id=1, contract=DOMAIN.contract)},
        {"domain": Domain(chain_id=31337, contract="0x" + "22" * 20)},
    ],
    ids=["task", "chain", "contract"],
)
def test_a_signature_for_another_task_chain_or_contract_is_refused(members, enrolled, changes):
    reason = refusal(update_of(members[0], **changes), enrolled).reason
    assert reason.startswith(f"the update says {members[0].address} and is signed by 0x")


def test_a_signature_over_other_blocks_is_refused(members, enrolled):
    other = Blocks.encode(np.ones(8)).to_bytes()
    assert "is signed by" in refusal(replace(update_of(members[0]), blocks=other), enrolled).reason


def test_a_node_speaks_for_the_wallet_that_joined_with_its_key(members, enrolled):
    # Keys are public: somebody else may have named this one first.
    owners = {2: (members[2].address, members[0].address), 3: (members[1].address,)}
    accepted, refused = sort([reply(update_of(members[0]), node=2)], enrolled, owners=owners)
    assert [update.account for update in accepted] == [members[0].address]
    assert refused == []


@pytest.mark.parametrize(("node", "owner"), [(3, 1), (4, None)])
def test_an_update_from_the_node_of_another_wallet_is_refused(members, enrolled, node, owner):
    owners = {2: (members[0].address,), 3: (members[1].address,)}
    refused = refusal_from(reply(update_of(members[0]), node=node), enrolled, owners=owners)
    who = "no account of this task" if owner is None else members[owner].address
    assert refused.reason == (
        f"the node's key belongs to {who} and the update says {members[0].address}; start the node with the key that joined"
    )


def test_of_two_updates_of_one_account_the_first_counts(members, enrolled):
    other = Blocks.encode(np.ones(8)).to_bytes()
    accepted, (refused,) = sort(
        [reply(update_of(members[0])), reply(update_of(members[0], wire=other), node=3)], enrolled
    )
    assert [update.wire for update in accepted] == [WIRE]
    assert (refused.node_id, refused.account) == (3, members[0].address)
    assert refused.reason == "a second update for this round came from the same account; the first one counts"


def test_a_refusal_costs_nobody_else_anything(members, enrolled):
    bad = replace(update_of(members[0]), signature=b"")
    accepted, refused = sort([reply(bad), reply(update_of(members[1])), reply(update_of(members[2]))], enrolled)
    assert {update.account for update in accepted} == {members[1].address, members[2].address}
    assert [refusal.account for refusal in refused] == [members[0].address]


def test_a_request_reads_back():
    request = TrainRequest(task_id=TASK, round=3, receipt=b"r" * 65, receipt_round=2, receipt_root=b"q" * 32)
    assert TrainRequest.from_record(request.to_record()) == request


def test_a_signed_update_reads_back(members):
    update = update_of(members[0])
    assert SignedUpdate.from_record(update.to_record()) == update
