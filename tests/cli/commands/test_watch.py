"""`fl watch` leaves honest rounds alone, says what it could not check, runs as long as its task, and refuses what makes no sense."""

import os
import signal
import subprocess
from dataclasses import replace

import pytest
from audit.liar import outscored, robbed
from cli.commands.watching import WATCHER, unchecked
from waiting import DEADLINE_S

from fl.bundle.format import read_header, write_header
from fl.chain.task_state import Status
from fl.codec import Blocks, block_root

# ---- nothing wrong ------------------------------------------------------------------------------------------------------


def test_honest_rounds_are_fine_and_nothing_is_sent(liar, watch, account):
    liar.post_honest(2)
    gas = liar.world.w3.eth.get_balance(account(WATCHER).address)
    done = watch(liar)
    assert done.code == 0
    assert done.out.splitlines()[1:] == ["round 1 is fine", "round 2 is fine"]
    assert liar.world.w3.eth.get_balance(account(WATCHER).address) == gas


def test_a_bundle_that_is_not_there_yet_is_looked_at_again(liar, watch):
    (liar.bundles / "round-0001" / "round.json").rename(liar.bundles / "aside")
    assert "not read: round 1: round.json cannot be read (FileNotFoundError)" in watch(liar).out
    (liar.bundles / "aside").rename(liar.bundles / "round-0001" / "round.json")
    assert "round 1 is fine" in watch(liar).out


def test_without_the_round_before_payouts_are_not_called_fine(liar, watch):
    liar.post_honest(2)
    (liar.bundles / "round-0001" / "round.json").unlink()
    assert unchecked(watch(liar), 2) == "totals and payouts (the leaves of round 1 are not here)"


def test_without_the_updates_scores_are_not_called_fine(liar, watch):
    (liar.bundles / "round-0001" / "updates" / f"{liar.world.addresses[1]}.blocks").unlink()
    told = unchecked(watch(liar), 1)
    assert told == f"1 of 3 scores (updates/{liar.world.addresses[1]}.blocks cannot be read (FileNotFoundError))"
    (liar.bundles / "round-0001" / "direction.blocks").unlink()
    assert unchecked(watch(liar), 1) == "the scores (direction.blocks cannot be read (FileNotFoundError))"


def test_without_a_manifest_a_round_is_not_called_fine(liar, watch):
    (liar.bundles / "round-0001" / "manifest.json").unlink()
    assert unchecked(watch(liar), 1) == "manifest.json cannot be read (FileNotFoundError)"


def test_an_update_that_is_no_longer_than_the_direction_is_said_not_to_be_checked(liar, watch):
    made = liar.honest(2)
    short = made.participants[0]
    made.participants[0] = replace(short, blocks=(fewer := Blocks.encode(short.blocks.decode()[:256])),
                                   root=(root := block_root(fewer.to_bytes())))  # fmt: skip
    leaves = [replace(leaf, update_root=root) if leaf.account == short.account else leaf
              for leaf in made.settlement.tree.leaves]  # fmt: skip
    liar.post_leaves(made, leaves)
    told = unchecked(watch(liar), 2)
    assert told == f"1 of 3 scores (updates/{short.account}.blocks has 1 blocks and direction.blocks 3)"


def test_one_look_says_that_it_is_one_and_what_it_came_to(liar, watch, devnet):
    lines = watch(liar).out.splitlines()
    assert lines[0].endswith("; looking once")
    assert lines[1:] == ["round 1 is fine"]
    devnet(liar.world.w3, "evm_increaseTime", 10**6)
    devnet(liar.world.w3, "evm_mine")
    assert watch(liar).out.splitlines()[1:] == [
        "no round is posted whose challenge window is open, so there was nothing to look at"
    ]


# ---- how it runs --------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_it_would_file(liar, fl, tmp_path):
    liar.post_leaves(made := liar.honest(2), outscored(made))
    done = fl("watch", liar.world.folder, "dry=true", "once=true", f"folder={tmp_path / 'watch'}")
    assert done.code == 1
    assert "without filing anything" in done.out.splitlines()[0]
    assert "round 2 FRAUD: the score of 0x" in done.out
    assert "  would file challengeScore with a bond of 62.50 tokens" in done.out
    assert liar.task.state().status == Status.STARTED
    assert liar.escrow.challenges(liar.task.task_id) == []


@pytest.fixture
def process(forked, environment, tmp_path):
    """`fl watch` as a process of its own, stopped at the end."""
    started = []

    def start(liar, *arguments):
        started.append(
            subprocess.Popen(
                [
                    *forked, "watch", str(liar.world.folder), f"anvil={WATCHER}",
                    f"folder={tmp_path / 'watch'}", "every=0.1", *arguments,
                ],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                process_group=0,
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_as_a_process_it_waits_for_a_fraud_and_ends_with_the_task(liar, process):
    running = process(liar)
    assert running.stdout.readline().startswith("watching task 0x")
    assert running.stdout.readline() == "round 1 is fine\n"
    liar.post_leaves(made := liar.honest(2), robbed(made))
    out, err = running.communicate(timeout=DEADLINE_S)
    assert (running.returncode, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "round 2 FRAUD: a total or payout does not follow from the round before"
    assert lines[1].startswith("  filed proveTransition in 0x")
    assert lines[2] == "the task is halted at round 1; nothing is left to watch"
    assert liar.task.state().status == Status.HALTED


def test_ctrl_c_ends_it_cleanly(liar, process):
    running = process(liar)
    assert running.stdout.readline().startswith("watching task 0x")
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 130
    assert "Traceback" not in err


# ---- refusals -----------------------------------------------------------------------------------------------------------


def test_without_a_key_it_is_refused(refuses, liar):
    refuses("watch", liar.world.folder, saying="key is not set; add key=KEYSTORE (`fl key` makes one), or dry=true")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[5]",
        '[{"round": 1}]',
        '[{"round":1,"client":"me","base_model":"","update_root":"","signature":""}]',
        f'[{{"round":1,"client":"0x{"0" * 40}","base_model":"","update_root":"","signature":""}}]',
        f'[{{"round":-1,"client":"0x{"0" * 40}","base_model":"{"00" * 32}","update_root":"{"00" * 32}","signature":""}}]',
        "[" * 100_000,
    ],
    ids=["empty", "number", "fields", "name", "roots", "round", "deep"],
)
def test_a_file_without_signed_updates_is_refused(refuses, liar, tmp_path, content):
    (tmp_path / "seen.json").write_text(content)
    told = refuses(
        "watch", liar.world.folder, "dry=true", f"updates={tmp_path / 'seen.json'}", saying=str(tmp_path / "seen.json")
    )
    assert "name a file that a node or a coordinator of this task wrote" in told


def test_a_file_of_updates_that_is_not_there_is_refused(refuses, liar):
    refuses("watch", liar.world.folder, "dry=true", "updates=/nowhere", saying="/nowhere is not there")


def test_a_header_that_is_not_the_posted_one_is_not_believed(liar, watch):
    # The header comes from the chain: what header.json says convicts nobody.
    header, signatures = read_header(liar.bundles / "round-0001")
    write_header(liar.bundles / "round-0001", replace(header, base_model=b"\x01" * 32), signatures=signatures)
    assert watch(liar).code == 0
