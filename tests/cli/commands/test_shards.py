"""`fl shards`: what a person types to try real machines, and what is refused."""

import pytest

from fl.cli.arguments.overrides import check
from fl.task.data import load_federation


def test_data_are_dealt_into_a_file_per_client_and_a_folder_for_the_coordinator(fl, tmp_path):
    done = fl("shards", "data=breast_cancer", "partition=sizes", "partition.sizes=[1,3]", "partition.clients=0",
              "seed=2", f"out={tmp_path}/out")  # fmt: skip
    assert done.code == 0, done.err
    sizes = [len(path.read_text().splitlines()) - 1 for path in sorted((tmp_path / "out" / "clients").iterdir())]
    assert sizes[1] == pytest.approx(3 * sizes[0], abs=3)
    assert f"clients/client-0.csv  {sizes[0]} rows" in done.out
    choice = [f"data=holdout data.path={tmp_path}/out/coordinator"]
    assert choice[0] in done.out
    config = check([*choice[0].split(" "), "seed=2"])
    assert len(load_federation(config.data, config.partition, seed=config.seed).validation) == 114


def test_what_is_dealt_is_refused_with_what_to_do(refuses, tmp_path):
    out = f"out={tmp_path}/out"
    refuses("shards", "data=digits", saying="out is not set; add out=FOLDER, where the files go")
    refuses(
        "shards", out, "task.rounds=3", saying="task.rounds is not a setting of fl shards; it takes data, partition"
    )
    refuses("shards", out, "seed=1,2", saying="seed=1,2 names several values, fl shards takes one")
    refuses("shards", out, "seed=[1", saying="cannot read the arguments: ")
    refuses("shards", out, "data=digit", saying="data=digit is unknown, the nearest is data=digits")
    refuses("shards", out, "data=holdout", "data.path=x", saying="data=holdout has no client's rows to deal")
    assert not (tmp_path / "out").exists()


def test_help_lists_what_can_be_dealt(fl):
    told = fl("shards", "--help").out
    assert "data=csv" in told
    assert "partition.alpha=0.5" in told
    assert "task." not in told
    assert "data=holdout" not in told
