"""`fl score`: score a stored round anew with any rule, and show the rules side by side."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fl.aggregation.selection import clip_of
from fl.audit.public_state import public_round
from fl.bundle.files import BrokenBundle, round_folder
from fl.bundle.format import Bundle, read_header
from fl.chain.invite import Invite
from fl.cli.arguments.key_value import parse
from fl.cli.arguments.overrides import check
from fl.cli.arguments.values import is_whole
from fl.cli.terminal.plots import draw
from fl.codec import Blocks
from fl.errors import ConfigError
from fl.foreign.files import GivenFolder, Unreadable
from fl.foreign.json_text import BadJson, list_of, object_of, read_json, whole_of
from fl.foreign.yaml_text import BadYaml, read_yaml
from fl.plain_text import printable
from fl.rewards import SCORE_FRACTION_BITS, WEIGHT_ONE
from fl.scoring.analysis.compare import RuleResult, agreement, reference_of, run_rule
from fl.scoring.coalition.game import GAMES, UTILITIES
from fl.scoring.game import ValidationGame
from fl.scoring.inputs import BlockUpdates, RoundInputs
from fl.scoring.lengths import length_factor, loose_cap
from fl.scoring.paid import PaidScoring, draws_of
from fl.scoring.public_vectors import PublicRound
from fl.scoring.scorer import SCALING, Scorer, build_scorer, known_scorers, settings_of
from fl.scoring.scores import untold_pairs
from fl.task.data import DataConfig, PartitionConfig, load_federation
from fl.task.spec import TaskSpec, dataset_hash, rows_of_dataset
from fl.task.strategy_facts import facts_of
from fl.task.trust import Trust

KNOWN = {
    "bundle": "the round's folder; may be given without bundle=",
    "scorer": "rules, comma-separated; by default the direction and what the number of clients allows beside it",
    "game": "fixed, renormalised or both, for rules that play a game of coalitions",
    "utility": "loss, accuracy or both, likewise",
    "evaluations": "models a sampled rule may evaluate",
    "workers": "threads that evaluate coalitions, 1 by default",
    "seed": "draws of the sampled rules; by default those that the round was paid by",
    "explain": "true shows what each client was paid for, class by class",
    "run": "the run's folder, with invite.json and hydra/; the bundle's own run by default",
    "invite": "the task's invite file, where there is no run folder",
    "data": "data set, where there is no run folder; data.KEY=VALUE as for `fl run`, also to say where moved files are",
    "data.seed": "the run's seed, where there is no run folder",
    "trust": "packages, with commas, whose models and losses a task may name on this machine",
    "plot": "file of the plot, .svg, .png or .pdf; scores/round-NNNN.svg in the run's folder by default, none for no plot",
    "json": "file for all figures",
}
_MOST_CONFIG, _MOST_SUMMARY = 1 << 20, 64 << 20  # bytes
_SHOWN = 12  # clients' pairs named in words


def main(arguments: Sequence[str]) -> None:
    """Read the round, score it by each rule, print the table and draw the plot."""
    arguments = [
        f"bundle={argument}" if "=" not in argument and not argument.startswith("-") else argument
        for argument in arguments
    ]
    known = KNOWN | {argument.partition("=")[0]: "" for argument in arguments if _is_free(argument.partition("=")[0])}
    values = parse(arguments, known=known, command="score BUNDLE", required=["bundle"])
    torch.set_num_threads(1)
    folder = Path(values["bundle"])
    bundle, _ = Bundle.read(folder)
    if bundle.masked is not None:
        raise ConfigError(
            f"round {bundle.round} is masked, so there is no update that another rule could score; `fl audit` recomputes what was paid"
        )
    header, _ = read_header(folder)
    run = _run_folder(values, folder)
    spec = _spec(values, run)
    game = _game(values, run, spec=spec, expected=header.validation)
    updates = [Blocks.from_bytes(update.wire, size=bundle.layout.size) for update in bundle.updates]
    scoring, past = PaidScoring(spec, game=game), _past(folder, bundle, spec=spec)
    inputs = RoundInputs(
        game=scoring.validation,
        base=bundle.base,
        updates=BlockUpdates(blocks=updates),
        weights=np.array([update.weight / WEIGHT_ONE for update in bundle.updates]),
        clips=np.array([clip_of(update, cap=bundle.length) for update in updates]),
        public=scoring.public_before(base=bundle.base, past=past),
    )
    if not len(inputs):
        raise ConfigError(f"round {bundle.round} has no accepted update, so there is nothing to score")
    rules = _rules(values, spec=spec, clients=len(inputs))
    # The paid rule reads the direction that was posted; the others compute their own, which is part of what they cost.
    paid = replace(inputs, direction=bundle.direction.decode())
    results = [
        run_rule(label, rule, paid if label == spec.scorer else inputs, rng=_draws(values, bundle))
        for label, rule in rules.items()
    ]
    names = _names(run, [update.account for update in bundle.updates])
    leaves = {leaf.account: leaf.score / (1 << SCORE_FRACTION_BITS) for leaf in bundle.leaves}
    posted = np.array([leaves[update.account] for update in bundle.updates])
    # Into a file or a pipe the tables are not folded to a terminal that is not there.
    console = Console(width=None if sys.stdout.isatty() else 240)
    console.print(_clients_table(bundle, names, posted, results))
    console.print(_rules_table(results))
    if facts_of(spec.strategy).scored_by:
        console.print(
            f"strategy={spec.strategy} is scored by scorer={spec.scorer}; other rules value the mean of the updates, which it did "
            "not take",
            highlight=False,
            markup=False,
        )
    if spec.length == "capped" and (warning := loose_cap(updates, cap=spec.norm_cap)):
        console.print(warning, highlight=False, markup=False)
    for line in _rules_of_pay(bundle, spec, updates, names, past=past):
        console.print(line, highlight=False, markup=False)
    for line in _words(results, names):
        console.print(line, highlight=False, markup=False)
    for result in results:
        if result.scores.by_group is not None:
            console.print(_classes_table(result, result.scores.by_group, names, class_names=spec.class_names))
    if values.get("plot") != "none":
        path = Path(values["plot"]) if "plot" in values else _plot_of(run, bundle.round)
        draw(path, results, names=names, round_number=bundle.round)
        console.print(f"plot: {path}", highlight=False, markup=False)
    if "json" in values:
        path = Path(values["json"])
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_figures(bundle, names, posted, results), indent=1)
        path.write_text(text + "\n")
        console.print(f"figures: {path}", highlight=False, markup=False)


# ---- what is scored --------------------------------------------------------------------------------------------------


def _is_free(key: str) -> bool:
    prefix, dot, setting = key.partition(".")
    if not dot:
        return False
    if prefix == "data":
        return setting in {field.name for field in fields(DataConfig)}
    return prefix in known_scorers() and setting in settings_of(prefix)


def _run_folder(values: Mapping[str, str], folder: Path) -> Path | None:
    if "run" in values:
        run = Path(values["run"])
        if not (run / "invite.json").exists():
            raise ConfigError(f"run={run} has no invite.json; name the folder that `fl run` made")
        return run
    # `fl run` puts bundles/round-NNNN into its folder.
    run = folder.resolve().parents[1]
    return run if (run / "invite.json").exists() else None


def _plot_of(run: Path | None, number: int) -> Path:
    """Where a round's plot goes by itself. Raises: ConfigError for a run whose folder of plots leads elsewhere."""
    scores = (run or Path.cwd()) / "scores"
    if scores.is_symlink():
        raise ConfigError(f"{scores} is a link, and nothing is written through somebody else's; add plot=FILE")
    return scores / f"round-{number:04d}.svg"


