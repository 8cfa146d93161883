"""A keystore's password in the system's keyring, and what happens on a machine that has none."""

import sys

import pytest

from fl.chain.accounts import PASSWORDS, ask_password, create_keystore, open_keystore
from fl.chain.invite import Invite
from fl.chain.system_keyring import SERVICE, NoKeyring, keep_password, keyring_password, new_password
from fl.cli.commands import client

keyring = pytest.importorskip("keyring")
backend = pytest.importorskip("keyring.backend")


class Memory(backend.KeyringBackend):
    """Keeps passwords as a desktop's keyring does; `refuses` is one that is locked."""

    priority = 1

    def __init__(self, *, refuses=False, forgets=False):
        super().__init__()
        self.kept, self.refuses, self.forgets = {}, refuses, forgets

    def get_password(self, service, username):
        if self.refuses:
            raise keyring.errors.KeyringLocked("locked")
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        if self.refuses:
            raise keyring.errors.KeyringLocked("locked")
        if not self.forgets:
            self.kept[service, username] = password


@pytest.fixture
def use(monkeypatch):
    """Puts a keyring in place, and takes it away again; no password is in the environment, and none is typed."""
    for name in PASSWORDS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("fl.chain.accounts.getpass", lambda prompt: pytest.fail(f"asked: {prompt}"))
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


def test_a_password_that_was_kept_is_not_asked_for(use, tmp_path):
    memory = Memory()
    use(memory)
    path = tmp_path / "wallet.json"
    keep_password(path, "secret words")
    assert memory.kept == {(SERVICE, str(path)): "secret words"}
    assert ask_password(path) == "secret words"
    assert keyring_password(tmp_path / "other.json") is None


def test_the_environment_comes_first(use, monkeypatch, tmp_path):
    use(Memory())
    keep_password(tmp_path / "wallet.json", "in the keyring")
    monkeypatch.setenv(PASSWORDS[0], "in the environment")
    assert ask_password(tmp_path / "wallet.json") == "in the environment"


@pytest.mark.parametrize(
    ("broken", "why"), [(Memory(refuses=True), "KeyringLocked: locked"), (Memory(forgets=True), "it kept nothing")]
)
def test_a_keyring_that_does_not_keep_it_is_said_to(use, tmp_path, broken, why):
    use(broken)
    with pytest.raises(NoKeyring, match=f"this system's keyring cannot be used \\({why}"):
        keep_password(tmp_path / "wallet.json", "secret")
    assert keyring_password(tmp_path / "wallet.json") is None


def test_without_the_package_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setattr("fl.chain.system_keyring.importlib.util.find_spec", lambda name: None)
    assert keyring_password(tmp_path / "wallet.json") is None
    with pytest.raises(NoKeyring, match="pip install 'fairshare\\[keyring\\]' brings it"):
        keep_password(tmp_path / "wallet.json", "secret")


@pytest.fixture
def wallet(tmp_path):
    """What `fl client` makes of its settings: the account, without a question that was not foreseen."""
    invite = Invite.__new__(Invite)
    return lambda **values: client._wallet({"key": str(tmp_path / "wallet.json"), **values}, invite=invite)


def test_a_new_wallet_makes_its_password_up_and_opens_again_without_a_word(use, wallet, capsys, tmp_path):
    memory = Memory()
    use(memory)
    made = wallet(keyring="true")
    (password,) = memory.kept.values()
    assert len(password) == len(new_password()) == 43
    assert "its password is in this system's keyring" in capsys.readouterr().out
    assert wallet().address == made.address


def test_an_old_wallet_is_asked_for_once(use, wallet, monkeypatch, tmp_path):
    use(Memory())
    old = create_keystore(tmp_path / "wallet.json", password="typed")
    monkeypatch.setattr("fl.chain.accounts.getpass", lambda prompt: "typed")
    assert wallet(keyring="true").address == old.address
    monkeypatch.setattr("fl.chain.accounts.getpass", lambda prompt: pytest.fail("asked again"))
    assert wallet().address == old.address


def test_without_a_keyring_the_owner_thinks_of_one(use, wallet, monkeypatch, capsys, tmp_path):
    use(Memory(refuses=True))
    monkeypatch.setattr("fl.chain.accounts.getpass", lambda prompt: "of my own")
    made = wallet(keyring="true")
    said = capsys.readouterr().out
    assert "this system's keyring cannot be used (KeyringLocked: locked), so its password is asked for" in said
    assert "keep it and its password, nobody can restore them" in said
    assert open_keystore(tmp_path / "wallet.json", password="of my own").address == made.address
