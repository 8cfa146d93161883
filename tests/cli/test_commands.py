"""The small commands: what they do, and what they say when they will not."""

import re
import socket
import subprocess
from dataclasses import fields

import pytest
from eth_account import Account

from fl.chain.accounts import PASSWORD_VARIABLE, create_keystore, open_keystore
from fl.chain.anvil import running_anvil
from fl.chain.deployment import Deployment
from fl.chain.invite import Invite
from fl.chain.json_file import write_json
from fl.chain.sender import connect
from fl.cli.arguments.overrides import groups
from fl.cli.main import COMMANDS
from fl.coordinator.config import TaskConfig

NOBODY = "0x7777777777777777777777777777777777777777"


def test_help_lists_every_command(fl):
    for call in ([], ["--help"], ["-h"], ["help"]):
        done = fl(*call)
        assert done.code == 0
        for command, (_, line) in COMMANDS.items():
            assert f"  {command:<11} {line}" in done.out


def test_an_unknown_command_is_refused_with_those_there_are(fl):
    done = fl("fly")
    assert done.code == 2
    assert done.err.startswith("fl: there is no command 'fly'\n\nusage: fl COMMAND key=value …")
    assert fl("coordinatr").err.startswith(
        "fl: there is no command 'coordinatr', the nearest is coordinator\n\nusage: "
    )


def test_help_of_a_run_lists_every_choice_and_every_setting(fl):
    done = fl("run", "--help")
    assert done.code == 0
    for group, choices in groups().items():
        for choice, line in choices.items():
            assert f"  {group}={choice:<14} {line}" in done.out
    assert "  task.rounds=10" in done.out


def test_the_coordinators_help_explains_each_setting_by_the_name_that_it_takes(fl):
    lines = fl("coordinator", "--help").out.splitlines()
    own = ["description", "host", "names", "clients", "stay", "coordinator.evaluators"]
    for name in [*own, *(field.name for field in fields(TaskConfig))]:
        (line,) = (line for line in lines if line.startswith(f"  {name}="))
        assert len(line.partition("=")[2].split()) >= 3, line
    assert not [line for line in lines if len(line) > 130]
    assert "  certificate_key=   PEM file of that certificate's private key" in lines


