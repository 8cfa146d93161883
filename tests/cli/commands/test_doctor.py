"""`fl doctor` on this machine, with a real keystore, a real chain and a real TLS server; and with each of them broken."""

import dataclasses
import json
import socket
import ssl
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from fl.chain.accounts import create_keystore
from fl.chain.escrow import Escrow
from fl.cli.commands import doctor
from fl.coordinator.superlink.certificates import own_tls


def finding(done, what):
    """The line about one thing: level and text."""
    (line,) = [line for line in done.out.splitlines() if line[5:].startswith(f"{what:<10} ")]
    return line[:4].strip(), line[16:]


@pytest.fixture
def gateway(tmp_path):
    """A TLS server with a private authority that answers like a gateway: what it says may be set."""
    tls = own_tls(tmp_path / "tls", names=[])
    said = {"task_id": "", "ahead": 0, "status": 200}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            body = said.get("body", json.dumps({"task_id": said["task_id"]}).encode())
            self.send_response_only(said["status"] if self.path == "/api/invite" else 404)
            self.send_header("Date", said.get("date", formatdate(time.time() - said["ahead"], usegmt=True)))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}", tls.ca, said
    server.shutdown()
    server.server_close()


def test_this_machine_is_well_enough_to_run_the_tests(fl):
    done = fl("doctor")
    assert done.code == 0, done.out
    for what in ("Python", "packages", "torch", "Anvil", "contracts"):
        assert finding(done, what)[0] == "ok"


def test_what_is_missing_is_told_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.node().level == "warn"
    assert doctor.node().seen == "no node on PATH"
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.1.0\n")
    old.chmod(0o755)
    assert doctor.node().seen == "no npm on PATH"
    (tmp_path / "npm").symlink_to(old)
    assert (doctor.node().seen, doctor.node().advice[:19]) == ("v18.1.0", "install 20 or newer")
    broken = tmp_path / "anvil"
    broken.write_text("no program\n")
    broken.chmod(0o755)
    assert doctor.anvil().level == "fail"
    assert "does not start" in doctor.anvil().seen


def test_a_package_of_another_version_is_named(monkeypatch):
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: "1.2.0" if name == "flwr" else real(name))
    found = doctor.packages()
    assert (found.level, found.seen) == ("fail", "flwr is 1.2.0, ==1.41.0 is needed")


def test_a_taken_port_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (found,) = doctor.ports({port: "the gateway"})
    assert found.level == "warn"
    assert found.seen.endswith("; the gateway wants it")
    (found,) = doctor.ports({port: "the gateway"})
    assert found.level == "ok"


def test_a_keystore_is_looked_at_without_its_password(fl, tmp_path):
    path = tmp_path / "key.json"
    done = fl("doctor", f"key={path}")
    assert done.code == 1
    assert finding(done, "keystore") == ("fail", f"{path} is not there; make one with `fl key path={path}`")
    account = create_keystore(path, password="secret")
    assert finding(fl("doctor", f"key={path}"), "keystore") == ("ok", f"{account.address}, readable by its owner only")
    path.chmod(0o644)
    level, told = finding(fl("doctor", f"key={path}"), "keystore")
    assert (level, told) == ("fail", f"{path} can be read by others (mode 644); run `chmod 600 {path}`")
    path.write_text("{}")
    assert finding(fl("doctor", f"key={path}"), "keystore")[1].startswith(f"{path} is not a v3 keystore")


def test_chain_task_and_funds_of_an_invite(fl, new_world, tmp_path):
    world = new_world()
    path = tmp_path / "key.json"
    account = create_keystore(path, password="secret")
    done = fl("doctor", f"invite={world.invite_path}", f"key={path}")
    assert done.code == 0, done.out
    assert finding(done, "chain")[1] == f"31337 at {world.deployment.url.removeprefix('http://')}"
    assert finding(done, "task")[1].endswith("pays up to 1,000 tokens over 2 rounds")
    assert finding(done, "gas") == ("warn", f"{account.address} has no ETH; send it some: every transaction costs gas")
    assert finding(done, "tokens")[0] == "warn"
    wrong = dataclasses.replace(world.invite, coordinator=world.sponsor.address)
    done = fl("doctor", f"invite={wrong.to_string()}")
    assert done.code == 1
    assert finding(done, "task")[1].startswith("the invite's coordinator is")


