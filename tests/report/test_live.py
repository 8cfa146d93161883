"""The summary while a run goes on, and after its end."""

import json

import pytest

from fl.chain.json_file import write_json
from fl.coordinator.config import RunConfig, TaskConfig
from fl.coordinator.result import Watcher
from fl.coordinator.run import run_federation
from fl.report.live import LiveSummary
from fl.task.data import DataConfig, PartitionConfig


def test_a_summary_grows_with_its_run_and_stays_finished(tmp_path, no_room, caplog):
    config = RunConfig(
        task=TaskConfig(rounds=2, steps=2, batch_size=8),
        data=DataConfig(name="breast_cancer"),
        partition=PartitionConfig(name="iid", clients=2),
    )
    path, seen = tmp_path / "summary.json", []

    def look(number, phase):
        told = json.loads(path.read_text())
        assert (told["status"], told["live"]["round"], told["live"]["phase"]) == ("running", number, phase)
        seen.append(len(told["rounds"]))

    live = LiveSummary(config, folder=tmp_path)
    with pytest.raises(ValueError, match="the task was not told yet; call the watcher's on_task first"):
        live.finished()
    live = LiveSummary(config, folder=tmp_path)
    run_federation(config, folder=tmp_path, watcher=live.watching(Watcher(on_phase=look)))
    assert sorted(set(seen)) == [0, 1]
    no_room(True)
    live.show_nodes([{"account": "0x", "online": True}])
    live.failed("a full disk")
    assert json.loads(path.read_text())["live"]["nodes"] == []
    assert f"{path} is behind: [Errno 27] File too large" in caplog.text
    no_room(False)
    live.show_nodes([{"account": "0x", "online": False}])
    told = json.loads(path.read_text())
    assert (told["status"], told["live"]["reason"], len(told["live"]["nodes"])) == ("failed", "a full disk", 1)
    write_json(path, live.finished())
    live.show_nodes([{"account": "0x", "online": False}])
    live.failed("interrupted")
    told = json.loads(path.read_text())
    assert (told["status"], told["live"], len(told["rounds"])) == ("finished", None, 2)
