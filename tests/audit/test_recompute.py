"""An evaluator signs an honest round and names what is wrong with any other, however consistent the lie."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from chain_view import view_of

from fl.audit.difference import RoundDiffers
from fl.audit.evaluators.local import Evaluator
from fl.audit.public_state import public_round
from fl.audit.recompute import _check_aggregate as check_aggregate
from fl.audit.recompute import check_round
from fl.audit.strategy_state import participants_of
from fl.bundle.format import Bundle
from fl.chain.typed_data import Update, sign, signer_of
from fl.codec import Blocks, block_root, model_hash
from fl.rewards import RoundTree, norm_q64
from fl.scoring.direction import direction
from fl.scoring.paid import PaidScoring
from fl.scoring.public_vectors import PublicStep, products, public_vectors, without_public
from fl.scoring.rows import split_rows


@pytest.fixture(scope="module")
def world(lasting_world, spec):
    """Three rounds that are on chain; client 0 of the three comes back with nothing in round 1."""
    world = lasting_world(rounds=3, spec=spec(length="median", public_rounds=2))
    world.run(
        world.app(
            lambda number, turn, base: np.zeros(8) if (number, turn) == (0, 1) else world.downhill(number, turn, base)
        )
    )
    return world


@pytest.fixture(scope="module")
def bundles(world):
    """The rounds' bundles."""
    return [Bundle.read(report.bundle)[0] for report in world.reports]


def past_of(bundles, number):
    """What was public before round `number`."""
    return [
        public_round(base=bundle.base, following=bundle.next, direction=bundle.direction)
        for bundle in reversed(bundles[: number - 1])
    ]


def nowhere(bundle):
    """A public step that stays where it is, of as many vectors."""
    return PublicStep(coefficients=(0.0,) * len(bundle.public.coefficients), rate=0.0)


@pytest.fixture
def judge(world, bundles, tmp_path):
    """Let an evaluator judge round 2, with changes to its bundle and its header.

    The manifest always fits its files and the header names the manifest: a lie of the coordinator, not a broken copy.
    """

    def evaluate(*, number=2, bundle=None, header=None, view=None):
        told = bundle or bundles[number - 1]
        folder = tmp_path / "bundles" / f"round-{number:04d}"
        if not folder.parent.exists():
            shutil.copytree(world.folder / "bundles", folder.parent)  # what was public before is read from there
        shutil.rmtree(folder, ignore_errors=True)
        bundle_hash = told.write(folder)
        changes = {"bundle": bundle_hash, **(header or {})}
        told_header = replace(world.reports[number - 1].header, **changes)
        evaluator = Evaluator(account=world.evaluators[0], spec=world.spec, game=world.game())
        return told_header, evaluator.evaluate(folder, told_header, view=view or view_of(world, number))

    return evaluate


def refused(judge, what, **options):
    """The evaluator's refusal, which has to be about `what`."""
    with pytest.raises(RoundDiffers) as caught:
        judge(**options)
    assert what in caught.value.what, str(caught.value)
    assert str(caught.value).endswith("; do not sign it")
    return caught.value


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_honest_round_is_signed(world, judge, number):
    header, signature = judge(number=number)
    assert header == world.reports[number - 1].header
    assert signer_of(header, domain=world.task.domain, signature=signature) == world.evaluators[0].address


def test_the_direction_is_as_near_as_its_blocks_allow(world, bundles):
    report = world.reports[1]
    distance = check_round(
        bundles[1],
        report.header,
        bundle_hash=report.header.bundle,
        view=view_of(world, 2),
        spec=world.spec,
        game=world.game(),
        past=past_of(bundles, 2),
    )
    assert distance < 1e-4


def test_updates_as_large_as_blocks_allow_stop_no_round(lasting_world, spec):
    """Weights are rounded to units of 2^−32: half a unit of four such updates is 1.4·10^−5 of a value, and float32 is nearer."""
    stakes = [10**21] * 2 + [10**19] * 4
    world = lasting_world(rounds=1, clients=6, stakes=stakes, spec=spec(length="median"))

    def honest(base):
        return -0.5 * world.game().gradient(base)

    def large(base, stake):
        exact = 2**32 * stake / sum(stakes) * np.linalg.norm(honest(base))  # the weight of an update of length 1
        values = np.arange(31_000, 32_700)
        below = exact / values % 1
        # All in one value, and as long as leaves a weight the most of a unit to be rounded away.
        return np.eye(8)[3] * values[np.argmax(np.where(below < 0.5, below, 0))]

    world.run(
        world.app(lambda number, turn, base: honest(base) if number < 2 else large(base, stakes[number])),
    )
    assert [len(report.scores) for report in world.reports] == [6]


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("task_id", b"x" * 32, "the task"),
        ("previous", b"x" * 32, "the previous header"),
        ("base_model", b"x" * 32, "the base model"),
        ("next_model", b"x" * 32, "the next model"),
        ("validation", b"x" * 32, "the validation set"),
        ("direction_root", b"x" * 32, "the direction's root"),
        ("tree_root", b"x" * 32, "the tree's root"),
        ("leaf_count", 4, "the leaf count"),
        ("enrolment", b"x" * 32, "the enrolment"),
        ("cumulative", 1, "the cumulative"),
        ("price", 1, "the price"),
        ("bundle", b"x" * 32, "the bundle's hash"),
        ("round", 3, "the bundle's round"),
    ],
)
def test_a_header_with_another_value_is_refused(world, judge, field, value, what):
    error = refused(judge, what, header={field: value})
    shown = f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
    assert shown in (error.seen, error.expected)


