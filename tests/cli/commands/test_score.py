import hashlib
import json
import os

import numpy as np
import pytest
from eth_utils import to_checksum_address

from clients.trainer import train
from fl.bundle.format import Bundle, BundledUpdate, write_header
from fl.chain.invite import Invite
from fl.chain.typed_data import ZERO_HASH, Header
from fl.cli.commands.score import main
from fl.codec import Blocks, block_root, model_hash
from fl.errors import ConfigError
from fl.rewards import Participant, cap_q64, settle, weigh
from fl.rewards.price import Account
from fl.scoring.game import ValidationGame
from fl.scoring.paid import PaidScoring
from fl.scoring.scorer import SCALING, TooManyClients
from fl.task.data import DataConfig, PartitionConfig, load_federation
from fl.task.model_vector import layout_of, vector_of
from fl.task.spec import TaskSpec, dataset_hash

CLIENTS, TASK = 3, hashlib.sha256(b"a task").digest()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with one round of three clients on the digits, made without a chain."""
    folder = tmp_path_factory.mktemp("run")
    write_round(folder, clients=CLIENTS)
    return folder


def write_round(folder, *, clients, strategy="fedavg", scorer="direction", class_names=(), **arguments):
    federation = load_federation(DataConfig(), PartitionConfig(name="iid", clients=clients), seed=3)
    spec = TaskSpec(
        model="fl.task.models:MLP",
        model_arguments={"hidden": [8]},
        feature_shape=federation.feature_shape,
        num_classes=10,
        class_names=class_names or federation.class_names,
        quadrature=2,
        length="capped",
        public_rounds=0,
        strategy=strategy,
        scorer=scorer,
        scorer_arguments=arguments,
    )
    model = spec.build_model()
    base = vector_of(model)
    validation = federation.validation
    game = ValidationGame(model, loss=spec.build_loss(), features=validation.features, labels=validation.labels)
    scoring = PaidScoring(spec, game=game)
    participants = []
    for number, shard in enumerate(federation.shards):
        trained, _ = train(model, base, features=shard.data.features, labels=shard.data.labels, spec=spec, seed=number)
        blocks = Blocks.encode(trained.astype(np.float64) - base)
        account = to_checksum_address(number.to_bytes(20, "big"))
        participants.append(Participant(account=account, stake=10, blocks=blocks, root=block_root(blocks.to_bytes())))
    weights = weigh(participants, cap=cap_q64("10"))
    step = scoring.step(participants, base=base, weights=weights)
    blocks = Blocks.encode(scoring.direction(base=base, step=step))
    scores, _ = scoring.scores(participants, base=base, weights=weights, direction=blocks, task_id=TASK, round_number=1)
    settled = settle(
        participants,
        weights=weights,
        scores=scores,
        accounts={participant.account: Account() for participant in participants},
        allowed=100,
    )
    bundle = Bundle(
        task_id=TASK,
        round=1,
        layout=layout_of(model),
        base=base,
        next=(base + step).astype(np.float32),
        updates=tuple(
            BundledUpdate(
                account=participant.account, stake=participant.stake, weight=weights[participant.account], selected=True, root=participant.root,
                signature=bytes(65), wire=participant.blocks.to_bytes(),
            )
            for participant in participants
        ),
        direction=blocks,
        previous=(),
        leaves=settled.tree.leaves,
        price=settled.payout.price,
        length=cap_q64("10"),
    )  # fmt: skip
    place = folder / "bundles" / "round-0001"
    header = Header(
        task_id=TASK, round=1, previous=ZERO_HASH, base_model=model_hash(base), next_model=model_hash(bundle.next),
        validation=dataset_hash(federation.validation), direction_root=block_root(blocks.to_bytes()), tree_root=settled.tree.root,
        leaf_count=clients, enrolment=ZERO_HASH, cumulative=settled.tree.cumulative, price=settled.payout.price,
        bundle=bundle.write(place),
    )  # fmt: skip
    write_header(place, header, signatures=[])
    address = "0x" + "0" * 40
    Invite(
        chain_id=1, url="http://localhost", contract=address, token=address, block=0,
        task_id="0x" + TASK.hex(), coordinator=address, spec=spec.to_json(),
    ).write(folder / "invite.json")  # fmt: skip
    (folder / "hydra").mkdir()
    (folder / "hydra" / "config.yaml").write_text("seed: 3\ndata:\n  name: digits\n")


def figures(run, tmp_path, *arguments):
    path = tmp_path / "figures.json"
    main([str(run / "bundles" / "round-0001"), f"json={path}", *arguments])
    return json.loads(path.read_text())


def test_a_round_is_scored_side_by_side(run, tmp_path, capsys):
    found = figures(run, tmp_path)
    rules = found["rules"]
    assert list(rules) == [SCALING[0], "shapley", *SCALING[1:]]
    assert found["against"] == "shapley"
    assert [rules[name]["diagnostics"]["evaluations"] for name in ("direction", "shapley", "loo")] == [0, 8, 4]
    posted = [client["posted"] for client in found["clients"]]
    np.testing.assert_allclose(rules["direction"]["scores"], posted, atol=1e-6)
    np.testing.assert_allclose(rules["leverage"]["scores"], rules["shapley"]["scores"], atol=1e-6)
    assert all(error > 0 for error in rules["direction"]["errors"])
    printed = capsys.readouterr().out
    for text in ("task.norm_cap is 10, ", "0x0000…0002", "rank correlation", "told apart at 95 %", "round-0001.svg"):
        assert text in printed
    assert (run / "scores" / "round-0001.svg").read_text().count("shapley") == 1


@pytest.mark.parametrize("scorer", ["leverage", "permutation", "gtg"])
def test_a_round_that_was_paid_by_draws_is_scored_by_the_same_draws(tmp_path, scorer):
    write_round(tmp_path, clients=6, scorer=scorer, evaluations=20)
    found = figures(tmp_path, tmp_path, f"scorer={scorer}", "plot=none")
    posted = [client["posted"] for client in found["clients"]]
    np.testing.assert_allclose(found["rules"][scorer]["scores"], posted, rtol=0, atol=2**-40)
    other = figures(tmp_path, tmp_path, f"scorer={scorer}", "seed=0", "plot=none")
    assert other["rules"][scorer]["scores"] != found["rules"][scorer]["scores"]


def test_a_robust_round_is_scored_along_the_posted_direction(tmp_path):
    write_round(tmp_path, clients=5, strategy="fedmedian", scorer="median")
    found = figures(tmp_path, tmp_path, "scorer=median", "plot=none")
    posted = [client["posted"] for client in found["clients"]]
    np.testing.assert_allclose(found["rules"]["median"]["scores"], posted, rtol=0, atol=2**-40)


def test_games_utilities_and_settings_multiply(run, tmp_path):
    found = figures(
        run, tmp_path, "scorer=shapley,direction,permutation", "game=fixed,renormalised", "utility=loss,accuracy", "plot=none",
        "permutation.truncation=0.5", "evaluations=5", "direction.confidence=false", "workers=2", "seed=4",
    )  # fmt: skip
    assert list(found["rules"])[:5] == [
        "shapley", "shapley accuracy", "shapley renormalised", "shapley renormalised accuracy", "direction",
    ]  # fmt: skip
    assert found["rules"]["direction"]["errors"] is None
    assert found["rules"]["permutation"]["diagnostics"]["evaluations"] <= 5


def test_a_client_reads_what_it_was_paid_for(run, tmp_path, capsys):
    found = figures(run, tmp_path, "scorer=direction", "explain=true", "plot=none")
    direction_scores = found["rules"]["direction"]
    np.testing.assert_allclose(np.sum(direction_scores["by_class"], axis=1), direction_scores["scores"])
    assert np.shape(direction_scores["by_class"]) == (CLIENTS, 10)
    assert "most for" in capsys.readouterr().out


def test_scores_of_a_robust_rule_are_marked_as_attested(run, tmp_path, capsys):
    figures(run, tmp_path, "scorer=median,trimmed_mean", "plot=none")
    assert "median: attested, not provable on chain" in capsys.readouterr().out


def test_the_same_figures_give_the_same_plot(run, tmp_path):
    for name in ("one.svg", "two.svg"):
        figures(run, tmp_path, "scorer=loo", f"plot={tmp_path / name}")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_run_that_somebody_gave_writes_nowhere_else_and_words_its_names_alone(tmp_path, capsys):
    """Its plot is a link, and so is its folder of plots; its names are written in the terminal's own marks."""
    write_round(tmp_path, clients=2, class_names=tuple("[/red]" + chr(27) + str(number) for number in range(10)))
    bundle, _ = Bundle.read(tmp_path / "bundles" / "round-0001")
    told = [{"account": update.account, "name": "[/b][link=http://x]", "behaviour": "[/]"} for update in bundle.updates]
    (tmp_path / "summary.json").write_text(json.dumps({"clients": told}))
    mine = tmp_path / "mine"
    mine.write_text("precious")
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "round-0001.svg").symlink_to(mine)
    figures(tmp_path, tmp_path, "scorer=direction", "explain=true")
    assert mine.read_text() == "precious"
    assert not (tmp_path / "scores" / "round-0001.svg").is_symlink()
    printed = capsys.readouterr().out
    assert "[/b][link=http://x] ([/])" in printed
    assert "[/red]?3" in printed
    (tmp_path / "scores").rename(tmp_path / "plots")
    (tmp_path / "scores").symlink_to(tmp_path / "plots")
    with pytest.raises(
        ConfigError, match="scores is a link, and nothing is written through somebody else's; add plot=FILE"
    ):
        figures(tmp_path, tmp_path, "scorer=loo")


