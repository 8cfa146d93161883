"""`fl doctor`: looks at this machine and, where they are named, at keystore, chain and gateway; says what to do."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import httpx
from eth_utils import to_checksum_address
from packaging.requirements import Requirement
from rich.console import Console
from web3 import Web3

from fl.bounded_http import BoundedHttp, NoAnswer, UnusableAnswer
from fl.bundle.invite_link import load_invite
from fl.chain.accounts import ANVIL_CHAIN, without_secrets
from fl.chain.anvil import find_anvil
from fl.chain.artifacts import artifact
from fl.chain.deployment import Deployment
from fl.chain.erc20 import Token
from fl.chain.errors import AnvilMissing, ChainError, ChainUnreachable
from fl.chain.invite import Invite
from fl.chain.membership import check_invite
from fl.chain.sender import connect, ether_of
from fl.chain.tokens import eth, in_tokens, tokens
from fl.cli.arguments.key_value import parse
from fl.foreign.files import Unreadable, read_file
from fl.foreign.json_text import BadJson, object_of, read_json, text_of
from fl.plain_text import plural

KNOWN = {
    "invite": "a task's invite, as a file or a string: looks at its chain, contract and gateway too",
    "deployment": "a deployment file: looks at its chain and contracts too",
    "key": "a keystore: checks its form, its permissions and, where a chain is known, its balance; does not ask for a password",
}
OK, WARN, FAIL = "ok", "warn", "fail"
# What commands listen on by default.
PORTS = {8545: "a local chain (`fl devnet`)", 8443: "`fl coordinator`", 8700: "`fl dashboard`"}
_LEAST_PYTHON, _LEAST_NODE = (3, 11), 20
_GB = 10**9
_TIMEOUT_S = 10
_MOST_BYTES = 1 << 20  # of a gateway's answer
# Flower's authentication of nodes takes a timestamp that is at most so far from the SuperLink's clock; seconds.
_AHEAD_S, _BEHIND_S = 5, 305


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was seen of one thing and, where it is not well, what to do."""

    level: str
    what: str
    seen: str
    advice: str = ""


def main(arguments: Sequence[str]) -> None:
    """Look at everything and print a line for each; exit status 1 if something fails."""
    values = parse(arguments, known=KNOWN, command="doctor")
    console = Console(soft_wrap=True)
    failed = warned = 0
    for finding in examine(values):
        failed, warned = failed + (finding.level == FAIL), warned + (finding.level == WARN)
        colour = {OK: "green", WARN: "yellow", FAIL: "red"}[finding.level]
        console.print(f"[{colour}]{finding.level:<4}[/] {finding.what:<10} ", end="")
        console.print(finding.seen + (f"; {finding.advice}" if finding.advice else ""), markup=False, highlight=False)
    if failed or warned:
        console.print(f"{failed} to mend, {warned} to know of", highlight=False)
    if failed:
        sys.exit(1)


def examine(values: dict[str, str]) -> Iterator[Finding]:
    """Every finding, those of this machine first."""
    yield python()
    yield packages()
    yield torch_loads()
    yield node()
    yield anvil()
    yield artifacts()
    yield from ports(PORTS)
    yield disk(Path.cwd())
    address = None
    if "key" in values:
        address, found = keystore(Path(values["key"]))
        yield found
    if "deployment" in values:
        yield from deployment(Path(values["deployment"]), address=address)
    if "invite" in values:
        yield from invitation(values["invite"], address=address)


# ---- this machine ----------------------------------------------------------------------------------------------------


def python() -> Finding:
    """The interpreter."""
    seen = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _LEAST_PYTHON:
        return Finding(level=FAIL, what="Python", seen=seen, advice="install 3.11 or newer")
    return Finding(level=OK, what="Python", seen=seen)


