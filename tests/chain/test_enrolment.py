"""The rolling hash of joins and leaves, and who has a place in which round."""

from vector_files import cases, unhex

from fl.chain.enrolment import Enrolment, Enrolments, Joined, Left, Slashed

ALICE, BOB = "0x" + "0a" * 20, "0x" + "0b" * 20


def joined(account, *, first_round=1, stake=5):
    return Joined(
        enrolment=Enrolment(
            account=account, first_round=first_round, left_round=0, stake=stake, node_key=b"", dataset=bytes(32)
        )
    )


def test_the_hash_is_the_vectors():
    (case,) = cases("enrolment")
    steps = []
    for told in case["steps"]:
        if told["kind"] == 1:
            steps.append(joined(told["account"], first_round=told["round"], stake=int(told["stake"])))
        else:
            steps.append(Left(account=told["account"], round=told["round"]))
        assert Enrolments(steps).hash(told["round"]) == unhex(told["hash"])
    whole = Enrolments(steps)
    by_round = {told["round"]: unhex(told["hash"]) for told in case["steps"]}
    assert [whole.hash(number) for number in (1, 2, 3, 4, 9)] == [
        by_round[1], by_round[1], by_round[3], by_round[4], by_round[4],
    ]  # fmt: skip


def test_who_left_before_the_start_never_was_there_and_may_come_back():
    gone = Enrolments([joined(ALICE), joined(BOB), Left(account=ALICE, round=1)])
    assert list(gone) == [BOB]
    back = Enrolments([joined(ALICE), Left(account=ALICE, round=1), joined(ALICE, stake=7)])
    assert back[ALICE].stake == 7
    assert back.hash(1) != Enrolments([joined(ALICE, stake=7)]).hash(1)


def test_who_leaves_later_keeps_its_leaf_and_has_no_weight():
    enrolment = Enrolments([joined(ALICE), Left(account=ALICE, round=3)])[ALICE]
    assert [enrolment.weighs_in(number) for number in (1, 2, 3)] == [True, True, False]
    assert enrolment.counts_in(9)


def test_a_stake_that_was_slashed_is_no_part_of_the_leave():
    kept, lost = [joined(ALICE), Left(account=ALICE, round=3)], [joined(ALICE, stake=5)]
    lost += [Slashed(account=ALICE), Left(account=ALICE, round=3)]
    assert Enrolments(kept).hash(2) == Enrolments(lost).hash(2)
    assert Enrolments(kept).hash(3) != Enrolments(lost).hash(3)
