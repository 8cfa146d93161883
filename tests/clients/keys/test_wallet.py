import json

import pytest
from flwr.app import Context, RecordDict

from clients.keys.wallet import wallet_of
from fl.chain.accounts import PASSWORD_VARIABLE, TestKeysElsewhere, create_keystore
from fl.chain.errors import KeystoreError
from fl.chain.invite import BadInvite
from fl.errors import ConfigError


@pytest.fixture(scope="module")
def task(lasting_world):
    """A task that the tests of this module only read."""
    return lasting_world(joining=0)


@pytest.fixture(scope="module")
def keystore(tmp_path_factory):
    """A keystore and its account."""
    path = tmp_path_factory.mktemp("keys") / "owner.json"
    return path, create_keystore(path, password="secret")


def wallet(**settings):
    """The wallet of a node with this configuration; underscores stand for dashes."""
    config = {key.replace("_", "-"): value for key, value in settings.items()}
    return wallet_of(Context(run_id=1, node_id=2, node_config=config, state=RecordDict(), run_config={}))


def test_a_wallet_is_bound_to_the_invites_task(task):
    opened = wallet(invite=str(task.invite_path), anvil_account=5)
    assert opened.address == task.addresses[0]
    assert (opened.task_id, opened.coordinator, opened.domain) == (
        task.task.task_id,
        task.coordinator.address,
        task.task.domain,
    )


def test_a_wallet_shows_no_key(task):
    opened = wallet(invite=str(task.invite_path), anvil_account=5)
    assert opened.account.key.hex() not in f"{opened} {opened!r}"


def test_a_node_without_an_invite_is_refused():
    with pytest.raises(ConfigError) as caught:
        wallet(anvil_account=5)
    assert str(caught.value) == (
        "the node configuration lacks 'invite'; set it to the file of the task that you accept"
    )


def test_an_invite_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInvite, match="is not there; ask the coordinator for it"):
        wallet(invite=str(tmp_path / "none.json"), anvil_account=5)


def test_a_node_without_a_key_is_refused(task):
    with pytest.raises(ConfigError) as caught:
        wallet(invite=str(task.invite_path))
    assert str(caught.value) == "the node configuration names no key; set keystore to a file that `fl key` made"


def test_a_published_key_is_refused_on_another_chain(task, tmp_path):
    content = {**json.loads(task.invite_path.read_text()), "chain_id": 1}
    (tmp_path / "invite.json").write_text(json.dumps(content))
    with pytest.raises(TestKeysElsewhere):
        wallet(invite=str(tmp_path / "invite.json"), anvil_account=5)


def test_a_keystore_opens_with_a_password_file(task, keystore, tmp_path):
    password = tmp_path / "password"
    password.write_text("secret\n")
    opened = wallet(invite=str(task.invite_path), keystore=str(keystore[0]), password_file=str(password))
    assert opened.address == keystore[1].address


def test_a_keystore_opens_with_the_password_of_the_environment(task, keystore, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    assert wallet(invite=str(task.invite_path), keystore=str(keystore[0])).address == keystore[1].address


def test_a_wrong_password_is_refused(task, keystore, tmp_path):
    password = tmp_path / "password"
    password.write_text("wrong")
    with pytest.raises(KeystoreError, match="wrong password"):
        wallet(invite=str(task.invite_path), keystore=str(keystore[0]), password_file=str(password))


def test_a_password_file_that_is_not_there_is_named(task, keystore, tmp_path):
    with pytest.raises(KeystoreError, match=f"the password file {tmp_path}/none is not there; name another"):
        wallet(invite=str(task.invite_path), keystore=str(keystore[0]), password_file=str(tmp_path / "none"))