def changed(bundle, number=0, **changes):
    """The bundle with one update changed."""
    updates = list(bundle.updates)
    updates[number] = replace(updates[number], **changes)
    return replace(bundle, updates=tuple(updates))


def test_a_weight_that_was_raised_is_refused(judge, bundles):
    update = bundles[1].updates[0]
    error = refused(judge, f"the weight of {update.account}", bundle=changed(bundles[1], weight=update.weight + 1))
    assert (error.seen, error.expected) == (str(update.weight + 1), str(update.weight))


def test_a_stake_that_was_raised_is_refused(judge, bundles):
    update = bundles[1].updates[0]
    refused(judge, f"the stake of {update.account}", bundle=changed(bundles[1], stake=update.stake * 2))


def test_an_update_that_was_left_out_of_the_mean_is_refused(judge, bundles):
    update = bundles[1].updates[0]
    refused(judge, f"whether the update of {update.account} was taken", bundle=changed(bundles[1], selected=False))


@pytest.mark.parametrize("change", [1, -1])
def test_a_price_that_is_one_too_high_or_too_low_is_refused(judge, bundles, change):
    price = bundles[1].price + change
    refused(judge, "the price", bundle=replace(bundles[1], price=price), header={"price": price})
    refused(judge, "the price of round.json", bundle=replace(bundles[1], price=price))


def test_two_swapped_signatures_are_refused(judge, bundles):
    first, second = bundles[1].updates[:2]
    swapped = changed(changed(bundles[1], 0, signature=second.signature), 1, signature=first.signature)
    refused(judge, f"the signer of {first.account}'s update", bundle=swapped)


def test_bytes_that_are_no_signature_are_refused(judge, bundles):
    update = bundles[1].updates[0]
    refused(judge, f"the update of {update.account}", bundle=changed(bundles[1], signature=b"x" * 65))


def test_an_update_that_its_client_did_not_sign_is_refused(judge, bundles):
    update = bundles[1].updates[0]
    forged = Blocks.encode(np.ones(8)).to_bytes()
    refused(judge, f"the update root of {update.account}", bundle=changed(bundles[1], wire=forged))
    refused(
        judge,
        f"the signer of {update.account}'s update",
        bundle=changed(bundles[1], wire=forged, root=block_root(forged)),
    )


def test_an_update_in_another_form_is_refused(judge, bundles):
    update = bundles[1].updates[0]
    refused(judge, f"the update of {update.account}", bundle=changed(bundles[1], wire=update.wire[:-1] + b"\x01"))


def test_an_update_of_a_stranger_is_refused(world, judge, bundles, account):
    stranger = account(19)
    copied = bundles[1].updates[0]
    update = Update(
        task_id=world.task.task_id,
        round=2,
        client=stranger.address,
        base_model=model_hash(bundles[1].base),
        update_root=copied.root,
    )
    forged = replace(
        copied, account=stranger.address, signature=sign(update, domain=world.task.domain, account=stranger)
    )
    updates = sorted([*bundles[1].updates, forged], key=lambda each: int(each.account, 16))
    refused(judge, f"an update of {stranger.address}", bundle=replace(bundles[1], updates=tuple(updates)))


def test_an_update_that_stands_there_twice_is_refused(judge, bundles):
    first = bundles[1].updates[0]
    refused(judge, "the updates' accounts", bundle=replace(bundles[1], updates=(first, *bundles[1].updates)))


def test_an_update_that_was_left_out_changes_the_round(judge, bundles):
    # Omitting a client altogether: the others' weights no longer fit.
    refused(judge, "the weight of", bundle=replace(bundles[1], updates=bundles[1].updates[1:]))


