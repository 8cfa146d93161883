import json
import logging
import pickle
import stat
import subprocess
import time

import pytest

from fl.chain.accounts import (
    PASSWORD_FILE_VARIABLE,
    PASSWORD_VARIABLE,
    PASSWORDS,
    TestKeysElsewhere,
    anvil_account,
    ask_password,
    create_keystore,
    open_keystore,
    without_secrets,
)
from fl.chain.errors import KeystoreError


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """One keystore for the module: scrypt takes its time by design."""
    path = tmp_path_factory.mktemp("keys") / "deep" / "owner.json"
    return path, create_keystore(path, password="correct horse")


def test_a_keystore_is_readable_by_its_owner_only(stored):
    assert stat.S_IMODE(stored[0].stat().st_mode) == 0o600


def test_a_keystore_opens_with_its_password(stored):
    path, account = stored
    assert open_keystore(path, password="correct horse").key == account.key


def test_a_keystore_holds_no_key_in_the_clear(stored):
    path, account = stored
    assert account.key.hex() not in path.read_text()


def test_a_key_is_never_overwritten(stored):
    path, before = stored[0], stored[0].read_bytes()
    with pytest.raises(KeystoreError) as caught:
        create_keystore(path, password="another")
    assert str(caught.value) == f"keystore {path}: is there already; choose another path, keys are kept"
    assert path.read_bytes() == before


def test_a_kill_leaves_a_whole_keystore_or_none(tmp_path, python, environment):
    path = tmp_path / "killed.json"
    making = subprocess.Popen(
        [python, "-m", "fl.cli.main", "key", f"path={path}"],
        env={**environment, PASSWORD_VARIABLE: "correct horse"},
        stdout=subprocess.DEVNULL,
    )
    while not path.exists():  # a file that is there before its content is found empty here
        assert making.poll() is None
        time.sleep(0.002)
    making.kill()
    making.wait()
    assert open_keystore(path, password="correct horse").address


def test_a_keystore_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeystoreError) as caught:
        create_keystore(tmp_path / "file" / "deep" / "key.json", password="correct horse")
    assert caught.value.problem == "cannot be written (Not a directory); choose another path"


def test_a_wrong_password_is_named(stored):
    with pytest.raises(KeystoreError) as caught:
        open_keystore(stored[0], password="battery staple")
    assert str(caught.value) == f"keystore {stored[0]}: wrong password; set FAIRSHARE_PASSWORD or type it again"


def test_a_missing_keystore_is_named_with_how_to_make_one(tmp_path):
    path = tmp_path / "none.json"
    with pytest.raises(KeystoreError) as caught:
        open_keystore(path, password="x")
    assert str(caught.value) == f"keystore {path}: no such file; make one with `fl key path={path}`"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"no json", "is not a JSON keystore; pass the file `fl key` wrote"),
        (b"\xff\xfe\x00", "is not a JSON keystore; pass the file `fl key` wrote"),
        (b"{}", "is not a v3 keystore"),
        (b"[1]", "is not a v3 keystore"),
        (b'{"version": 3, "crypto": {}}', "is not a v3 keystore"),
    ],
)
def test_a_file_that_is_no_keystore_is_refused(tmp_path, content, problem):
    path = tmp_path / "garbage.json"
    path.write_bytes(content)
    with pytest.raises(KeystoreError) as caught:
        open_keystore(path, password="x")
    assert caught.value.problem == problem


def test_a_folder_is_no_keystore(tmp_path):
    with pytest.raises(KeystoreError, match="is a folder, and a file is expected; pass the file `fl key` wrote"):
        open_keystore(tmp_path, password="x")


def test_the_key_shows_in_no_text_and_no_log(stored, caplog):
    path, account = stored
    with caplog.at_level(logging.DEBUG):
        opened = open_keystore(path, password="correct horse")
        logging.getLogger("fl").info("%s %r", opened, opened)
    shown = f"{opened} {opened!r} {account!r} {caplog.text}"
    assert account.key.hex() not in shown
    assert str(int.from_bytes(account.key, "big")) not in shown


def test_the_key_shows_in_no_exception(stored, tmp_path):
    path, account = stored
    broken = json.loads(path.read_text())
    broken["crypto"]["ciphertext"] = account.key.hex()  # the worst that a keystore could hold
    damaged = tmp_path / "damaged.json"
    damaged.write_text(json.dumps(broken))
    with pytest.raises(KeystoreError) as caught:
        open_keystore(damaged, password="correct horse")
    error = caught.value
    assert account.key.hex() not in f"{error} {error!r} {error.__cause__!r}"
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_the_published_keys_are_anvils(account):
    assert account(0).address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


def test_the_published_keys_are_refused_on_any_other_chain():
    with pytest.raises(TestKeysElsewhere) as caught:
        anvil_account(0, chain_id=1)
    assert caught.value.chain_id == 1
    assert str(caught.value) == (
        "Anvil's test keys are published and only used on chain 31337, this is chain 1; make a keystore with "
        "`fl key path=FILE` and pass key=FILE"
    )
    assert pickle.loads(pickle.dumps(caught.value)).chain_id == 1


