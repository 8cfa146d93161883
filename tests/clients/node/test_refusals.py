"""What `fl client` says instead of starting; nothing is staked then, and nothing sent."""

import json
import socket
from dataclasses import replace

import pytest

from clients.errors import (
    FolderInUse,
    ForeignFolder,
    GatewayUnreachable,
    JoinedElsewhere,
)
from clients.joining.preview import preview
from clients.joining.purse import NotFunded
from clients.node.folder import NodeFolder
from fl.chain.accounts import PASSWORD_VARIABLE, create_keystore
from fl.chain.errors import ChainUnreachable, KeystoreError
from fl.chain.invite import BadInvite
from fl.chain.membership import GatewayNotSigned, InviteDiffers, TaskOver, join
from fl.cli.commands.client import main as client
from fl.cli.commands.client import saying_what_stays
from fl.cli.commands.join import main as join_alone
from fl.cli.commands.leave import main as leave
from fl.cli.commands.status import main as status
from fl.coordinator.gateway.bundle_api import archive_router
from fl.coordinator.gateway.proxy import running_gateway
from fl.coordinator.superlink.certificates import own_tls
from fl.errors import ConfigError
from fl.task.data import DataError
from fl.task.trust import UntrustedCode


@pytest.fixture
def task(new_world, spec, table_schema, tmp_path, request):
    """A task of tables behind a gateway without a SuperLink, and what an owner types for it."""
    names = getattr(request, "param", ("0", "1"))
    opened = new_world(joining=0, rounds=1, spec=spec(schema=table_schema, class_names=names))
    tls = own_tls(tmp_path / "tls", names=[])
    shard = tmp_path / "shard.csv"
    shard.write_text("a,b,c,label\n1,2,3,0\n4,5,6,1\n")
    with running_gateway("127.0.0.1", 0, tls=tls, routers=[archive_router(tmp_path, task=opened.task)]) as gateway:
        invite = opened.invite.served_at(
            f"https://127.0.0.1:{gateway.port}", ca=tls.ca, coordinator=opened.task.coordinator
        )
        typed = {
            "invite": invite.to_string(),
            "data": str(shard),
            "anvil": "5",
            "folder": str(tmp_path / "node"),
            "accept": "true",
        }
        yield (
            opened,
            invite,
            lambda **changes: [f"{key}={value}" for key, value in {**typed, **changes}.items() if value is not None],
        )
        assert opened.task.state().clients == getattr(opened, "joined", 0), "somebody staked"


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_invite_of_one_machine_has_no_gateway(task):
    opened, _, typed = task
    with pytest.raises(ConfigError, match="has no gateway, so its task runs on one machine"):
        client(typed(invite=str(opened.invite_path)))


def test_a_gateway_that_does_not_answer_is_named_before_anything_is_staked(task):
    opened, invite, typed = task
    port = free_port()
    gone = invite.served_at(f"https://127.0.0.1:{port}", ca=invite.ca, coordinator=opened.task.coordinator)
    with pytest.raises(GatewayUnreachable) as caught:
        client(typed(invite=gone.to_string()))
    assert str(caught.value).startswith(f"the coordinator's gateway https://127.0.0.1:{port} cannot be reached (")
    assert str(caught.value).endswith("check this machine's network and the invite, and whether the coordinator runs")


def test_another_server_in_the_gateways_place_is_no_gateway(task, tmp_path):
    opened, invite, typed = task

    def of(ca):
        return invite.served_at(invite.gateway, ca=ca, coordinator=opened.task.coordinator).to_string()

    with pytest.raises(GatewayUnreachable, match="certificate.*; this machine's clock says 2"):
        client(typed(invite=of(own_tls(tmp_path / "other", names=[]).ca)))
    with pytest.raises(GatewayUnreachable, match="the invite's certificate cannot be read"):
        client(typed(invite=of("nonsense")))


@pytest.mark.parametrize(
    "changes",
    [
        {"gateway": "https://127.0.0.1:1"},
        {"ca": "another"},
        {"ca": ""},
        {"name": "Heart disease, double pay"},
        {"description": "of somebody else"},
        {"signature": ""},
        {"signature": "0x" + "11" * 65},
    ],
    ids=lambda changes: "-".join(f"{key}={value[:6]}" for key, value in changes.items()),
)
@pytest.mark.parametrize("command", ["client", "join"])
def test_an_invite_that_somebody_changed_leads_nowhere(task, command, changes):
    """Who gets a node to another gateway would be sent its updates: nothing is asked of that gateway, and nobody joins."""
    opened, invite, typed = task
    changed = replace(invite, **changes)
    run = client if command == "client" else join_alone
    words = typed(invite=changed.to_string())
    if command == "join":
        words = [f"invite={changed.to_string()}", "stake=2", "anvil=5", "accept=true"]
    with pytest.raises(GatewayNotSigned) as caught:
        run(words)
    assert str(caught.value) == (
        f"the invite leads to {changed.gateway}, and the task's coordinator {opened.task.coordinator.address} has not signed that its "
        "gateway is there; somebody else may be waiting for your updates, so do not join, and ask the coordinator for its invite"
    )