def packages() -> Finding:
    """Every package that Fairshare needs, against the versions that it was made for."""
    wrong = []
    for line in requires("fairshare") or []:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            seen = version(wanted.name)
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is absent")
            continue
        if not wanted.specifier.contains(seen, prereleases=True):
            wrong.append(f"{wanted.name} is {seen}, {wanted.specifier} is needed")
    if wrong:
        return Finding(level=FAIL, what="packages", seen=", ".join(wrong), advice="run `pip install fairshare` again")
    seen = ", ".join(f"{name} {version(name)}" for name in ("fairshare", "torch", "flwr", "web3"))
    return Finding(level=OK, what="packages", seen=seen)


def torch_loads() -> Finding:
    """Whether PyTorch can be loaded, which a broken installation shows only then."""
    try:
        import torch  # noqa: PLC0415 (it takes seconds, and may be what is broken)
    except (ImportError, OSError) as error:
        advice = "install the build for this machine, as pytorch.org gives it"
        return Finding(level=FAIL, what="torch", seen=f"does not load ({error})", advice=advice)
    where = "CUDA" if torch.cuda.is_available() else "CPU"
    return Finding(level=OK, what="torch", seen=f"loads, {where}, {torch.get_num_threads()} threads")


def node() -> Finding:
    """Node.js and npm, which only fetch Anvil and the compiler."""
    what, needed = "Node.js", "only needed to fetch Anvil and the Solidity compiler"
    found, npm = shutil.which("node"), shutil.which("npm")
    if not found or not npm:
        missing = "node" if not found else "npm"
        return Finding(level=WARN, what=what, seen=f"no {missing} on PATH", advice=f"install 20 or newer; {needed}")
    seen = _output([found, "--version"]) or "does not start"
    major = seen.removeprefix("v").partition(".")[0]
    if not major.isdigit() or int(major) < _LEAST_NODE:
        return Finding(level=WARN, what=what, seen=seen, advice=f"install 20 or newer; {needed}")
    return Finding(level=OK, what=what, seen=f"{seen}, npm {_output([npm, '--version']) or 'does not start'}")


def anvil() -> Finding:
    """The local chain's program."""
    try:
        found = find_anvil()
    except AnvilMissing as error:
        return Finding(level=WARN, what="Anvil", seen=str(error), advice="only a local chain needs it")
    seen = _output([str(found), "--version"])
    if not seen:
        return Finding(level=FAIL, what="Anvil", seen=f"{found} does not start", advice="fetch it again: `npm ci`")
    return Finding(level=OK, what="Anvil", seen=seen.splitlines()[0])