def test_a_nodes_folder_has_its_page_at_the_coordinator(refuses, tmp_path):
    write_json(tmp_path / "node.json", {"account": NOBODY})
    saying = f"{tmp_path} is a client's node, whose page its coordinator serves: "
    refuses("dashboard", f"run={tmp_path}", saying=f"{saying}its address is in the invite")
    invite = Invite(
        task_id="0x" + "11" * 32,
        chain_id=31337,
        url="http://127.0.0.1:8545",
        contract=NOBODY,
        token=NOBODY,
        coordinator=NOBODY,
        block=0,
        spec="{}",
        gateway="https://hub.example.org:8443",
    )
    invite.write(tmp_path / "invite.json")
    refuses("dashboard", f"run={tmp_path}", saying=f"{saying}https://hub.example.org:8443/#/{NOBODY}")


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "run"])
def test_every_small_command_explains_itself(fl, command):
    done = fl(command, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: fl {command} ")


def test_help_keeps_its_columns_and_breaks_lines_between_words(fl, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = fl("client", "--help").out.splitlines()[2:]
    assert max(map(len, lines)) <= 80
    assert {line[17] for line in lines} == {" "}
    assert all(line[18] != " " for line in lines)
    assert "  drop_unlabelled true leaves rows without a label out instead of refusing the" in lines


def test_whoever_reads_only_the_beginning_is_told_no_error(python, environment):
    command = [python, "-m", "fl.cli.main", "completion", "bash"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        process.stdout.close()  # as `head` does
        assert process.wait(timeout=60) == 141
        assert process.stderr.read() == b""


@pytest.mark.parametrize("command", ["deploy", "mint", "key", "compile"])
def test_the_small_commands_name_the_nearest_key(refuses, command):
    wrong = {"deploy": ("chian", "chain"), "mint": ("tokns", "tokens"), "key": ("pth", "path")}.get(
        command, ("slc", "solc")
    )
    refuses(
        command, f"{wrong[0]}=1", saying=f"{wrong[0]} is not a setting of fl {command}, the nearest is {wrong[1]}; "
    )


def test_an_argument_without_a_sign_is_refused(refuses):
    refuses(
        "deploy", "anvil", saying="'anvil' is not of the form key=value; write chain=anvil, or see `fl deploy --help`"
    )
    refuses("devnet", "8545", saying="'8545' is not of the form key=value; see `fl devnet --help`")


def test_a_missing_setting_is_named(refuses):
    refuses("deploy", saying="chain is not set; add chain=… (anvil (the one at 127.0.0.1:8545, or a new one)")
    refuses("mint", "deployment=x", "to=y", saying="tokens is not set; add tokens=… (how many, in decimal)")
    refuses("client", saying="invite is not set; write fl client INVITE FILE, or invite=… (the coordinator's invite: ")
    for command in ("evaluator", "join", "claim"):
        refuses(command, saying=f"invite is not set; write fl {command} INVITE, or invite=…")
    refuses(
        "client", "i.json", saying="data is not set; write fl client INVITE FILE, or data=… (your rows: a table, or "
    )
    refuses("mint", f"to={NOBODY}", "tokens=1", saying="no token is named; write fl mint INVITE to=0x… tokens=100, or")


# ---- deploy ----------------------------------------------------------------------------------------------------------


def test_deploying_to_a_chain_that_runs_writes_a_file_that_leads_to_the_contracts(fl, chain, tmp_path):
    out = tmp_path / "deep" / "deployment.json"
    done = fl("deploy", f"chain={chain.url}", "id=31337", f"out={out}")
    assert done.code == 0, done.err
    deployment = Deployment.read(out)
    _, escrow, token = deployment.connect()
    assert deployment.chain_id == 31337
    assert f"contract {escrow.address}\ntoken {token.address}\nspent 0.0" in done.out
    assert done.out.endswith(f" ETH on gas\nwritten to {out}\n")


def test_deploying_with_a_token_that_is_there_deploys_none(fl, chain, tmp_path):
    out = tmp_path / "deployment.json"
    assert fl("deploy", f"chain={chain.url}", f"token={chain.token}", f"out={out}").code == 0
    assert Deployment.read(out).token == chain.token


def test_a_deployment_file_is_not_overwritten(fl, refuses, chain, tmp_path):
    out = tmp_path / "deployment.json"
    assert fl("deploy", f"chain={chain.url}", f"out={out}").code == 0
    first, block = out.read_text(), connect(chain.url).eth.block_number
    refuses(
        "deploy", f"chain={chain.url}", f"out={out}",
        saying=f"{out} is there already: contract {Deployment.read(out).contract} on chain 31337; go on with it, or name another",
    )  # fmt: skip
    assert (out.read_text(), connect(chain.url).eth.block_number) == (first, block)
    out.write_text('{"chain_id": 31337}')
    refuses("deploy", f"chain={chain.url}", f"out={out}", saying=f"{out} is there already: a file that is not a dep")


def test_the_deployment_file_of_a_chain_that_was_reset_is_kept_by_another_name(fl, chain, tmp_path):
    out = tmp_path / "deployment.json"
    gone = Deployment(chain_id=31337, url=chain.url, contract=NOBODY, token=NOBODY)
    gone.write(out)
    done = fl("deploy", f"chain={chain.url}", f"out={out}")
    assert done.code == 0, done.err
    assert (
        f"{out} named contract {NOBODY} on chain 31337, which is gone: the chain was reset. It is kept as" in done.out
    )
    assert Deployment.read(tmp_path / "deployment.json.1") == gone
    assert Deployment.read(out).contract != NOBODY


def test_a_wrong_chain_id_is_refused(refuses, anvil, tmp_path):
    out = tmp_path / "deployment.json"
    refuses(
        "deploy", f"chain={anvil}", "id=1", f"out={out}",
        saying=f"{anvil} is chain 31337, chain 1 is expected; name a node of chain 1, or the id that is meant",
    )  # fmt: skip
    assert not out.exists()


def test_a_chain_that_nobody_runs_is_refused(refuses, tmp_path):
    refuses(
        "deploy", "chain=http://127.0.0.1:9", f"out={tmp_path}/d.json", saying="no chain answers at http://127.0.0.1:9"
    )


def test_a_chain_that_is_no_url_is_refused(refuses):
    refuses("deploy", "chain=mainnet", saying="chain is 'mainnet'; set anvil, or the URL of a node such as http://")
    refuses(
        "deploy", "chain=127.0.0.1:8545", saying="the chain's URL has no http:// or https:// in front; write http://127"
    )


@pytest.mark.parametrize("setting", ["id", "port"])
def test_what_is_no_number_is_refused(refuses, anvil, setting):
    refuses("deploy", f"chain={anvil}", f"{setting}=one", saying=f"{setting} is 'one'; write a whole number")


def test_an_account_without_funds_is_refused(refuses, anvil, tmp_path, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    owner = create_keystore(tmp_path / "poor.json", password="secret")
    out = tmp_path / "deployment.json"
    refuses(
        "deploy", f"chain={anvil}", f"key={tmp_path}/poor.json", f"out={out}",
        saying=f"{owner.address} has no ETH on chain 31337 to pay for gas; send it some and try again",
    )  # fmt: skip
    assert not out.exists()


def test_a_token_that_is_not_there_is_refused(refuses, anvil, tmp_path):
    refuses(
        "deploy", f"chain={anvil}", f"token={NOBODY}", f"out={tmp_path}/d.json", saying=f"no token at {NOBODY} on chain"
    )


@pytest.mark.parametrize("token", ["0x12", "fair", "0x" + "zz" * 20])
def test_a_token_that_is_no_address_is_refused(refuses, anvil, tmp_path, token):
    refuses(
        "deploy", f"chain={anvil}", f"token={token}", f"out={tmp_path}/d.json",
        saying=f"token is {token!r}, which is not an address; write 0x and 40 hex digits",
    )  # fmt: skip


def test_the_published_keys_are_refused_on_another_chain(refuses, tmp_path, monkeypatch):
    with running_anvil(log=tmp_path / "anvil.log", accounts=1) as url:
        connect(url).manager.request_blocking("anvil_setChainId", [5])
        refuses(
            "deploy", f"chain={url}", f"out={tmp_path}/d.json", saying="Anvil's test keys are published and only used"
        )


# ---- mint, key, compile ----------------------------------------------------------------------------------------------


def test_minting_makes_tokens(fl, chain, tmp_path):
    chain.write(tmp_path / "d.json")
    to = Account.create().address
    done = fl("mint", f"deployment={tmp_path}/d.json", f"to={to.lower()}", "tokens=2.5")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(rf"{to} holds 2.50 tokens and 1 ETH\nspent [\de.-]+ ETH on gas, and sent 1 along\n", done.out)
    done = fl("mint", f"deployment={tmp_path}/d.json", f"to={to.lower()}", "tokens=1", "ether=0.5")
    assert done.out.startswith(f"{to} holds 3.50 tokens and 1.5 ETH\nspent ")
    assert chain.connect()[2].balance(to) == 35 * 10**17


@pytest.mark.parametrize(
    ("setting", "saying"),
    [
        ("to=me", "to is 'me', which is not an address; write 0x and 40 hex digits"),
        (
            "to=0x70997970c51812dc3A010C7d01b50e0d17dc79C8",
            "to is '0x70997970c51812dc3A010C7d01b50e0d17dc79C8', whose capitals are not those of its checksum, so a digit may be wrong;",
        ),
        (
            "to=70997970C51812dc3A010C7d01b50e0d17dc79C8",
            "to is '70997970C51812dc3A010C7d01b50e0d17dc79C8', which is not an address",
        ),
        ("tokens=lots", "tokens is 'lots'; write a number of tokens such as 1000 or 0.5"),
        ("deployment=none.json", "deployment file none.json is not there; write one with `fl deploy`"),
    ],
)
def test_minting_says_what_is_wrong(refuses, chain, tmp_path, setting, saying):
    chain.write(tmp_path / "d.json")
    settings = {"deployment": f"{tmp_path}/d.json", "to": NOBODY, "tokens": "1"}
    settings.update([setting.split("=")])
    refuses("mint", *(f"{key}={value}" for key, value in settings.items()), saying=saying)


def test_a_key_is_made_and_only_its_address_is_shown(fl, tmp_path, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    done = fl("key", f"path={tmp_path}/owner.json")
    account = open_keystore(tmp_path / "owner.json", password="secret")
    assert done.out == (
        f"{account.address} is in {tmp_path}/owner.json; keep the file and its password, nobody can restore them\n"
    )
    assert account.key.hex() not in done.out + done.err


def test_a_key_that_is_there_is_kept(refuses, tmp_path, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    (tmp_path / "owner.json").write_text("mine")
    refuses("key", f"path={tmp_path}/owner.json", saying=f"keystore {tmp_path}/owner.json: is there already; ")
    assert (tmp_path / "owner.json").read_text() == "mine"


def test_an_empty_password_makes_no_key(refuses, tmp_path, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "")
    refuses("key", f"path={tmp_path}/owner.json", saying=f"keystore {tmp_path}/owner.json: the password is empty; ")
    assert not (tmp_path / "owner.json").exists()


def test_compiling_says_what_changed(fl, monkeypatch):
    compiled = {"DevToken": {"abi": [], "bytecode": "0x" + "00" * 12, "solc": "0.8.30"}}
    monkeypatch.setattr("fl.cli.commands.compile.compile_contracts", lambda **settings: compiled)
    monkeypatch.setattr("fl.cli.commands.compile.write_artifacts", lambda artifacts: [])
    assert fl("compile").out == "DevToken: 12 bytes to deploy, solc 0.8.30, unchanged\n"


def test_compiling_without_the_packages_says_how_to_get_them(refuses, tmp_path):
    refuses(
        "compile", f"contracts={tmp_path}", saying=f"{tmp_path}/node_modules is incomplete; run `npm ci` in {tmp_path}"
    )


def test_help_waits_for_no_learning_library(python, environment):
    script = "import sys; sys.argv = ['fl', '--help']; from fl.cli.main import main; main(); print(sorted(sys.modules))"
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert "'torch'" not in done.stdout
    assert "'flwr'" not in done.stdout


def test_settings_of_a_start_that_opened_no_task_are_named_and_go_with_their_choice(fl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fl("coordinator", "data=csv", "data.path=none.csv", "data.target=ill", "budget=7")
    done = fl("coordinator", "data=holdout", "data.path=dealt")
    assert done.out.startswith(
        "coordinator has settings of an earlier start that opened no task, and they still apply: task.budget='7'; give one again to change "
        "it, or delete coordinator/settings.json to start afresh\n"
    )
    assert done.err.startswith("fl coordinator: there is no dealt; ")  # and no word of data.target
    assert "they still apply: data=holdout task.budget='7' data.path=dealt; " in fl("coordinator").out


def test_a_port_that_is_taken_is_told_before_anything_is_escrowed(fl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = fl("coordinator", "host=127.0.0.1", f"port={port}", "data=breast_cancer")
    assert done.err == (
        f"fl coordinator: the gateway cannot listen on 127.0.0.1:{port} (Address already in use); set port= to a free one, or host= to an "
        "address of this machine\n"
    )
    assert "opening the chain" not in done.out