def test_the_password_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    assert ask_password(tmp_path) == "secret"


def test_the_password_comes_from_the_file_that_the_environment_names(monkeypatch, tmp_path):
    file = tmp_path / "password"
    file.write_text("secret word\n")
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    monkeypatch.setenv(PASSWORD_FILE_VARIABLE, str(file))
    assert ask_password(tmp_path) == "secret word"
    file.unlink()
    with pytest.raises(KeystoreError) as caught:
        ask_password(tmp_path / "key.json")
    assert str(caught.value) == (
        f"keystore {tmp_path}/key.json: its password file {file} is not there; check FAIRSHARE_PASSWORD_FILE"
    )


def test_an_empty_password_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv(PASSWORD_VARIABLE, "")
    with pytest.raises(KeystoreError, match="the password is empty; type one or set FAIRSHARE_PASSWORD"):
        ask_password(tmp_path)


def test_two_different_typed_passwords_are_refused(monkeypatch, tmp_path):
    typed = iter(["one", "other"])
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    monkeypatch.setattr("fl.chain.accounts.getpass", lambda prompt: next(typed))
    with pytest.raises(KeystoreError, match="the two passwords differ; start again"):
        ask_password(tmp_path, confirm=True)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "no such file; make one with"), ("import os", "is not a JSON keystore"), ("{}", "is not a v3")],
)
def test_nobody_types_a_password_for_a_file_that_is_no_keystore(monkeypatch, tmp_path, content, problem):
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    monkeypatch.setattr("fl.chain.accounts.getpass", lambda prompt: pytest.fail(f"asked: {prompt}"))
    with pytest.raises(KeystoreError, match=problem):
        ask_password(path)


def test_without_a_terminal_the_password_is_the_next_line_and_nothing_warns_of_an_echo(tmp_path, python, environment):
    key = tmp_path / "key.json"
    made = create_keystore(key, password="p w")
    asking = (
        "import sys; from pathlib import Path; from fl.chain.accounts import ask_password, open_keystore\n"
        "path = Path(sys.argv[1]); print(open_keystore(path, password=ask_password(path)).address)"
    )

    def asked(typed):
        known = {name: value for name, value in environment.items() if name != PASSWORD_VARIABLE}
        return subprocess.run(
            [python, "-c", asking, str(key)],
            input=typed,
            env=known,
            text=True,
            capture_output=True,
            start_new_session=True,
            check=False,
        )

    done = asked("p w\n")
    assert (done.stdout, done.stderr) == (made.address + "\n", "")
    assert asked("").stderr.rstrip().endswith("EOFError")


@pytest.mark.parametrize(
    "costs",
    [
        {"n": 1 << 40, "r": 8, "p": 1, "dklen": 32, "salt": "00"},
        {"n": 1 << 20, "r": 16, "p": 1, "dklen": 32, "salt": "00"},
        {"n": 2, "r": 1, "p": 10**9, "dklen": 32, "salt": "00"},
        {"c": 10**12, "dklen": 32, "prf": "hmac-sha256", "salt": "00"},
        {"n": "262144", "r": 8, "p": 1, "dklen": 32, "salt": "00"},
        [],
    ],
    ids=str,
)
def test_a_keystore_that_asks_for_all_memory_or_for_ever_is_refused_before_it_is_opened(tmp_path, monkeypatch, costs):
    monkeypatch.setattr("fl.chain.accounts.Account.decrypt", lambda *given: pytest.fail("it was opened"))
    path = tmp_path / "key.json"
    path.write_text(json.dumps({"version": 3, "crypto": {"kdf": "scrypt", "kdfparams": costs}}))
    with pytest.raises(KeystoreError) as caught:
        open_keystore(path, password="x")
    assert caught.value.problem == "is not a v3 keystore"


def test_what_the_keystores_library_raises_is_a_keystore_error(tmp_path, monkeypatch):
    def breaks(content, password):
        raise NotImplementedError("key material")

    monkeypatch.setattr("fl.chain.accounts.Account.decrypt", breaks)
    path = tmp_path / "key.json"
    path.write_text(json.dumps({"version": 3, "crypto": {"kdfparams": {"n": 2}}}))
    with pytest.raises(KeystoreError, match="is not a v3 keystore") as caught:
        open_keystore(path, password="x")
    assert "key material" not in f"{caught.value} {caught.value.__cause__!r}"


def test_a_child_is_given_nothing_that_unlocks_anything(monkeypatch):
    secret = (
        "FAIRSHARE_PASSWORD",
        "FAIRSHARE_PASSWORD_FILE",
        "AWS_SECRET_ACCESS_KEY",
        "MLFLOW_TRACKING_PASSWORD",
        "rpc_api_key",
    )
    for name in secret:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("FAIRSHARE_TORCH", "torch")
    assert not set(secret) & without_secrets().keys()
    assert set(secret) & without_secrets(but=PASSWORDS).keys() == set(PASSWORDS)
    assert without_secrets()["FAIRSHARE_TORCH"] == "torch"
    assert without_secrets().keys() >= {"PATH"}