def test_a_direction_beyond_the_tolerance_is_refused(world, judge, bundles):
    honest = bundles[1].direction.decode().astype(np.float64)
    aside = np.zeros(8)
    aside[0] = 2 * world.spec.tolerance * np.linalg.norm(honest)
    bent = Blocks.encode(honest + aside)
    error = refused(
        judge,
        "the direction",
        bundle=replace(bundles[1], direction=bent),
        header={"direction_root": block_root(bent.to_bytes())},
    )
    assert float(error.seen.removeprefix("off by ")) == pytest.approx(2 * world.spec.tolerance, rel=0.02)
    assert error.expected == "within 0.001 of the gradient"


def test_a_direction_within_the_tolerance_still_has_to_lead_to_its_own_scores(world, judge, bundles):
    honest = bundles[1].direction.decode().astype(np.float64)
    near = Blocks.encode(honest * (1 + 0.5 * world.spec.tolerance))
    bundle = replace(bundles[1], direction=near, next=bundles[1].aggregate, public=nowhere(bundles[1]))
    refused(
        judge,
        "the leaf of",
        bundle=bundle,
        header={"direction_root": block_root(near.to_bytes()), "next_model": model_hash(bundle.next)},
    )


@pytest.mark.parametrize("field", ["score", "total", "cumulative", "weight"])
def test_a_leaf_that_was_raised_is_refused(world, judge, bundles, field):
    leaves = list(bundles[1].leaves)
    leaves[0] = replace(leaves[0], **{field: getattr(leaves[0], field) + 1})
    tree = RoundTree(leaves)
    lie = {"tree_root": tree.root, "cumulative": tree.cumulative}
    refused(judge, f"the leaf of {leaves[0].account}", bundle=replace(bundles[1], leaves=tuple(leaves)), header=lie)


def test_a_client_without_its_leaf_is_refused(judge, bundles):
    tree = RoundTree(bundles[1].leaves[1:])
    lie = {"tree_root": tree.root, "leaf_count": 2, "cumulative": tree.cumulative}
    gone = bundles[1].leaves[0].account
    refused(judge, f"the leaf of {gone}", bundle=replace(bundles[1], leaves=tree.leaves), header=lie)


def test_a_leaf_too_many_is_refused(judge, bundles, account):
    ghost = replace(bundles[1].leaves[0], account=account(19).address)
    leaves = (*bundles[1].leaves, ghost)
    refused(judge, "the accounts of the leaves", bundle=replace(bundles[1], leaves=leaves))


def test_other_leaves_of_the_round_before_are_refused(judge, bundles):
    before = list(bundles[1].previous)
    before[0] = replace(before[0], cumulative=before[0].cumulative + 1)
    refused(judge, "the previous leaves' root", bundle=replace(bundles[1], previous=tuple(before)))


def test_leaves_before_round_one_are_refused(judge, bundles):
    refused(
        judge, "the number of leaves before round 1", number=1, bundle=replace(bundles[0], previous=bundles[0].leaves)
    )


def test_another_next_model_is_refused(judge, bundles):
    other = bundles[1].next.copy()
    other[3] += 1e-3
    error = refused(
        judge, "the next model", bundle=replace(bundles[1], next=other), header={"next_model": model_hash(other)}
    )
    assert (error.seen, error.expected) == ("another one", "what its public step makes of the aggregated model")


def test_another_aggregate_is_refused(judge, bundles):
    other = bundles[1].aggregate.copy()
    other[3] += 1e-3
    error = refused(judge, "the aggregated model", bundle=replace(bundles[1], aggregate=other))
    assert error.seen == "off by 1.00e-03"


def test_one_large_value_of_a_model_hides_no_change_of_another(lasting_world, spec):
    world = lasting_world(rounds=1, spec=spec())
    world.run(world.app(lambda number, turn, base: np.eye(8)[3] * 30_000 / (number + 1)))
    told, _ = Bundle.read(world.reports[0].bundle)
    large = told.base.copy()
    large[3] = 1000  # a client may have brought it there
    changed = replace(told, base=large, next=(large + told.next - told.base + np.eye(8)[0] * 1e-3).astype(np.float32))
    step = (told.next - told.base).astype(np.float64)
    with pytest.raises(RoundDiffers) as caught:
        check_aggregate(changed, step, participants_of(told, spec=world.spec), world.spec, strategy=None, picked=None)
    assert (caught.value.what, caught.value.seen) == ("the next model", "off by 1.00e-03")


def test_one_bit_of_the_next_model_is_refused(judge, bundles):
    other = bundles[1].next.copy()
    other[0] = np.nextafter(other[0], np.float32(np.inf))
    lie = {"next_model": model_hash(other)}
    assert refused(judge, "the next model", bundle=replace(bundles[1], next=other), header=lie).seen == "another one"