def _spec(values: Mapping[str, str], run: Path | None) -> TaskSpec:
    if "invite" in values:
        invite = Invite.read(Path(values["invite"]))
    elif run is not None:
        invite = Invite.read("invite.json", inside=GivenFolder(run))
    else:
        raise ConfigError(
            "the bundle lies in no run's folder, and the model is in the task's spec; add run=FOLDER, or invite=FILE"
        )
    return TaskSpec.from_json(invite.spec, trust=Trust.of(values.get("trust", "")))


def _game(values: Mapping[str, str], run: Path | None, *, spec: TaskSpec, expected: bytes) -> ValidationGame:
    data, seed = _data_config(values, run)
    # What is held back does not depend on how the rest is dealt, so the rest goes to one client.
    federation = load_federation(data, PartitionConfig(name="iid", clients=1), seed=seed)
    validation = federation.validation
    if (found := dataset_hash(validation)) != expected:
        raise ConfigError(
            f"these validation rows have the hash 0x{found.hex()}, the round was scored on 0x{expected.hex()}; set data, "
            "its settings and data.seed to those of the task"
        )
    return ValidationGame(spec.build_model(), loss=spec.build_loss(), rows=rows_of_dataset(validation))


def _data_config(values: Mapping[str, str], run: Path | None) -> tuple[DataConfig, int]:
    own = {key: value for key, value in values.items() if key == "data" or key.startswith("data.")}
    config = run / "hydra" / "config.yaml" if run else None
    if "data" in values or run is None or config is None or not config.exists():
        if "data" not in values:
            raise ConfigError("there is no hydra/config.yaml that names the data; add data=…, as for `fl run`")
        checked = check([f"{key}={value}" for key, value in own.items()])
        return checked.data, checked.seed
    try:
        raw = read_yaml(GivenFolder(run).read("hydra/config.yaml", most=_MOST_CONFIG))
        settings = {**raw["data"], **{key.partition(".")[2]: read_yaml(value) for key, value in own.items()}}
        found = DataConfig(**settings), whole_of(raw["seed"], least=0, most=2**63 - 1, what="seed")
    except (Unreadable, BadYaml, BadJson, KeyError, TypeError) as error:
        raise ConfigError(f"{config} does not say which data it was ({error}); add data=…, as for `fl run`") from error
    for place in (found[0].path, found[0].validation, found[0].test):
        # A device has no end, and a pipe is waited for.
        if isinstance(place, str) and _is_special(Path(place)):
            told = printable(place, most=200)
            raise ConfigError(
                f"{config} names {told}, which is not a file or folder; say where the data are with data.path=…"
            )
    return found


