"""A whole task with real nodes: join, train, learn the pay, claim; and the same node again, idle, restarted, ended."""

from clients.keys.ledger import FolderLedger
from fl.chain.clock import pass_time
from fl.chain.tokens import tokens
from fl.cli.commands.finish import main as finish
from fl.cli.commands.status import main as status


def test_two_nodes_take_part_are_told_their_pay_and_claim_it(new_coordination, capsys):
    coordination = new_coordination(rounds=2, clients=2, challenge_window=100)
    for number in range(2):
        coordination.fund(number)
    with coordination.registering():
        nodes = [coordination.start(number) for number in range(2)]
        for node in nodes:
            node.says("connected to 127.0.0.1:")
            assert node.memory_mb() < 400  # torch comes with the first round
        with coordination.grid(nodes=2) as grid:
            coordination.world.run(None, grid=grid)
    reports = coordination.world.reports
    assert [len(report.scores) for report in reports] == [2, 2], reports
    task = coordination.world.task
    earned = {leaf.account: leaf.cumulative for leaf in reports[-1].leaves}
    for node, account in zip(nodes, coordination.world.addresses, strict=True):
        line = node.says("round 2: score ")
        assert f"earned {reports[-1].pays.get(account, 0) / 1e18:,.2f} tokens" in line
        assert f"{earned[account] / 1e18:,.2f} in all" in line
        node.says("it is final after")
    first = coordination.world.addresses[0]
    root = next(leaf.update_root for leaf in reports[0].leaves if leaf.account == first)
    # The receipt of round 1 came with round 2, and is what a proof of omission takes.
    (receipt,) = FolderLedger(coordination.folder / "node-0", task_id=task.task_id).receipts().items()
    assert receipt == (1, (root, reports[0].receipts[first]))

    status([f"folder={coordination.folder / 'node-0'}"])
    printed = capsys.readouterr().out
    assert "2 of 2 rounds posted" in printed
    assert "node: runs" in printed
    assert f"to be claimed: {tokens(earned[first])} tokens" in printed

    pass_time(coordination.world.w3, until=task.escrow.posted_at(task.task_id, 2) + 101)
    for node, account in zip(nodes, coordination.world.addresses, strict=True):
        node.says("claimed: ")
        assert coordination.world.escrow.claimed(task.task_id, account) == earned[account]
    task.escrow.close(task.task_id, account=coordination.world.sponsor)
    for node, account in zip(nodes, coordination.world.addresses, strict=True):
        node.says("the stake is back: 3 tokens")
        assert node.ends() == 0
        assert coordination.world.escrow.client(task.task_id, account).stake == 0
        assert coordination.world.token.balance(account) == 5 * 10**18 + earned[account]
    # Nothing is left for `fl finish`, which says the same once more.
    finish([str(coordination.folder / "node-0"), "anvil=5"])
    assert f"earned: {tokens(earned[first])} tokens, paid out" in capsys.readouterr().out
