"""`fl leave`, where there is nothing left to leave: no transaction, and when the stake comes back."""


def test_after_the_last_round_nothing_is_sent_and_no_round_is_named_that_there_is_not(liar, fl):
    liar.post_honest(2)
    liar.post_honest(3)
    client = liar.world.clients[0]
    sent = liar.world.w3.eth.get_transaction_count(client.address)
    done = fl("leave", str(liar.world.folder), "anvil=5", "accept=true")
    assert done.out == (
        "all rounds are posted, so there is nothing left to leave; what was earned stays claimable\n"
        "the stake comes back when the task is closed, which anybody may do once it is complete and its last round final; run `fl "
        "leave` again then\n"
    )
    assert liar.world.escrow.client(liar.task.task_id, client.address).left_round == 0
    assert liar.world.w3.eth.get_transaction_count(client.address) == sent


def test_whoever_left_before_a_round_that_never_comes_waits_for_the_close(liar, fl):
    liar.post_honest(2)
    fl("leave", str(liar.world.folder), "anvil=5", "accept=true")  # in round 3: it has no part in a fourth
    assert liar.world.escrow.client(liar.task.task_id, liar.world.clients[0].address).left_round == 4
    status = fl("status", f"folder={liar.world.folder}", f"account={liar.world.clients[0].address}").out
    assert "staked now: 1 token, back when the task is closed" in status