def test_another_accounts_signature_under_a_gateway_does_not_count(task):
    opened, invite, typed = task
    changed = invite.served_at("https://127.0.0.1:1", ca=invite.ca, coordinator=opened.sponsor)
    with pytest.raises(GatewayNotSigned, match="has not signed that its gateway is there"):
        client(typed(invite=changed.to_string()))


def test_a_chain_that_does_not_answer_is_named(task):
    _, invite, typed = task
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ChainUnreachable, match=f"no chain answers at {url}"):
        client(typed(invite=replace(invite, url=url).to_string()))


def test_an_invite_that_the_chain_does_not_know_is_refused(task):
    opened, invite, typed = task
    with pytest.raises(InviteDiffers, match="do not join"):
        client(typed(invite=replace(invite, coordinator=opened.sponsor.address).to_string()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anvil": "me"}, "anvil is 'me'; write the index of a test account, or key=FILE"),
        ({"accept": "yes"}, "accept is 'yes'; write accept=true or accept=false"),
        ({"threads": "0"}, "threads is '0'; write a whole number, 1 or more"),
        ({"app": "no_such_package:app"}, "app is 'no_such_package:app': No module named"),
        ({"data": None}, "data is not set"),
        ({"decimal": "coma"}, "decimal is 'coma'; known are point, comma, either; did you mean comma"),
        ({"stake": "much"}, "stake is 'much'; write a number of tokens"),
    ],
)
def test_a_setting_that_is_wrong_is_named(task, changes, message):
    _, _, typed = task
    with pytest.raises(ConfigError, match=message):
        client(typed(**changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "shard.csv"),
        ("a,b,label\n1,2,0\n", "'c'|c"),
        ("a,b,c,label\n1,2,3,7\n", "7"),
        ("a,b,c,label\n1,two,3,0\n", "two"),
        ("a,b,c,label\n", "row"),
    ],
)
def test_a_shard_that_does_not_fit_is_refused_with_the_reason(task, tmp_path, content, message):
    _, _, typed = task
    path = tmp_path / "shard.csv"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        client(typed())


def test_a_table_that_is_written_otherwise_is_named_before_anything_is_staked_and_read_once_that_is_said(
    task, tmp_path, monkeypatch, capsys
):
    opened, _, typed = task
    opened.token.mint(opened.addresses[0], 10**18, account=opened.clients[0])  # what two rows stake
    (tmp_path / "shard.csv").write_text("a;b;c;label\n1,5;2;3;0\n4;5;6;one\n")
    with pytest.raises(DataError, match="column 'a' holds '1,5'; expected a number; set decimal=comma$"):
        client(typed(label_map="one:1"))
    with pytest.raises(DataError, match="has the label 'one'.*classes of the task"):
        client(typed(decimal="comma"))
    monkeypatch.setattr("builtins.input", lambda question: "")
    client(typed(accept=None, decimal="comma", label_map="one:1"))
    printed = capsys.readouterr().out
    assert printed.index("classes: 0 1, 1 1") < printed.index("you stake")  # what was understood comes first
    assert json.loads((tmp_path / "node" / "data.json").read_text())["classes"] == {"0": 1, "1": 1}


@pytest.fixture
def keystore(tmp_path, monkeypatch):
    """An owner's keystore and its password in the environment."""
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    path = tmp_path / "owner.json"
    create_keystore(path, password="secret")
    return path


def test_a_wrong_password_is_refused(task, keystore, monkeypatch):
    _, _, typed = task
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong")
    with pytest.raises(KeystoreError, match="wrong password; set FAIRSHARE_PASSWORD or type it again"):
        client(typed(key=str(keystore), anvil=None))


def test_a_keystore_that_others_can_read_is_refused(task, keystore):
    _, _, typed = task
    keystore.chmod(0o644)
    with pytest.raises(KeystoreError, match=f"can be read by others; run chmod 600 {keystore}"):
        client(typed(key=str(keystore), anvil=None))


