"""Machines in a box: network namespaces with addresses of their own, joined by a bridge. Needs root and the `ip` command.

`with lan(["hub", "alice", "bob"]) as machines:` gives each name an address 10.77.x.y; `machines["alice"].command([...])` is the
argument list that runs a program there, and `machines["alice"].unplug()` takes its cable out. With `known_as={"hub.example.org":
"hub"}` each of them finds that one by its name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOSTS = Path("/etc/netns")  # `ip netns exec` lays what is here, in a folder of a namespace's name, over its /etc


def available() -> str:
    """Why there can be no namespaces here; "" where there can."""
    if shutil.which("ip") is None:
        return "there is no ip command"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"fairshare-probe-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", probe], check=False, capture_output=True, text=True)
    if tried.returncode:
        return f"ip netns add: {tried.stderr.strip()}"
    _ip("netns", "del", probe)
    return ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One namespace."""

    name: str  # as the caller says it
    namespace: str  # as `ip netns` says it
    address: str
    link: str  # its end of the cable, inside

    def command(self, arguments: Sequence[str | Path]) -> list[str]:
        """The arguments that run a program on this machine."""
        ip = str(shutil.which("ip"))  # whose environment they run in may have another PATH
        return [ip, "netns", "exec", self.namespace, *map(str, arguments)]

    def unplug(self) -> None:
        """Nothing comes in or goes out any more; what runs goes on running."""
        _ip("-n", self.namespace, "link", "set", self.link, "down")

    def plug(self) -> None:
        """Back on the network."""
        _ip("-n", self.namespace, "link", "set", self.link, "up")


@contextmanager
def lan(names: Sequence[str], *, known_as: Mapping[str, str] | None = None) -> Iterator[dict[str, Machine]]:
    """Machines on one switch; removed at the end, with whatever still runs in them.

    Args:
        names: One for each machine.
        known_as: Host names by which all of them find a machine.

    The switch is in a namespace of its own, so the machine underneath keeps its network as it is.
    """
    tag = f"fs{os.getpid()}"
    switch = f"{tag}-switch"
    machines = {
        name: Machine(
            name=name, namespace=f"{tag}-{name}", address=f"10.77.{os.getpid() % 250}.{number}", link=f"eth{number}"
        )
        for number, name in enumerate(names, start=1)
    }
    made: list[str] = []
    known = [f"{machines[name].address} {host}" for host, name in (known_as or {}).items()]
    try:
        _ip("netns", "add", switch)
        made.append(switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for number, machine in enumerate(machines.values(), start=1):
            _ip("netns", "add", machine.namespace)
            made.append(machine.namespace)
            _ip("-n", switch, "link", "add", f"port{number}", "type", "veth", "peer", "name", machine.link)
            _ip("-n", switch, "link", "set", machine.link, "netns", machine.namespace)
            _ip("-n", switch, "link", "set", f"port{number}", "master", "bridge", "up")
            _ip("-n", machine.namespace, "addr", "add", f"{machine.address}/24", "dev", machine.link)
            for link in ("lo", machine.link):
                _ip("-n", machine.namespace, "link", "set", link, "up")
            if known:
                (HOSTS / machine.namespace).mkdir(parents=True)
                (HOSTS / machine.namespace / "hosts").write_text("\n".join(["127.0.0.1 localhost", *known, ""]))
        yield machines
    finally:
        for namespace in made:
            _end_all(namespace)
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", namespace)
            shutil.rmtree(HOSTS / namespace, ignore_errors=True)
        with contextlib.suppress(OSError):  # another one's, or never made
            HOSTS.rmdir()


def _end_all(namespace: str) -> None:
    """End what still runs in a namespace that this process made."""
    found = subprocess.run(["ip", "netns", "pids", namespace], check=False, capture_output=True, text=True)
    for pid in map(int, found.stdout.split()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