def artifacts() -> Finding:
    """The compiled contracts that the package carries."""
    try:
        sizes = [(name, (len(artifact(name).bytecode) - 2) // 2) for name in ("Fairshare", "DevToken")]
    except (OSError, ValueError, KeyError) as error:
        advice = "install again, or run `fl compile` in a checkout"
        return Finding(level=FAIL, what="contracts", seen=f"unreadable ({type(error).__name__})", advice=advice)
    return Finding(level=OK, what="contracts", seen=", ".join(f"{name} {size:,} bytes" for name, size in sizes))


def ports(wanted: dict[int, str]) -> Iterator[Finding]:
    """Whether the ports that commands take by default are free on this machine."""
    for port, purpose in wanted.items():
        what = f"port {port}"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just left is free
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                seen = f"taken ({error.strerror}); {purpose} wants it"
                advice = "fine if that is what runs there, else set port="
                yield Finding(level=WARN, what=what, seen=seen, advice=advice)
                continue
        yield Finding(level=OK, what=what, seen=f"free for {purpose}")


def disk(folder: Path) -> Finding:
    """Room for bundles: a LeNet round of ten clients takes about 2 MB, larger models and more clients more."""
    free = shutil.disk_usage(folder).free / _GB
    seen, advice = f"{free:.1f} GB free in {folder}", "free some: bundles of all rounds are kept"
    if free < 5:
        return Finding(level=FAIL if free < 0.5 else WARN, what="disk", seen=seen, advice=advice)
    return Finding(level=OK, what="disk", seen=seen)


# ---- a keystore ------------------------------------------------------------------------------------------------------


def keystore(path: Path) -> tuple[str | None, Finding]:
    """Form and rights of a keystore, without its password; returns its address if it tells one."""
    if not path.exists():
        advice = f"make one with `fl key path={path}`"
        return None, Finding(level=FAIL, what="keystore", seen=f"{path} is not there", advice=advice)
    try:
        content = read_json(read_file(path, most=1 << 16))
        address = to_checksum_address("0x" + content["address"].removeprefix("0x"))
        if content["version"] != 3 or "ciphertext" not in content["crypto"]:
            raise ValueError("version")
    except (Unreadable, ValueError, KeyError, TypeError, AttributeError) as error:
        seen = f"{path} is not a v3 keystore ({type(error).__name__})"
        return None, Finding(level=FAIL, what="keystore", seen=seen, advice="pass the file that `fl key` wrote")
    rights = path.stat().st_mode & 0o777
    if rights & 0o077:
        seen = f"{path} can be read by others (mode {rights:o})"
        return address, Finding(level=FAIL, what="keystore", seen=seen, advice=f"run `chmod 600 {path}`")
    return address, Finding(level=OK, what="keystore", seen=f"{address}, readable by its owner only")


# ---- chain and gateway -----------------------------------------------------------------------------------------------


def deployment(path: Path, *, address: str | None) -> Iterator[Finding]:
    """Chain and contracts of a deployment file."""
    try:
        found = Deployment.read(path)
        w3, escrow, token = found.connect()
    except ChainError as error:
        yield Finding(level=FAIL, what="chain", seen=str(error))
        return
    yield Finding(level=OK, what="chain", seen=f"{found.chain_id} at {_host(found.url)}")
    yield Finding(level=OK, what="contract", seen=f"Fairshare at {escrow.address}, token at {token.address}")
    yield block_time(w3)
    if address:
        yield from funds(w3, token, address)


def invitation(text: str, *, address: str | None) -> Iterator[Finding]:
    """Chain, task and gateway of an invite."""
    try:
        invite = load_invite(text)
        w3 = connect(invite.url, chain_id=invite.chain_id)
    except ChainError as error:
        yield Finding(level=FAIL, what="chain" if isinstance(error, ChainUnreachable) else "invite", seen=str(error))
        return
    yield Finding(level=OK, what="chain", seen=f"{invite.chain_id} at {_host(invite.url)}")
    try:
        _, token, terms = check_invite(invite)
    except ChainError as error:
        yield Finding(level=FAIL, what="task", seen=str(error))
    else:
        seen = f"{invite.task_id[:10]}… pays up to {in_tokens(terms.budget)} over {plural(terms.rounds, 'round')}"
        yield Finding(level=OK, what="task", seen=seen)
        if address:
            yield from funds(w3, token, address)
    yield block_time(w3)
    if invite.gateway:
        yield from gateway(invite)
    else:
        advice = "ask the coordinator for one that does if your node runs on another machine"
        yield Finding(
            level=OK, what="gateway", seen="the invite names none: everything runs on one machine", advice=advice
        )


def block_time(w3: Web3) -> Finding:
    """This machine's clock against the latest block."""
    age = time.time() - w3.eth.get_block("latest")["timestamp"]
    if w3.eth.chain_id == ANVIL_CHAIN:
        return Finding(level=OK, what="block time", seen=f"{-age:+.0f} s from this clock; a devnet's may be moved")
    if age < -15:
        seen, advice = f"the latest block is {-age:.0f} s in the future", "set this machine's clock (NTP)"
        return Finding(level=FAIL, what="block time", seen=seen, advice=advice)
    if age > 600:
        seen = f"the latest block is {age:.0f} s old"
        advice = "the RPC node lags behind or this clock is ahead; use another node or set the clock (NTP)"
        return Finding(level=WARN, what="block time", seen=seen, advice=advice)
    return Finding(level=OK, what="block time", seen=f"the latest block is {age:.0f} s old")


def funds(w3: Web3, token: Token, address: str) -> Iterator[Finding]:
    """What an account holds.

    Args:
        w3: The chain.
        token: Of the task, if one is named.
        address: Of the account.
    """
    ether = ether_of(w3, address)
    if not ether:
        seen, advice = f"{address} has no ETH", "send it some: every transaction costs gas"
        yield Finding(level=WARN, what="gas", seen=seen, advice=advice)
    else:
        yield Finding(level=OK, what="gas", seen=f"{address} holds {eth(ether)} ETH")
    held = token.balance(address)
    advice = "" if held else "a stake has to come from somewhere (on a devnet anybody may mint: `fl mint`)"
    yield Finding(level=OK if held else WARN, what="tokens", seen=f"{tokens(held)} of the task's", advice=advice)


def gateway(invite: Invite) -> Iterator[Finding]:
    """The coordinator's gateway, trusted by the invite's certificate, and this machine's clock against its own."""
    try:
        context = ssl.create_default_context(cadata=invite.ca or None)
    except (ssl.SSLError, ValueError) as error:
        seen, advice = f"the invite's certificate cannot be read ({error})", "ask for a fresh invite"
        yield Finding(level=FAIL, what="gateway", seen=seen, advice=advice)
        return
    http = BoundedHttp(verify=context, wait_s=_TIMEOUT_S)
    try:
        answer = http.ask("GET", f"{invite.gateway}/api/invite", most=_MOST_BYTES, deadline_s=2 * _TIMEOUT_S)
        if answer.status != 200:
            raise UnusableAnswer(reason=f"HTTP {answer.status} {answer.phrase}".strip())
        task = text_of(object_of(read_json(answer.body, most=_MOST_BYTES))["task_id"], most=100, what="task_id")
    except (NoAnswer, BadJson, KeyError) as error:
        reason = error.reason if isinstance(error, NoAnswer) else "it answers with something other than an invite"
        if "certificate" in reason:
            yield _untrusted(invite, reason)
            return
        advice = "check the address, the coordinator, and firewalls in between"
        yield Finding(level=FAIL, what="gateway", seen=f"{invite.gateway} does not answer ({reason})", advice=advice)
        return
    finally:
        http.close()
    if task != invite.task_id:
        seen, advice = f"{invite.gateway} runs task {task}, the invite's is {invite.task_id}", "ask for a fresh invite"
        yield Finding(level=FAIL, what="gateway", seen=seen, advice=advice)
    else:
        yield Finding(level=OK, what="gateway", seen=f"{invite.gateway} answers, with a certificate of the invite's")
    if (at := _date(answer.headers.get("date"))) is not None:
        ahead = time.time() - at
        seen = f"{ahead:+.0f} s from the gateway's"
        if -_BEHIND_S < ahead < _AHEAD_S:
            yield Finding(level=OK, what="clock", seen=seen)
        else:
            advice = f"set this machine's clock (NTP): Flower takes {_AHEAD_S} s ahead to {_BEHIND_S} s behind"
            yield Finding(level=WARN, what="clock", seen=seen, advice=advice)


def _date(header: str | None) -> float | None:
    try:
        return None if header is None else parsedate_to_datetime(header).timestamp()
    except (ValueError, OverflowError):
        return None


def _untrusted(invite: Invite, reason: str) -> Finding:
    advice = "somebody may be in between, or the coordinator made a new certificate: ask for a fresh invite"
    return Finding(
        level=FAIL,
        what="gateway",
        seen=f"{invite.gateway} shows a certificate that is not of the invite's ({reason})",
        advice=advice,
    )


def _host(url: str) -> str:
    # A paid node's URL carries its key in the path or the query.
    return httpx.URL(url).netloc.decode()


def _output(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True, env=without_secrets()
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
