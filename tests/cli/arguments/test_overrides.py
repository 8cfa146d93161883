import pytest

from fl.cli.arguments.overrides import CONFIGS, check, check_sweeps, defaults, groups, spell_out
from fl.errors import ConfigError


def refusal(*overrides):
    """What is said to these overrides."""
    with pytest.raises(ConfigError) as caught:
        check(overrides)
    return str(caught.value)


def test_the_defaults_are_a_run():
    config = check([])
    assert (config.data.name, config.strategy.name, config.chain.name) == ("digits", "fedavg", "anvil")
    assert config.partition.alpha == 0.5


def test_every_choice_of_every_group_composes():
    needs = {
        "csv": ["data.path=x.csv", "data.target=y"],
        "parquet": ["data.path=x.parquet", "data.target=y"],
        "folder": ["data.path=x", "data.target=y"],
        "idx": ["data.path=x"],
        "text": ["data.path=x"],
        "images": ["data.path=x"],
        "holdout": ["data.path=x"],
        "rpc": ["chain.url=http://127.0.0.1:1", "chain.key=x.json"],
        "custom": ["model.path=torch.nn:Linear"],
        "dp": ["privacy.epsilon=8"],
        "dpsgd": ["privacy.epsilon=8"],
    }
    # Each time the next choice of every group: eight times, where one by one takes thirty.
    every = groups()
    for turn in range(max(map(len, every.values()))):
        chosen = {group: list(choices)[turn % len(choices)] for group, choices in every.items()}
        config = check([
            *(f"{group}={choice}" for group, choice in chosen.items()),
            *(setting for choice in chosen.values() for setting in needs.get(choice, [])),
        ])  # fmt: skip
        for group, choice in chosen.items():
            named = "csv" if choice == "parquet" else choice  # the same by another name
            assert getattr(getattr(config, group), "name", named) == named


def test_every_choice_has_a_line_that_explains_it():
    for path in CONFIGS.glob("*/*.yaml"):
        first = path.read_text().splitlines()[0]
        assert first.startswith("# "), path
        assert len(first) > 10, path


def test_a_folder_of_files_is_split_naturally_unless_said_otherwise():
    folder = ["data=folder", "data.path=x", "data.target=y"]
    assert check(folder).partition.name == "natural"
    assert check([*folder, "partition=iid"]).partition.name == "iid"