@pytest.mark.parametrize("rate", [0.3, -1.0, 2.0])
def test_a_rate_that_nobody_may_choose_is_refused(judge, bundles, rate):
    bundle = replace(bundles[1], public=replace(bundles[1].public, rate=rate))
    assert refused(judge, "the rate of the public step", bundle=bundle).seen == str(rate)


def test_a_public_step_that_raises_the_held_out_loss_is_refused(world, judge, bundles):
    """Away from where the search went, with a next model that follows to the bit."""
    scoring = PaidScoring(world.spec, game=world.game())
    told = bundles[1]
    basis = scoring.public_basis(base=told.base, aggregate=told.aggregate, layout=told.layout, past=past_of(bundles, 2))
    downhill = told.direction.decode().astype(np.float64)
    places = products(-50 * downhill / np.linalg.norm(downhill), basis)
    worse = PublicStep(coefficients=tuple(places), rate=1.0)
    other = worse.applied(told.aggregate, basis)
    lie = {"next_model": model_hash(other)}
    error = refused(judge, "the loss after the public step", bundle=replace(told, public=worse, next=other), header=lie)
    assert float(error.seen) > float(error.expected.removeprefix("at most ").partition(",")[0])


def test_a_public_vector_that_was_dropped_is_refused(world, judge, bundles):
    """A direction that still pays for the last step, and one coefficient too few."""
    scoring = PaidScoring(world.spec, game=world.game())
    told, past = bundles[1], past_of(bundles, 2)
    greedy = Blocks.encode(scoring.direction(base=told.base, step=told.aggregate - told.base, past=()))
    bundle = replace(told, direction=greedy, next=told.aggregate, public=nowhere(told))
    lie = {"direction_root": block_root(greedy.to_bytes()), "next_model": model_hash(told.aggregate)}
    refused(judge, "the direction", bundle=bundle, header=lie)
    fewer = replace(told, public=replace(told.public, coefficients=told.public.coefficients[1:]))
    error = refused(judge, "the number of public vectors", bundle=fewer)
    assert error.expected == str(
        len(scoring.public_basis(base=told.base, aggregate=told.aggregate, layout=told.layout, past=past))
    )


@pytest.mark.parametrize("half", ["steering", "held_out"])
def test_a_direction_of_half_of_the_rows_is_refused(world, judge, bundles, half):
    rows = getattr(split_rows(world.game()), half)
    told, past = bundles[1], past_of(bundles, 2)
    swapped = without_public(
        direction(rows, base=told.base, step=told.aggregate - told.base),
        public_vectors(past, parts=told.layout.sizes, model=told.base),
    )
    bundle = replace(told, direction=Blocks.encode(swapped), next=told.aggregate, public=nowhere(told))
    lie = {"direction_root": block_root(bundle.direction.to_bytes()), "next_model": model_hash(told.aggregate)}
    refused(judge, "the direction", bundle=bundle, header=lie)


def test_another_length_is_refused(judge, bundles):
    refused(judge, "the round's length", bundle=replace(bundles[1], length=bundles[1].length + 1))


@pytest.mark.parametrize("length", [0, 1])
def test_a_length_that_counts_who_sent_nothing_is_refused(judge, bundles, length):
    norms = {update.account: norm_q64(Blocks.from_bytes(update.wire, size=8)) for update in bundles[0].updates}
    assert list(norms.values()).count(0) == 1  # client 0, in round 1
    told = replace(bundles[0], length=sorted(norms.values())[length])
    error = refused(judge, "the round's length", number=1, bundle=told)
    assert int(error.expected) == sorted(norms.values())[2]


def test_a_bundle_without_its_public_step_is_refused(judge, bundles):
    plain = replace(bundles[1], public=None, aggregate=None)
    refused(judge, "whether a public step follows", bundle=plain)


def test_a_base_that_is_not_the_last_next_model_is_refused(judge, bundles):
    other = bundles[1].base + 1
    refused(
        judge,
        "the base model, against the round before,",
        bundle=replace(bundles[1], base=other),
        header={"base_model": model_hash(other)},
    )


def test_an_evaluator_with_another_spec_refuses(world, judge, spec):
    view = view_of(world, 2)
    other = replace(view, terms=replace(view.terms, spec_hash=spec(steps=99).hash()))
    refused(judge, "the spec's hash", view=other)


def test_an_evaluator_with_another_validation_set_refuses(world, judge):
    view = view_of(world, 2)
    header = {"validation": b"v" * 32}
    refused(
        judge,
        "the validation set at hand",
        header=header,
        view=replace(view, terms=replace(view.terms, validation_hash=b"v" * 32)),
    )
