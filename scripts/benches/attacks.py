"""What cheats are paid: every behaviour of `fl.task.behaviour`, one cheat (or one ring) among honest clients, with real training.

A ratio is a cheat's pay over an honest client's of the same stake, both from one run, divided by the same client's ratio when it works
honestly: so a shard that is worth more or less than others does not show. The cheat is the client whose honest pay is nearest to its
stake. What is paid by luck (`noise`, `opposite`) is played with more seeds. Each attack is played with all three rules off (norm cap alone, no public step, equal pots) and on, side by side; on digits each
rule also by itself (one seed). Means over seeds.

The last line is JSON; `bench/attacks-by-rule.json` has every ratio under every rule, `picture=FILE` the matrix as a heat map. `kept=FILE`
keeps each finished task there, and takes from it what is there already: for a run that was stopped, or in parts with `only=`.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from measurement import ROOT, report, settings
from numpy.typing import NDArray
from played_task import equal_pots_pay, one_price_pay, play_task, rounds_to
from trained_rounds import Setting, digits, federation_of, hospitals, mnist

from fl.task.data import DataConfig, Federation, PartitionConfig
from fl.task.spec import TaskSpec

# How a task is played.
PLAYED = {
    "off": {"length": "capped", "public_rounds": 0},
    "length": {"length": "median", "public_rounds": 0},
    "public step": {"length": "capped"},
    "on": {},  # the defaults
}
# Rules: the task that they are read from, and whether its scores are paid at one price or in equal pots.
RULES = {
    "off": ("off", False),
    "length alone": ("length", False),
    "public step alone": ("public step", False),
    "one price alone": ("off", True),
    "on": ("on", True),
}
REPLAYS = ("replay_step", "replay_direction", "replay_average:0.9", "adam", "sign", "replay_model")
SCALES = ("scale:2", "scale:5", "scale:50")
CHANCE = ("noise", "opposite")  # paid by luck, of which three seeds tell little
SHORT = "lazy:1/10+scale:10"  # a tenth of the steps, made as long as all of them
ATTACKS = (
    *REPLAYS, "zero", "noise", "opposite", *SCALES, "stale", "lazy:1/2", "lazy:1/10", SHORT, "label_flip:0.4", "label_flip:1",
    "label_flip:0.4+scale:5", "backdoor:1", "synthetic", "copy", "split:4", "ring", "ring of a third", "harm",
    "replay_step by a third",
)  # fmt: skip
ALONE = "digits"  # where each rule is also played by itself
SIZES = PartitionConfig(name="sizes", clients=6, sizes=[1, 2, 3, 4, 5, 6])


@dataclass(frozen=True, kw_only=True)
class Field:
    """A data set and how it is dealt."""

    setting: Setting
    partition: PartitionConfig
    rounds: int
    sized: bool = True  # whether shards of sizes 1:2:…:6 can be dealt from it
    seeds: int = 3
    chance_seeds: int = 3
    attacks: tuple[str, ...] = ATTACKS


def main() -> None:
    """Play every attack on every data set that is here."""
    values = settings(
        {
            "data.path": "../shared/data/mnist10k",
            "hospitals": "../shared/data/heart-disease",
            "seeds": "3",
            "chance.seeds": "24",
            "mnist.seeds": "1",
            "mnist.attacks": ",".join(ATTACKS),
            "only": "",
            "workers": str(os.cpu_count()),
            "picture": "bench/attacks.png",
            "kept": "",
        }
    )
    fields = fields_of(values)
    started = time.perf_counter()
    found: dict[Task, dict] = kept_in(values["kept"])
    tasks = [task for task in tasks_of(fields) if task not in found]
    with ProcessPoolExecutor(int(values["workers"]), initializer=FIELDS.update, initargs=(fields,)) as pool:
        for task, outcome in zip(tasks, pool.map(play, tasks), strict=True):
            found[task] = outcome
            keep(task, outcome, path=values["kept"])
            if task[2] in ("sizes", ATTACKS[-1]):
                print(
                    f"{task[0]}, seed {task[1]}, to {task[2]}: {time.perf_counter() - started:.0f} s", file=sys.stderr
                )
    matrix = {rule: by_attack(found, fields, rule) for rule in RULES}
    on = matrix["on"]
    for name in fields:
        show(name, matrix)
    draw(ROOT / values["picture"], {rule: matrix[rule] for rule in ("off", "on")})
    (ROOT / "bench" / "attacks-by-rule.json").write_text(json.dumps(matrix, indent=1) + "\n")
    ratios = [(attack, ratio) for per in on.values() for attack, ratio in per.items()]
    scales = [ratio for attack, ratio in ratios if attack in SCALES]
    report(
        "attacks",
        {
            "worst_replay": max(ratio for attack, ratio in ratios if attack in REPLAYS),
            "worst_scale": max(scales, key=lambda ratio: abs(ratio - 1)),
            "worst_any": max(ratio for _, ratio in ratios),
            "by_attack": on,
            "size_error": {
                name: round(mean(size_error(found[name, seed, "sizes", "on"]) for seed in range(field.seeds)), 2)
                for name, field in fields.items()
                if field.sized
            },
            "test_loss_against_plain": {name: public_step(found, name, field)[0] for name, field in fields.items()},
            "rounds_to_plain_loss": {name: public_step(found, name, field)[1] for name, field in fields.items()},
        },
    )


def fields_of(values: Mapping[str, str]) -> dict[str, Field]:
    """The data sets that are asked for and are here."""
    slow = replace(digits(), learning_rate=0.1, steps=20)
    cancer = Setting(
        model="fl.task.models:LogisticRegression", learning_rate=0.1, steps=20, data=DataConfig(name="breast_cancer")
    )
    iid, skewed = PartitionConfig(name="iid", clients=10), PartitionConfig(name="dirichlet", clients=10, alpha=0.5)
    seeds = {
        "seeds": int(values["seeds"]),
        "chance_seeds": max(int(values.get("chance.seeds", "0")), int(values["seeds"])),
    }
    fields = {
        "digits": Field(setting=slow, partition=iid, rounds=10, **seeds),
        "digits, Dirichlet 0.5": Field(setting=slow, partition=skewed, rounds=10, sized=False, **seeds),
        "digits, converged": Field(setting=digits(), partition=iid, rounds=10, **seeds),
        "breast cancer": Field(setting=cancer, partition=replace(iid, clients=6), rounds=10, **seeds),
    }
    natural = PartitionConfig(name="natural", clients=0)
    if here(values["hospitals"], "hospitals"):
        fields["four hospitals"] = Field(
            setting=hospitals(values["hospitals"]), partition=natural, rounds=10, sized=False, **seeds
        )
    if here(values["data.path"], "data.path"):
        lenet = mnist(values["data.path"], validation=400)
        played = values["mnist.attacks"].split(",")
        if unknown := sorted(set(played) - set(ATTACKS)):
            raise SystemExit(
                f"bench: mnist.attacks has {unknown[0]!r}; write some of {', '.join(ATTACKS)}, with commas"
            )
        fields["MNIST, LeNet"] = Field(
            setting=lenet,
            partition=replace(iid, clients=6),
            rounds=6,
            seeds=int(values["mnist.seeds"]),
            chance_seeds=int(values["mnist.seeds"]),
            attacks=tuple(attack for attack in ATTACKS if attack in played),
        )
    return {name: field for name, field in fields.items() if values["only"] in name}


def here(path: str, key: str) -> bool:
    """Whether a folder of data is here; says so if not."""
    if (ROOT / path).is_dir():
        return True
    print(f"bench: {path} is not here, so its data set is left out; name another folder with {key}=", file=sys.stderr)
    return False


Task = tuple[str, int, str, str]  # data set, seed, attack, how it is played


def tasks_of(fields: Mapping[str, Field]) -> list[Task]:
    """Every task that is to be played; each rule by itself with the first seed of digits only."""
    tasks = []
    for name, field in fields.items():
        for seed in range(field.seeds):
            sides = ("off", "on") if (name, seed) != (ALONE, 0) else tuple(PLAYED)
            tasks += [(name, seed, "honest", side) for side in dict.fromkeys((*sides, "length"))]
            tasks += [(name, seed, attack, side) for attack in field.attacks for side in sides]
            if field.sized:
                tasks += [(name, seed, "sizes", side) for side in ("off", "on")]
        for seed in range(field.seeds, field.chance_seeds):
            drawn = [attack for attack in field.attacks if attack in CHANCE]
            tasks += [(name, seed, attack, side) for attack in ("honest", *drawn) for side in ("off", "on") if drawn]
    return tasks


def kept_in(path: str) -> dict[tuple, dict]:
    """Tasks that an earlier run kept in a file: it is for whoever names one to know that no rule has changed since."""
    if not path or not (ROOT / path).exists():
        return {}
    lines = [json.loads(line) for line in (ROOT / path).read_text().splitlines()]
    return {tuple(line["task"]): line["outcome"] for line in lines}


def keep(task: tuple, outcome: dict, *, path: str) -> None:
    """Add a task to the file."""
    if path:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        with (ROOT / path).open("a") as file:
            file.write(json.dumps({"task": task, "outcome": outcome}) + "\n")


# ---- one task --------------------------------------------------------------------------------------------------------

FIELDS: dict[str, Field] = {}  # in each worker


def play(task: Task) -> dict:
    """One task: every wallet's scores, whose it is and what it stakes, who cheats, and the test losses."""
    torch.set_num_threads(1)
    name, seed, attack, side = task
    federation, spec = dealt(name, seed, sized=attack == "sizes")
    behaviours = behaviours_of(attack, name, seed)
    changed = replace(spec, **PLAYED[side])
    played = play_task(
        federation,
        changed,
        rounds=FIELDS[name].rounds,
        behaviours=behaviours,
        trained=trained_of(name, seed, sized=attack == "sizes"),
    )
    return {
        "scores": [row.tolist() for row in played.scores],
        "shards": [wallet.shard for wallet in played.wallets],
        "stakes": [wallet.stake for wallet in played.wallets],
        "cheats": sorted(behaviours),
        "losses": played.losses,
    }