def test_a_password_that_nobody_types_is_asked_for_in_words(task, keystore, monkeypatch):
    _, _, typed = task
    monkeypatch.delenv(PASSWORD_VARIABLE)

    def nobody(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("fl.chain.accounts.getpass", nobody)
    with pytest.raises(KeystoreError, match="nobody is there to type it; set FAIRSHARE_PASSWORD"):
        client(typed(key=str(keystore), anvil=None))


def test_a_new_keystore_is_made_and_lacks_tokens(task, keystore, tmp_path, capsys):
    _, _, typed = task
    path = tmp_path / "new.json"
    with pytest.raises(NotFunded) as caught:  # before the question, and in tokens
        client(typed(key=str(path), anvil=None, stake="1", accept=None))
    printed = capsys.readouterr().out
    assert str(caught.value).startswith(f"send 1 token ({task[0].token.address}) for the stake and 0.")
    assert "it has no faucet; on a devnet `fl mint` makes tokens); nothing was signed or sent" in str(caught.value)
    assert f"made the keystore {path} of 0x" in printed
    assert json.loads(path.read_text())["address"]
    assert path.stat().st_mode & 0o777 == 0o600
    for told in (
        "you have",
        "you stake",
        "gas",
        "you may earn",
        "differs",
        "you sign",
        "you send",
        "scored by",
        "deadlines",
    ):
        assert told in printed


@pytest.fixture
def funded(task):
    """The task, whose first client has the tokens for its stake."""
    opened, *_ = task
    opened.token.mint(opened.addresses[0], 2 * 10**18, account=opened.sponsor)
    return task


def test_ctrl_c_at_the_question_says_that_nothing_was_sent(funded, monkeypatch, capsys):
    def interrupted(question):
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    with pytest.raises(SystemExit) as caught:
        client(funded[2](accept=None))
    assert caught.value.code == 130
    assert capsys.readouterr().out.endswith("\nnothing was signed or sent\n")


def test_without_a_yes_nothing_is_sent(funded, monkeypatch, capsys, tmp_path):
    _, _, typed = funded
    monkeypatch.setattr("builtins.input", lambda question: "")
    client(typed(accept=None))
    printed = capsys.readouterr().out
    assert printed.endswith("nothing was signed or sent\n")
    assert "8 values" in printed
    assert not (tmp_path / "node" / "node_key").exists()


HIDING = "\x1b[8m\r\n\x1b[1A\x1b[2K\u202e  you stake     0 tokens" + "─" * 200


@pytest.mark.parametrize("task", [(HIDING, "\x9b2J1")], indirect=True)
def test_no_word_of_the_coordinators_moves_or_hides_a_line_of_the_question(funded, monkeypatch, capsys):
    _, invite, typed = funded
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("builtins.input", lambda question: print(question) or "")
    client(typed(accept=None, stake="2"))
    lines = capsys.readouterr().out.split("\n")
    assert all(line.isprintable() for line in lines)
    assert [line.split("  ")[1] for line in lines if line.startswith("  you stake")] == ["you stake"]
    (data,) = [line for line in lines if line.startswith("  your data")]
    assert data == (
        "  your data    2 rows (1 ?[8m ?[1A?[2K? you stake 0 tokens────────────────…, 1 ?2J1), columns matched by name; they stay on "
        "this machine"
    )
    assert lines[-3] == "stake 2 tokens and take part? [y/N] "
    with pytest.raises(BadInvite) as caught:
        client(typed(invite=replace(invite, gateway="https://\x1b[8m127.0.0.1").to_string()))
    assert "is not one (gateway is 'https://\\x1b[8m127.0.0.1')" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_model_that_is_no_module_is_not_built(new_world, spec, table_schema, tmp_path):
    touched = tmp_path / "touched"
    hostile = spec(
        schema=table_schema,
        class_names=("0", "1"),
        model="torch.nn:Linear",
    )
    opened = new_world(joining=0, spec=hostile)
    for model, arguments in (
        ("subprocess:run", {"args": ["touch", str(touched)]}),
        ("torch.nn.parameter:torch", {}),
        ("fl.task.models:build_model", {"path": f"pathlib:{touched}", "arguments": {}, "seed": 0}),
    ):
        raw = {**json.loads(opened.spec.to_json()), "model": model, "model_arguments": arguments}
        with pytest.raises((UntrustedCode, ConfigError), match="is neither Fairshare's nor a torch.nn module"):
            preview(json.dumps(raw))
    assert not touched.exists()


def test_one_folder_is_one_node(task, tmp_path):
    _, _, typed = task
    with NodeFolder(path=tmp_path / "node").held(), pytest.raises(FolderInUse) as caught:
        client(typed())
    assert str(caught.value) == f"a node already runs in {tmp_path}/node; stop it first, or name another folder=…"


def test_a_folder_of_another_account_or_task_is_refused(task, tmp_path):
    opened, invite, typed = task
    folder = NodeFolder(path=tmp_path / "node")
    folder.bind(invite=invite, account=opened.addresses[1])
    with pytest.raises(ForeignFolder, match=f"belongs to account {opened.addresses[1]}, not {opened.addresses[0]}"):
        client(typed())
    other = NodeFolder(path=tmp_path / "other")
    other.bind(invite=replace(invite, task_id="0x" + "cd" * 32), account=opened.addresses[0])
    with pytest.raises(ForeignFolder, match="belongs to task 0xcdcd"):
        client(typed(folder=str(other.path)))


def test_an_account_that_joined_with_another_node_key_is_refused(task, tmp_path):
    opened, invite, typed = task
    opened.joined = 1
    opened.token.mint(opened.addresses[0], 10**18, account=opened.sponsor)
    join(invite, account=opened.clients[0], stake=10**18, node_key=b"another", dataset=bytes(32))
    with pytest.raises(
        JoinedElsewhere, match=f"joined with another node key than {tmp_path}/node/node_key; start it with"
    ):
        client(typed())


def test_who_leaves_before_the_start_has_its_stake_back_at_once(task, tmp_path, capsys):
    opened, _, typed = task
    opened.joined = 1
    opened.token.mint(opened.addresses[0], 2 * 10**18, account=opened.sponsor)
    # `fl join` binds the key of the node's folder as well.
    join_alone([argument for argument in typed(stake="2") if not argument.startswith("data=")])
    assert opened.task.enrolments()[opened.addresses[0]].node_key == NodeFolder(path=tmp_path / "node").node_key()
    node = f"folder={tmp_path / 'node'}"
    status([node])
    assert "staked now: 2 tokens, back when the task is closed" in capsys.readouterr().out
    leave([node, "anvil=5", "accept=true"])  # before the start nothing is at stake
    printed = capsys.readouterr().out
    assert "it never took part" in printed
    assert "got 2 tokens back" in printed
    opened.joined = 0  # as if it never had: it may come again
    status([node])
    assert "has not joined" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="never joined task"):
        leave([node, "anvil=5"])