def test_values_reach_the_configuration():
    config = check(["task.rounds=3", "seed=7", "model.arguments.hidden=[5,6]", "task=short", "chain.id=null"])
    assert (config.task.rounds, config.seed, config.chain.id) == (3, 7, None)
    assert list(config.model.arguments["hidden"]) == [5, 6]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.round=3", "task.round is not a setting, the nearest is task.rounds; `fl run --help` lists them all"),
        ("steps=3", "steps is not a setting, the nearest is task.steps; `fl run --help` lists them all"),
        ("rouns=3", "rouns is not a setting, the nearest is task.rounds; `fl run --help` lists them all"),
        ("sede=3", "sede is not a setting, the nearest is seed; `fl run --help` lists them all"),
        ("xyzzy=3", "xyzzy is not a setting; `fl run --help` lists them all"),
        ("stratgy=krum", "stratgy is not a setting, the nearest is strategy; `fl run --help` lists them all"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(override, message):
    assert refusal(override) == message


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("task.rounds=1e2", "a whole number"),
        ("task.rounds=", "a whole number"),
        ("seed=abc", "a whole number"),
        ("task.learning_rate=fast", "a number, with a point before decimals"),
        ("partition.sizes=[1,x]", "a number, with a point before decimals"),
        ("data.regression=maybe", "true or false"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_key(override, wanted):
    assert refusal(override) == f"{override} is not what {override.partition('=')[0]} takes; write {wanted}"


def test_several_values_are_for_sweeps():
    check_sweeps(["task.rounds=3", "partition.sizes=[1,2]", "data.drop=[a,b]"])
    with pytest.raises(
        ConfigError, match="task.learning_rate=0,1 names several values; write one, with a point before decimals"
    ):
        check_sweeps(["task.rounds=3", "task.learning_rate=0,1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("strategy=krumm", "strategy=krumm is unknown, the nearest is strategy=krum; there are strategy=bulyan, "),
        ("data=digit", "data=digit is unknown, the nearest is data=digits; there are data=breast_cancer, data=csv, "),
        ("chain=mainnet", "chain=mainnet is unknown"),
        ("strategy=fedavg,krumm", "strategy=krumm is unknown, the nearest is strategy=krum; "),
    ],
)
def test_an_unknown_choice_is_refused_with_all_there_are(override, message):
    assert refusal(override).startswith(message)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task.rounds=many"], "many"),
        (["task.rounds=0"], "task.rounds is 0; set 1 or more"),
        (["task.rounds=0,1"], "task.rounds is 0; set 1 or more"),
        (["task.budget=nan"], "task.budget is 'nan'; write a number of tokens"),
        (["seed=-1"], "seed is -1; set 0 or more"),
        (["data=csv"], "data.path is not set; data=csv reads it, add data.path=FILE"),
        (["chain=rpc"], "chain.url is not set"),
        (["scorer.nodes=99"], "scorer.nodes is 99; set 1 to 64"),
        (
            ["scorer=loo", "+scorer.arguments.speed=3"],
            "scorer=loo has no setting speed; its settings: game, utility, workers",
        ),
        (
            ["scorer=loo", "scorer.arguments.workers=2"],
            "scorer.arguments.workers is none of the settings in this scorer's file; put a + before one that it does take: "
            "+scorer.arguments.workers=2",
        ),
        (
            ["scorer=leverage", "scorer.arguments.evaluations=2"],
            "evaluations is 2; set 4 or more: U(∅), U(N) and one pair",
        ),
        (["attack.behaviours=[lazy]"], "attack.behaviours has 'lazy'"),
        (["partition=sizes", "partition.sizes=[]"], "partition.sizes is empty"),
        (["+task.wings=2"], "task.wings is not a setting"),
        (["++wings=2"], "wings is not a setting"),
        (
            ["+model.arguments." + "wings." * 60 + "x=2"],
            "model.arguments.wings.wings.wings.wings.… is not a setting; `fl run --help`",
        ),
        (["task"], "cannot read the arguments: "),
        (["task.rounds=[1"], "cannot read the arguments: "),
        (["task.rounds=" + "1" * 5000], "cannot read the arguments: Exceeds the limit"),
        (["task.budget=" + "[" * 5000], "cannot read the arguments: "),
        (["~task.rounds"], "does not support deletion"),
    ],
    ids=str,
)
def test_a_bad_value_is_refused_in_one_line(overrides, said):
    message = refusal(*overrides)
    assert said in message
    assert "\n" not in message


def test_the_points_of_a_sweep_are_known():
    assert check(["seed=3,4,5"]).seed == 3
    assert check(["strategy=krum,fedavg"]).strategy.name == "krum"


def test_an_argument_of_a_model_or_strategy_may_be_added():
    config = check(["model=custom", "model.path=torch.nn:Linear", "+model.arguments.in_features=64"])
    assert config.model.arguments == {"in_features": 64}
    assert check(["scorer=leverage", "+scorer.arguments.control=false"]).scorer.arguments["control"] is False
    assert check(["+strategy.arguments.fraction_train=0.5"]).strategy.arguments == {"fraction_train": 0.5}


def test_a_url_is_a_choice_spelled_out():
    assert spell_out(["chain=http://127.0.0.1:8545", "seed=1", "chain=anvil"]) == [
        "chain=rpc", "chain.url=http://127.0.0.1:8545", "seed=1", "chain=anvil",
    ]  # fmt: skip


def test_every_setting_has_its_default():
    flat = defaults()
    assert flat["task.rounds"] == 10
    assert flat["model.arguments.hidden"] == [64]
    assert {key.split(".")[0] for key in flat} >= set(groups())