@pytest.mark.parametrize("place", ["/dev/zero", "a pipe", "a name of 300 letters"])
def test_a_run_that_names_a_device_as_its_data_is_refused(run, tmp_path, place):
    if place == "a pipe":
        place = str(tmp_path / "rows.csv")
        os.mkfifo(place)
    place = place.replace("a name of 300 letters", "x" * 300)
    given = tmp_path / "given"
    (given / "hydra").mkdir(parents=True)
    (given / "hydra" / "config.yaml").write_text(f"seed: 3\ndata: {{name: csv, path: {place}, target: label}}\n")
    (given / "invite.json").write_bytes((run / "invite.json").read_bytes())
    with pytest.raises(
        ConfigError,
        match=f"names {place[:199]}.*, which is not a file or folder; say where the data are with data.path=",
    ):
        main([str(run / "bundles" / "round-0001"), f"run={given}"])


def test_an_evaluator_without_the_run_names_invite_and_data(run, tmp_path):
    alone = tmp_path / "round"
    (run / "bundles" / "round-0001").rename(alone)
    try:
        arguments = [str(alone), "scorer=loo", "plot=none"]
        with pytest.raises(ConfigError, match=r"add run=FOLDER, or invite=FILE"):
            main(arguments)
        invite = f"invite={run / 'invite.json'}"
        with pytest.raises(ConfigError, match=r"add data=…, as for `fl run`"):
            main([*arguments, invite])
        with pytest.raises(ConfigError, match="these validation rows have the hash 0x.* set data, its settings"):
            main([*arguments, invite, "data=digits"])
        main([*arguments, invite, "data=digits", "data.seed=3"])
        main([*arguments, f"run={run}"])
    finally:
        alone.rename(run / "bundles" / "round-0001")


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("scorer=shaply", "scorer=shaply is unknown, the nearest is shapley"),
        ("game=free", "game is 'free'; choose fixed or renormalised"),
        ("utility=f1", "utility is 'f1'; choose loss or accuracy"),
        ("explain=yes", "explain is 'yes'; set true or false"),
        ("workers=two", "workers is 'two'; write a whole number"),
        ("direction.nods=3", "direction.nods is not a setting of fl score"),
        ("data.sed=3", "data.sed is not a setting of fl score"),
        ("data.validation=0.3", "these validation rows have the hash"),
        ("run=/nowhere", "run=/nowhere has no invite.json; name the folder that `fl run` made"),
        ("plot=scores.txt", "plot is scores.txt; end it in .svg, .png or .pdf, or set plot=none"),
    ],
)
def test_a_wrong_argument_is_named(run, argument, says):
    with pytest.raises(ConfigError, match=says.replace(".", r"\.")):
        main([str(run / "bundles" / "round-0001"), argument])


def test_seventeen_clients_are_too_many_for_exact_shapley(tmp_path, capsys):
    write_round(tmp_path, clients=17)
    with pytest.raises(TooManyClients):
        main([str(tmp_path / "bundles" / "round-0001"), "scorer=shapley"])
    main([str(tmp_path / "bundles" / "round-0001"), "evaluations=60"])
    assert "shapley" not in capsys.readouterr().out