@pytest.mark.parametrize(
    ("rounds", "when"),
    [
        (1, "when the task is closed, which anybody may do once it is complete and its last round final"),
        (2, "once round 1 is posted and its challenge window is over, or the task is closed"),
    ],
)
def test_who_leaves_in_a_round_hears_when_the_stake_comes_back(new_world, spec, table_schema, capsys, *, rounds, when):
    opened = new_world(joining=0, rounds=rounds, spec=spec(schema=table_schema, class_names=("0", "1")))
    invite = opened.invite
    for account in opened.clients[:2]:
        opened.token.mint(account.address, 10**18, account=opened.sponsor)
        join(invite, account=account, stake=10**18, node_key=b"", dataset=bytes(32))
    opened.task.start()
    leave([f"invite={invite.to_string()}", "anvil=5", "accept=true"])
    printed = capsys.readouterr().out
    assert "no weight from round 2 on" in printed
    assert f"the stake comes back {when}; run `fl leave` again then" in printed


def test_leaving_and_status_need_to_know_the_task(task, tmp_path, monkeypatch, capsys):
    opened, invite, _ = task
    monkeypatch.chdir(tmp_path)
    (tmp_path / "invite.json").unlink(missing_ok=True)
    with pytest.raises(
        ConfigError, match="/node is not a folder of a task, and no invite is named; add folder=… or invite=…"
    ):
        status([])
    with pytest.raises(ConfigError, match="key is not set and there is no wallet.json here; add key=KEYSTORE"):
        leave([f"invite={invite.to_string()}"])
    with pytest.raises(ConfigError, match="never joined task 0x"):
        leave([f"invite={invite.to_string()}", "anvil=6"])
    with pytest.raises(ConfigError, match="account is 'me', which is not an address"):
        status([f"invite={invite.to_string()}", "account=me"])
    status([f"invite={invite.to_string()}", f"account={opened.addresses[2]}"])
    assert f"{opened.addresses[2]} has not joined" in capsys.readouterr().out


def test_a_task_that_is_over_takes_nobody_and_makes_no_wallet(task, devnet, tmp_path):
    opened, _, typed = task
    devnet(opened.w3, "evm_increaseTime", 2000)
    devnet(opened.w3, "evm_mine")
    opened.escrow.expire(opened.task.task_id, account=opened.sponsor)
    with pytest.raises(TaskOver, match="is closed and takes no more clients"):
        client(typed())
    with pytest.raises(TaskOver, match="is closed and takes no more clients"):
        client(typed(anvil=None, key=tmp_path / "new.json"))
    assert not (tmp_path / "new.json").exists()


def test_whoever_stops_a_node_reads_that_it_is_a_client_still_and_how_it_goes_on(account, capsys):
    with pytest.raises(KeyboardInterrupt), saying_what_stays(account(5)):
        raise KeyboardInterrupt
    assert capsys.readouterr().out[9:] == (
        f"stopped; {account(5).address} is still a client, with its stake in the contract: the same command goes on where it was, "
        "`fl status` shows where one stands, `fl leave` ends it\n"
    )
