"""What the report says of a run's privacy."""

import pytest

from fl.report.setup import privacy_told


@pytest.mark.parametrize(
    ("asked", "spent", "told"),
    [
        ({}, None, "coordinator and evaluators saw every update"),
        ({"masked": True}, None, "masked: coordinator and evaluators saw the sum of each round and one score a client"),
        (
            {"noise": "client", "delta": "1e-5"},
            2.5,
            "coordinator and evaluators saw every update; noise on every update, of which all rounds together spent ε 2.50 at δ 1e-5",
        ),
        (
            {"noise": "rows", "delta": "1e-5", "masked": True},
            2.5,
            "masked: coordinator and evaluators saw the sum of each round and one score a client; noise on the gradients of rows in every "
            "step, with which all rounds together spent ε 2.50 at δ 1e-5 of each row of whoever has fewest, if its node did add it",
        ),
    ],
)
def test_the_report_says_who_saw_what_and_whose_budget_was_spent(asked, spent, told):
    rounds = [{"epsilon": None if spent is None else spent / 2}, {"epsilon": spent}]
    assert privacy_told({"config": {"privacy": asked}, "rounds": rounds}) == told