def _is_special(path: Path) -> bool:
    """Whether something is there that is neither a file nor a folder; or that no file can be called."""
    try:
        return path.exists() and not (path.is_file() or path.is_dir())
    except (OSError, ValueError):
        return True


def _past(folder: Path, bundle: Bundle, *, spec: TaskSpec) -> list[PublicRound]:
    """The rounds before that were public, from the bundles beside this one, the latest first; as many as are there."""
    found: list[PublicRound] = []
    for number in range(bundle.round - 1, max(0, bundle.round - 1 - spec.public_rounds), -1):
        try:
            before, _ = Bundle.read(folder.resolve().parent / round_folder(number))
        except BrokenBundle:
            break
        found.append(public_round(base=before.base, following=before.next, direction=before.direction))
    return found


def _rules_of_pay(
    bundle: Bundle, spec: TaskSpec, updates: Sequence[Blocks], names: Sequence[str], *, past: Sequence[PublicRound]
) -> list[str]:
    """What the round's length and its public part did, in words."""
    lines = []
    shortened = [
        f"{name} to {factor:.0%}"
        for name, update in zip(names, updates, strict=True)
        if (factor := length_factor(update, length=bundle.length)) < 0.995
    ]
    if shortened:
        lines.append(f"length {bundle.length / 2**64:.3g}: {', '.join(shortened[:_SHOWN])} of what they sent")
    if bundle.public is not None:
        lines.append(f"public step: rate {bundle.public.rate:g} along {len(bundle.public.coefficients)} public vectors")
    if len(past) < min(spec.public_rounds, bundle.round - 1):
        lines.append(
            "the rounds before are not beside this one, so the direction above still pays for what was public; the posted "
            "scores do not"
        )
    return lines