@lru_cache(maxsize=4)
def dealt(name: str, seed: int, *, sized: bool = False) -> tuple[Federation, TaskSpec]:
    """The data of a field, and the spec that trains on them."""
    field = FIELDS[name]
    return federation_of(field.setting, SIZES if sized else field.partition, seed=seed)


@lru_cache(maxsize=2)
def trained_of(name: str, seed: int, *, sized: bool) -> dict:
    """What honest clients of a field trained so far: in round 1 every attack on it starts from the same model."""
    return {}


@lru_cache(maxsize=64)
def order_of(name: str, seed: int) -> tuple[int, ...]:
    """Clients by how near their honest pay is to their stake: the first ones cheat."""
    federation, spec = dealt(name, seed)
    played = play_task(federation, spec, rounds=FIELDS[name].rounds, trained=trained_of(name, seed, sized=False))
    pay, stake = played.pay(), np.array([float(wallet.stake) for wallet in played.wallets])
    return tuple(np.argsort(np.abs(np.log(np.maximum(pay, 1e-9) / (stake / stake.sum())))).tolist())


def behaviours_of(attack: str, name: str, seed: int) -> dict[int, str]:
    """Who does what in an attack."""
    if attack in ("honest", "sizes"):
        return {}
    order = order_of(name, seed)
    first, second, third = order[0], order[1], order[: max(2, len(order) // 3)]
    together = {
        "copy": {first: f"copy:{second}"},
        "opposite": dict.fromkeys((first, second), f"opposite:{first},{second}"),
        "ring": dict.fromkeys((first, second), f"ring:{first},{second}"),
        "ring of a third": dict.fromkeys(third, "ring:" + ",".join(map(str, third))),
        "replay_step by a third": dict.fromkeys(third, "replay_step"),
    }
    if attack in together:
        return together[attack]
    if attack.startswith("lazy:"):
        share, sign, rest = attack.partition("/")[2].partition("+")
        return {first: f"lazy:{max(1, FIELDS[name].setting.steps // int(share))}{sign}{rest}"}
    return {first: attack}


# ---- what they come to -----------------------------------------------------------------------------------------------


def by_attack(
    found: Mapping[tuple[str, int, str, str], dict], fields: Mapping[str, Field], rule: str
) -> dict[str, dict[str, float]]:
    """Data set → attack → ratio, under one rule."""
    table: dict[str, dict[str, float]] = {}
    for name, field in fields.items():
        side, one_price = RULES[rule]
        if (name, 0, field.attacks[0], side) not in found:
            continue
        table[name] = {}
        for attack in field.attacks:
            ratios = []
            for seed in range(field.chance_seeds if attack in CHANCE else field.seeds):
                if (name, seed, attack, side) not in found:
                    continue
                outcome, honest = found[name, seed, attack, side], found[name, seed, "honest", side]
                due = against_honest(honest, outcome["cheats"], one_price=one_price)
                ratios.append(against_honest(outcome, outcome["cheats"], one_price=one_price) / due)
            table[name][attack] = round(mean(ratios), 3)
    return table


def against_honest(outcome: Mapping, cheats: Sequence[int], *, one_price: bool) -> float:
    """Pay per stake of some clients over that of all others; 0 where they earned nothing."""
    pay, stake = pay_of(outcome, one_price=one_price), np.array(outcome["stakes"], dtype=float)
    own = np.isin(outcome["shards"], cheats)
    if pay[own].sum() == 0:
        return 0.0  # even where nobody else was paid
    return float((pay[own].sum() / stake[own].sum()) / (pay[~own].sum() / stake[~own].sum()))


def pay_of(outcome: Mapping, *, one_price: bool) -> NDArray[np.float64]:
    """What each wallet earned, shares of the budget."""
    scores = [np.array(row) for row in outcome["scores"]]
    return one_price_pay(scores) if one_price else equal_pots_pay(scores)


def size_error(outcome: Mapping, *, one_price: bool = True) -> float:
    """Mean distance of pay share from stake share, in points."""
    pay, stake = pay_of(outcome, one_price=one_price), np.array(outcome["stakes"], dtype=float)
    return 100 * float(np.mean(np.abs(pay / pay.sum() - stake / stake.sum())))


def public_step(found: Mapping, name: str, field: Field) -> tuple[float, float | None]:
    """Test loss with the public step over that without, after the same rounds, and the share of the rounds that it takes to that loss.

    None where it does not come to it.
    """
    ratios, rounds = [], []
    for seed in range(field.seeds):
        plain, public = (found[name, seed, "honest", side]["losses"] for side in ("length", "on"))
        ratios.append(public[-1] / plain[-1])
        rounds.append(rounds_to(public, plain[-1]) / len(plain))
    share = mean(rounds)
    return round(mean(ratios), 3), round(share, 3) if math.isfinite(share) else None


def mean(values: Iterable[float]) -> float:
    """Of some numbers."""
    return float(np.mean(list(values)))


def show(name: str, matrix: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """One data set's ratios, a column for each rule."""
    rules = [rule for rule in RULES if name in matrix[rule]]
    print(f"\n{name:<26}" + "".join(f"{rule:>19}" for rule in rules), file=sys.stderr)
    for attack in matrix[rules[0]][name]:
        cells = "".join(f"{matrix[rule][name][attack]:>19.3f}" for rule in rules)
        print(f"{attack:<26}{cells}", file=sys.stderr)


def draw(path: Path, matrix: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """The matrix as a heat map, a panel for each rule."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - nothing else here draws

    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(1, len(matrix), sharey=True)
    image = None
    for panel, (rule, table) in zip(panels, matrix.items(), strict=True):
        # What was not played is blank.
        values = np.array([[table[name].get(attack, np.nan) for name in table] for attack in ATTACKS])
        image = panel.imshow(np.clip(values, 0, 2), cmap="RdYlGn_r", vmin=0, vmax=2, aspect="auto")
        for row, column in np.argwhere(np.isfinite(values)):
            value = values[row, column]
            ink = "white" if value < 0.3 or value > 1.7 else "black"
            panel.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=ink)
        panel.set_xticks(range(len(table)), list(table), rotation=35, ha="right", fontsize=8)
        panel.set_yticks(range(len(ATTACKS)), ATTACKS, fontsize=8)
        panel.set_title(f"rules {rule}", fontsize=10)
    figure.colorbar(image, ax=panels, label="pay of a cheat ÷ pay of honest work", shrink=0.6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
