import pytest

from fl.coordinator.config import (
    AttackConfig,
    ChainConfig,
    CoordinatorConfig,
    EngineConfig,
    RunConfig,
    ScorerConfig,
    TaskConfig,
    wei,
)
from fl.errors import ConfigError


@pytest.mark.parametrize(
    ("tokens", "amount"),
    [
        ("1000", 10**21),
        ("0.5", 5 * 10**17),
        (2, 2 * 10**18),
        ("0", 0),
        ("0.000000000000000001", 1),
        ("12345678901.123456789012345678", 12345678901123456789012345678),  # 29 digits: a Decimal would round
    ],
)
def test_tokens_are_wei_to_the_last_digit(tokens, amount):
    assert wei(tokens, setting="task.budget") == amount


def test_steps_are_as_long_as_the_loss_bears():
    assert (TaskConfig().rate, TaskConfig(loss="mse").rate, TaskConfig(loss="huber").rate) == (0.2, 0.05, 0.2)
    assert TaskConfig(loss="mse", learning_rate=0.5).rate == 0.5


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ("many", "task.budget is 'many'; write a number of tokens such as 1000 or 0.5"),
        (
            "1,000",
            "task.budget is '1,000'; write a number of tokens such as 1000 or 0.5, without thousands' marks, exponents and leading zeros (1000?)",
        ),
        (
            "010",
            "task.budget is '010'; write a number of tokens such as 1000 or 0.5, without thousands' marks, exponents and leading zeros (10?)",
        ),
        (
            "1e3",
            "task.budget is '1e3'; write a number of tokens such as 1000 or 0.5, without thousands' marks, exponents and leading zeros (1000?)",
        ),
        (
            "1_000",
            "task.budget is '1_000'; write a number of tokens such as 1000 or 0.5, without thousands' marks, exponents and leading zeros (1000?)",
        ),
        (
            "1 000",
            "task.budget is '1 000'; write a number of tokens such as 1000 or 0.5, without thousands' marks, exponents and leading zeros (1000?)",
        ),
        ("1,5", "task.budget is '1,5'; write a number of tokens such as 1000 or 0.5"),
        (
            "+5",
            "task.budget is '+5'; write a number of tokens such as 1000 or 0.5, without thousands' marks, exponents and leading zeros (5?)",
        ),
        ("nan", "task.budget is 'nan'; write a number of tokens such as 1000 or 0.5"),
        ("inf", "task.budget is 'inf'; write a number of tokens such as 1000 or 0.5"),
        ("", "task.budget is ''; write a number of tokens such as 1000 or 0.5"),
        ("-1", "task.budget is -1; set 0 or more tokens, with at most 18 decimals"),
        (
            "0.0000000000000000001",
            "task.budget is 0.0000000000000000001; set 0 or more tokens, with at most 18 decimals",
        ),
        (
            "1" + 30 * "0",
            "task.budget is 1000000000000000000000000000000; set at most 39614081257 tokens, the contract holds no more",
        ),
    ],
)
def test_what_is_no_amount_is_refused(tokens, message):
    with pytest.raises(ConfigError) as caught:
        TaskConfig(budget=tokens)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "name",
    ["rounds", "steps", "batch_size", "evaluators", "quorum", "challenge_window", "response_window", "round_timeout",
     "claim_period"],
)  # fmt: skip
def test_a_count_or_a_time_below_one_is_refused(name):
    with pytest.raises(ConfigError) as caught:
        TaskConfig(**{name: 0})
    assert str(caught.value) == f"task.{name} is 0; set 1 or more"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rounds": 2**24}, "task.rounds is 16777216; set 16777213 or less, the contract counts no further"),
        (
            {"claim_period": 2**32},
            "task.claim_period is 4294967296; set 4294967295 or less, the contract counts no further",
        ),
        ({"quorum": 300, "evaluators": 300}, "task.quorum is 300; set 255 or less, the contract counts no further"),
        (
            {"quorum": 2},
            "task.quorum is 2 of task.evaluators 1; a header needs no more signatures than there are evaluators",
        ),
        ({"reveal": "never"}, "task.reveal is 'never'; set round or end"),
        ({"budget": "0"}, "task.budget is 0; set it above 0"),
        ({"stake_per_sample": "0"}, "task.stake_per_sample is 0; set it above 0"),
        ({"max_stake": "0"}, "task.max_stake is 0; set it above 0"),
        ({"bond": "-1"}, "task.bond is -1; set 0 or more tokens, with at most 18 decimals"),
        ({"momentum": 1.0}, "task.momentum is 1.0; set 0 or more and below 1"),
        ({"momentum": -0.1}, "task.momentum is -0.1; set 0 or more and below 1"),
        (
            {"stake_per_sample": "3", "max_stake": "2"},
            "task.stake_per_sample is 3 and task.max_stake 2; nobody could stake for one sample, so raise max_stake",
        ),
    ],
    ids=str,
)
def test_a_task_at_odds_with_itself_or_the_contract_is_refused(settings, message):
    with pytest.raises(ConfigError) as caught:
        TaskConfig(**settings)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (ScorerConfig, {"nodes": 0}, "scorer.nodes is 0; set 1 to 64"),
        (ScorerConfig, {"nodes": 65}, "scorer.nodes is 65; set 1 to 64"),
        (ScorerConfig, {"tolerance": -1.0}, "scorer.tolerance is -1.0; set it above 0 and below 1"),
        (ScorerConfig, {"tolerance": float("nan")}, "scorer.tolerance is nan; set it above 0 and below 1"),
        (EngineConfig, {"name": "rey"}, "engine.name is 'rey'; choose local, ray, superlink"),
        (
            EngineConfig,
            {"name": "ray", "cpus": 0.0},
            "engine.cpus is 0.0; set it above 0, a worker computes on something",
        ),
        (EngineConfig, {"name": "ray", "gpus": -1.0}, "engine.gpus is -1.0; set 0 or more"),
        (
            EngineConfig,
            {"address": "auto"},
            "engine.address, engine.cpus and engine.gpus are of engine=ray, this is local",
        ),
        (EngineConfig, {"threads": -1}, "engine.threads is -1; set 1 or more, or 0 for torch's own choice"),
        (ChainConfig, {"name": "ganache"}, "chain.name is 'ganache'; choose anvil or rpc"),
        (
            ChainConfig,
            {"name": "rpc"},
            "chain.url is not set; name the node, as in chain=rpc chain.url=http://127.0.0.1:8545",
        ),
        (
            ChainConfig,
            {"name": "rpc", "url": "http://127.0.0.1:8545"},
            "chain.key is not set; make a keystore with `fl key path=sponsor.json` and set chain.key to it",
        ),
        (
            AttackConfig,
            {"behaviours": ["free_ride"]},
            "attack.behaviours has 'free_ride'; write CLIENT:BEHAVIOUR, such as 3:label_flip:0.5 or 5:replay_step, or ring:2,5",
        ),
        (
            AttackConfig,
            {"behaviours": ["3:sleep"]},
            "behaviour 'sleep' is unknown; write one of honest, zero, free_ride, noise, replay_step, replay_direction, "
            "replay_average:DECAY, adam, sign, replay_model, stale, synthetic, harm, ring:A,B,…, opposite:A,B, label_flip:SHARE, "
            "backdoor:CLASS, copy:CLIENT, lazy:STEPS, scale:FACTOR, split:WALLETS, or several joined by +, with 0 < DECAY ≤ 1, "
            "0 < SHARE ≤ 1, 0 < FACTOR ≤ 10^6, STEPS ≥ 1, 2 ≤ WALLETS ≤ 64, and clients by number",
        ),
        (CoordinatorConfig, {"rejoin": 0.0}, "coordinator.rejoin is 0.0; set it above 0"),
        (RunConfig, {"seed": -1}, "seed is -1; set 0 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused(cls, settings, message):
    with pytest.raises(ConfigError) as caught:
        cls(**settings)
    assert str(caught.value) == message


def test_behaviours_are_by_number_and_honest_otherwise():
    attack = AttackConfig(behaviours=["4:label_flip:0.5", "5:free_ride"])
    assert [attack.of(number) for number in (3, 4, 5)] == ["honest", "label_flip:0.5", "free_ride"]


def test_a_ring_is_a_behaviour_of_all_its_clients():
    attack = AttackConfig(behaviours=["ring:1,4", "3:lazy:5+scale:2"])
    assert [attack.of(number) for number in range(5)] == ["honest", "ring:1,4", "honest", "lazy:5+scale:2", "ring:1,4"]


@pytest.mark.parametrize(
    ("behaviours", "message"),
    [
        (
            ["3:zero", "ring:1,3"],
            "attack.behaviours has client 3 twice; join what one client does with +, as in 3:lazy:5+scale:2",
        ),
        (["3:ring:1,3"], "attack.behaviours has '3:ring:1,3'; write ring:1,3 alone, its clients stand in it"),
        (["3:copy:3"], "attack.behaviours has '3:copy:3', which copies itself; name another client"),
    ],
)
def test_behaviours_that_cannot_be_dealt_are_refused(behaviours, message):
    with pytest.raises(ConfigError) as caught:
        AttackConfig(behaviours=behaviours)
    assert str(caught.value) == message


@pytest.mark.parametrize("behaviour", ["5:zero", "ring:2,5", "1:copy:5"])
def test_clients_that_there_are_not_are_refused(behaviour):
    with pytest.raises(ConfigError) as caught:
        AttackConfig(behaviours=[behaviour]).check_clients(5)
    assert str(caught.value) == f"attack.behaviours has {behaviour!r}, the data makes clients 0 to 4"