def test_a_deployment_and_one_whose_chain_is_gone(fl, chain, tmp_path):
    path = tmp_path / "deployment.json"
    chain.write(path)
    done = fl("doctor", f"deployment={path}")
    assert done.code == 0, done.out
    assert finding(done, "contract")[1].startswith(f"Fairshare at {Escrow(chain.connect()[0], chain.contract).address}")
    dataclasses.replace(chain, url="http://127.0.0.1:1").write(path)
    done = fl("doctor", f"deployment={path}")
    assert done.code == 1
    assert finding(done, "chain")[1].startswith("no chain answers at http://127.0.0.1:1")


def test_a_gateway_is_trusted_by_the_invites_certificate_only(new_world, gateway, tmp_path):
    url, ca, said = gateway
    invite = dataclasses.replace(new_world().invite, gateway=url, ca=ca)
    said["task_id"] = invite.task_id
    found, clock = doctor.gateway(invite)
    assert (found.level, clock.level) == ("ok", "ok")
    said["task_id"] = "0x" + "11" * 32
    assert next(doctor.gateway(invite)).seen == f"{url} runs task 0x{'11' * 32}, the invite's is {invite.task_id}"
    other = own_tls(tmp_path / "other", names=[]).ca
    (found,) = doctor.gateway(dataclasses.replace(invite, ca=other))
    assert found.level == "fail"
    assert found.seen.startswith(f"{url} shows a certificate that is not of the invite's")
    said["status"] = 502
    (found,) = doctor.gateway(invite)
    assert found.seen == f"{url} does not answer (HTTP 502 Bad Gateway)"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html>please log in</html>", "it answers with something other than an invite"),
        (b"[" * 100_000, "it answers with something other than an invite"),
        (b'{"task_id": 7}', "it answers with something other than an invite"),
        (b"{}", "it answers with something other than an invite"),
        (bytes(2 << 20), "it has more than the 1,048,576 bytes that there can be"),
    ],
)
def test_what_is_no_gateway_is_told_and_fills_no_memory(new_world, gateway, body, problem):
    url, ca, said = gateway
    said["body"] = body
    (found,) = doctor.gateway(dataclasses.replace(new_world().invite, gateway=url, ca=ca))
    assert (found.level, found.seen) == ("fail", f"{url} does not answer ({problem})")


def test_a_gateways_clock_that_cannot_be_read_and_an_invites_certificate_that_is_none(new_world, gateway):
    url, ca, said = gateway
    invite = dataclasses.replace(new_world().invite, gateway=url, ca=ca)
    said |= {"task_id": invite.task_id, "date": "the day after"}
    (found,) = doctor.gateway(invite)
    assert found.level == "ok"
    (found,) = doctor.gateway(dataclasses.replace(invite, ca="-----BEGIN CERTIFICATE-----"))
    assert (found.level, found.advice) == ("fail", "ask for a fresh invite")
    assert found.seen.startswith("the invite's certificate cannot be read (")


@pytest.mark.parametrize(("ahead", "level"), [(0, "ok"), (-200, "ok"), (30, "warn"), (-1000, "warn")])
def test_a_clock_that_flower_would_refuse_is_told(new_world, gateway, ahead, level):
    url, ca, said = gateway
    invite = dataclasses.replace(new_world().invite, gateway=url, ca=ca)
    said |= {"task_id": invite.task_id, "ahead": ahead}
    _, clock = doctor.gateway(invite)
    assert clock.level == level, clock


def test_full_disks_and_broken_installations_fail(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**8))
    assert doctor.disk(tmp_path).level == "fail"
    monkeypatch.setattr(doctor, "artifact", lambda name: json.loads(""))
    assert doctor.artifacts().seen == "unreadable (JSONDecodeError)"