# ---- by which rules --------------------------------------------------------------------------------------------------


def _rules(values: Mapping[str, str], *, spec: TaskSpec, clients: int) -> dict[str, Scorer]:
    names = _list(values, "scorer") or _default_rules(clients, paid=spec.scorer)
    common = {key: _whole(values, key, 0) for key in ("evaluations", "workers") if key in values}
    if values.get("explain", "false") not in ("true", "false"):
        raise ConfigError(f"explain is {values['explain']!r}; set true or false")
    if "explain" in values:
        common["explain"] = values["explain"] == "true"
    for key, choices in (("game", GAMES), ("utility", UTILITIES)):
        for choice in _list(values, key):
            if choice not in choices:
                raise ConfigError(f"{key} is {choice!r}; choose {' or '.join(choices)}")
    rules: dict[str, Scorer] = {}
    for name in names:
        build_scorer(name)  # an unknown name is told before its settings are
        settings = settings_of(name)
        own = {
            key.partition(".")[2]: read_yaml(value)
            for key, value in values.items()
            if key.startswith(f"{name}.") and key != "data.seed"
        }
        shared = {key: value for key, value in common.items() if key in settings}
        # As the round was paid.
        if "nodes" in settings:
            shared = {"nodes": spec.quadrature, **shared}
        if name == spec.scorer:
            shared = {**spec.scorer_arguments, **shared}
        for game in _list(values, "game") if "game" in settings and "game" in values else [None]:
            for utility in _list(values, "utility") if "utility" in settings and "utility" in values else [None]:
                chosen = {key: value for key, value in (("game", game), ("utility", utility)) if value}
                label = " ".join([name, *(value for value in chosen.values() if value not in ("fixed", "loss"))])
                rules[label] = build_scorer(name, {**shared, **chosen, **own})
    return rules


def _draws(values: Mapping[str, str], bundle: Bundle) -> np.random.Generator:
    if "seed" in values:
        return np.random.default_rng(_whole(values, "seed", 0))
    return draws_of(bundle.task_id, bundle.round)


def _default_rules(clients: int, *, paid: str) -> list[str]:
    others = [SCALING[0], *(["shapley"] if clients <= 10 else []), *SCALING[1:]]
    return [*([] if paid in others else [paid]), *others]


def _list(values: Mapping[str, str], key: str) -> list[str]:
    return [part.strip() for part in values.get(key, "").strip("[]").split(",") if part.strip()]


def _whole(values: Mapping[str, str], key: str, default: int) -> int:
    text = values.get(key, str(default))
    if not is_whole(text):
        raise ConfigError(f"{key} is {text!r}; write a whole number")
    return int(text)


# ---- what is shown ---------------------------------------------------------------------------------------------------


def _names(run: Path | None, accounts: Sequence[str]) -> list[str]:
    """Names of a run's clients where its summary has them, else short accounts."""
    names: dict[str, str] = {}
    try:
        summary = (
            object_of(read_json(GivenFolder(run).read("summary.json", most=_MOST_SUMMARY), most=_MOST_SUMMARY))
            if run
            else {}
        )
        for client in map(object_of, list_of(summary.get("clients", []))):
            told = [printable(client[key], most=60) for key in ("account", "name", "behaviour")]
            names[told[0]] = told[1] if told[2] == "honest" else f"{told[1]} ({told[2]})"
    except (Unreadable, BadJson, KeyError):
        pass  # whose names they are is only shown
    return [names.get(account, f"{account[:6]}…{account[-4:]}") for account in accounts]


