import os
import signal
import subprocess
import textwrap
from pathlib import Path

import httpx
import pytest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from waiting import wait_for

from fl.coordinator.superlink import process as module
from fl.coordinator.superlink.process import SuperLink, SuperLinkFailed, SuperLinkRefused, direct, running_superlink


def test_it_listens_on_loopback_alone(superlink):
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = {line.split()[1] for line in listening if line.split()[3] == "0A"}
    mine = {address for address in local if int(address.split(":")[1], 16) == superlink.port}
    assert mine == {f"0100007F:{superlink.port:04X}"}


@pytest.fixture
def executor(superlink):
    """Opens a program of this machine that asks for tasks and signs with what it takes for the secret."""

    def opened(secret):
        method = "/flwr.proto.Runtime/AcquireTask"
        interceptors = [
            RuntimeVersionHttpInterceptor(component_name="SuperExec"),
            SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=frozenset({method})),
        ][: 2 if secret else 1]
        client = RuntimeHttpClient.from_server_address(superlink.address, False, superlink.ca, interceptors)
        return direct(client, superlink.ca)

    return opened


def test_nobody_else_on_this_machine_can_take_the_coordinators_task(superlink, executor):
    run_id = superlink.start_run("fairshare")
    asking = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
    for guess in (b"", b"a guess"):
        with executor(guess) as client, pytest.raises(httpx.HTTPStatusError, match="401 Unauthorized"):
            client.AcquireTask(asking)
    with executor(superlink.secret) as client:
        assert client.AcquireTask(asking).task.run_id == run_id
    superlink.stop_run(run_id)


def test_only_its_owner_reads_its_keys(superlink):
    for name in ("secret", "tls/server.key", "tls/ca.key"):
        assert (superlink.folder / name).stat().st_mode & 0o077 == 0, name


def test_a_key_is_registered_once(superlink, keys):
    _, (key,) = keys(1)
    node_id = superlink.register(key)
    with pytest.raises(SuperLinkRefused, match=r"refused to register a node: status 4\d\d, .*already in use"):
        superlink.register(key)
    superlink.unregister(node_id)
    with pytest.raises(SuperLinkRefused, match="refused to unregister a node"):
        superlink.unregister(node_id)


def test_it_is_started_again_with_what_it_knew_and_without_the_wallets_password(superlink, keys, monkeypatch):
    monkeypatch.setenv("FAIRSHARE_PASSWORD", "of the sponsor's keystore")
    monkeypatch.setenv("FAIRSHARE_PASSWORD_FILE", "/run/credentials/password")
    monkeypatch.setenv("FAIRSHARE_OTHER", "value")
    _, (key,) = keys(1)
    node_id, before = superlink.register(key), superlink.pid
    os.kill(before, signal.SIGKILL)
    assert node_id in {node.node_id for node in superlink.nodes()}  # the call waits for the new one
    assert superlink.pid != before
    environment = Path(f"/proc/{superlink.pid}/environ").read_bytes()
    assert b"FAIRSHARE_OTHER=value" in environment
    assert b"FAIRSHARE_PASSWORD" not in environment


def test_nodes_and_their_ids_outlive_the_coordinator(tmp_path, keys):
    _, (key,) = keys(1)
    with running_superlink(tmp_path / "superlink") as first:
        node_id = first.register(key)
        left_over = first.start_run("fairshare")
    with running_superlink(tmp_path / "superlink") as second:
        assert [node.node_id for node in second.nodes()] == [node_id]
        assert second.stop_other_runs() == [left_over]
        assert second.stop_other_runs() == []


def test_one_that_does_not_start_is_told_with_its_last_words(tmp_path, monkeypatch):
    superlink = SuperLink(tmp_path)
    monkeypatch.setattr(module, "_TRIES", 2)
    monkeypatch.setattr(superlink, "_command", lambda secret: ["sh", "-c", "echo no luck today; exit 3"])
    with pytest.raises(SuperLinkFailed) as caught:
        superlink.start()
    superlink.close()
    assert str(caught.value) == (
        f"the SuperLink does not run; its last words: no luck today\nno luck today (all of them in {superlink.log_file})"
    )


def test_it_dies_with_a_coordinator_that_is_killed(tmp_path, python, environment):
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from fl.coordinator.superlink.process import running_superlink
        with running_superlink(Path({str(tmp_path)!r})) as superlink:
            print(superlink.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run(
        [python, "-c", script], check=False, capture_output=True, text=True, env=environment, timeout=300
    )
    pid = int(done.stdout)
    wait_for(lambda: not _runs(pid), what="the end of the SuperLink")


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