def _clients_table(bundle: Bundle, names: Sequence[str], posted: np.ndarray, results: Sequence[RuleResult]) -> Table:
    table = Table(title=f"round {bundle.round}: scores in thousandths of the utility, ± standard error")
    table.add_column("client")
    table.add_column("weight", justify="right")
    table.add_column("posted", justify="right")
    for result in results:
        table.add_column(result.rule, justify="right")
    for place, (name, update) in enumerate(zip(names, bundle.updates, strict=True)):
        cells = [f"{update.weight / WEIGHT_ONE:.1%}", f"{1e3 * posted[place]:.3f}"]
        for result in results:
            text = f"{1e3 * result.scores.values[place]:.3f}"
            if result.scores.errors is not None and result.scores.errors[place] > 0:
                error = result.scores.errors[place]
                text += f" ±{1e3 * error:.3f}" if math.isfinite(error) else " ±?"
            cells.append(text)
        table.add_row(Text(name), *cells)
    return table


def _rules_table(results: Sequence[RuleResult]) -> Table:
    reference = reference_of(results)
    table = Table(title=f"rules, against {reference.rule}")
    for column in ("rule", "rank correlation", "relative distance", "evaluations", "gradients", "seconds"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    for result in results:
        found = agreement(result, reference)
        table.add_row(
            result.rule,
            "–" if math.isnan(found.rank) else f"{found.rank:.3f}",
            f"{found.distance:.1%}",
            str(result.evaluations),
            str(result.gradients),
            f"{result.seconds:.3f}",
        )
    return table


def _words(results: Sequence[RuleResult], names: Sequence[str]) -> list[str]:
    lines = []
    for result in results:
        if standing := result.scores.diagnostics.get("standing"):
            lines.append(f"{result.rule}: {standing}")
        if result.rule != "direction" or result.scores.errors is None:
            continue
        pairs = untold_pairs(result.scores)
        told = len(names) * (len(names) - 1) // 2 - len(pairs)
        if pairs:
            shown = ", ".join(f"{names[i]} and {names[j]}" for i, j in pairs[:_SHOWN])
            more = f" and {len(pairs) - _SHOWN} more pairs" if len(pairs) > _SHOWN else ""
            lines.append(f"not told apart at 95 % on these validation rows: {shown}{more}; the other {told} pairs are")
        else:
            lines.append(f"all {told} pairs of clients are told apart at 95 % on these validation rows")
    return lines


def _classes_table(
    result: RuleResult, by_group: NDArray[np.float64], names: Sequence[str], *, class_names: Sequence[str]
) -> Table:
    table = Table(title=f"{result.rule}: what each client was paid for, thousandths by class")
    table.add_column("client")
    named = [printable(name, most=60) for name in class_names]
    labels = [named[int(group)] if int(group) < len(named) else group for group in result.scores.group_names]
    for label in labels:
        table.add_column(Text(label), justify="right")
    table.add_column("most for")
    for name, row in zip(names, by_group, strict=True):
        best = [labels[place] for place in np.argsort(-row)[:2] if row[place] > 0]
        table.add_row(Text(name), *(f"{1e3 * value:.2f}" for value in row), Text(" and ".join(best) or "–"))
    return table


def _figures(bundle: Bundle, names: Sequence[str], posted: np.ndarray, results: Sequence[RuleResult]) -> dict[str, Any]:
    reference = reference_of(results)
    return {
        "round": bundle.round,
        "clients": [
            {"name": name, "account": update.account, "weight": update.weight / WEIGHT_ONE, "posted": score}
            for name, update, score in zip(names, bundle.updates, posted.tolist(), strict=True)
        ],
        "against": reference.rule,
        "rules": {
            result.rule: {
                "scores": result.scores.values.tolist(),
                "errors": None if result.scores.errors is None else _finite(result.scores.errors),
                "untold_pairs": untold_pairs(result.scores),
                "by_class": None if result.scores.by_group is None else result.scores.by_group.tolist(),
                "seconds": result.seconds,
                "diagnostics": result.scores.diagnostics,
                **{
                    key: None if math.isnan(value) else value
                    for key, value in asdict(agreement(result, reference)).items()
                },
            }
            for result in results
        },
    }


def _finite(errors: np.ndarray) -> list[float | None]:
    return [float(error) if math.isfinite(error) else None for error in errors]  # JSON knows no infinity
