"""`fl audit` finds every change that is made to a task's bundles, and its line says what was changed."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load, save

from fl.bundle.format import Bundle, read_header, write_header
from fl.bundle.store import BundleStore
from fl.bundle.validation_set import VALIDATION, write_validation
from fl.chain.invite import Invite
from fl.chain.tokens import tokens
from fl.codec import Blocks
from fl.task.spec import TaskSpec
from fl.task.strategies import build_strategy


@pytest.fixture(scope="module")
def world(lasting_world):
    """Three rounds that are on chain."""
    world = lasting_world(rounds=3, evaluators=2, quorum=2)
    world.run(world.app(world.downhill))
    return world


@pytest.fixture
def run(world, tmp_path):
    """A copy of the coordinator's folder: invite, bundles, validation set."""
    folder = tmp_path / "run"
    shutil.copytree(world.folder / "bundles", folder / "bundles")
    world.invite.write(folder / "invite.json")
    write_validation(folder / VALIDATION, world.validation)
    return folder


@pytest.fixture
def finds(fl, run):
    """Audits the folder, which has to differ in one round and be fine in the others; returns what its line says."""

    def audit(*arguments, rounds=(2,)):
        done = fl("audit", run, *arguments)
        assert done.code == 1, done.out
        assert done.err == ""
        lines = [line for line in done.out.splitlines() if line.startswith("round ")]
        assert [number for number, line in enumerate(lines, start=1) if "DIFFERS" in line] == list(rounds), done.out
        assert done.out.splitlines()[-1].startswith(f"{len(rounds)} of 3 rounds differ{'s' * (len(rounds) == 1)}: ")
        return "\n".join(line for line in lines if "DIFFERS" in line)

    return audit


def bundle(run, number=2):
    """A round's folder."""
    return run / "bundles" / f"round-{number:04d}"


def edit(run, change, *, number=2, consistent=False):
    """Change round.json; `consistent` makes manifest and header fit again, as far as whoever has no keys can."""
    path = bundle(run, number) / "round.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw, sort_keys=True, separators=(",", ":")) + "\n")
    if consistent:
        refit(run, "round.json", number=number)


def refit(run, name, *, number=2):
    """Make manifest and header fit a changed file."""
    folder = bundle(run, number)
    sums = json.loads((folder / "manifest.json").read_text())
    sums[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    text = json.dumps(sums, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    (folder / "manifest.json").write_bytes(text)
    header, signatures = read_header(folder)
    changed = {**vars(header), "bundle": hashlib.sha256(text).digest()}
    write_header(folder, type(header)(**changed), signatures=signatures)


# ---- what is fine -------------------------------------------------------------------------------------------------------


def test_an_honest_task_is_fine(fl, run, world):
    done = fl("audit", run)
    assert (done.code, done.err) == (0, "")
    first, *lines = done.out.splitlines()
    assert first.startswith(
        f"task {world.invite.task_id} on chain 31337: started, 3 of 3 rounds, 1,000 of 1,000 tokens"
    )
    assert [line.split("  direction")[0].split() for line in lines] == [
        ["round", str(number), "ok"] for number in (1, 2, 3)
    ]
    assert all(float(line.rsplit(" ", 1)[1]) < 1e-4 for line in lines)


def test_the_one_line_invite_and_any_storage_do_as_well(fl, run, world):
    store = BundleStore.at("memory://audited")
    for report in world.reports:
        store.put(report.round, report.bundle)
    done = fl("audit", world.invite.to_string(), "bundles=memory://audited", f"validation={run / VALIDATION}")
    assert (done.code, done.err) == (0, "")
    assert done.out.count(" ok ") == 3


def test_without_the_validation_set_everything_but_the_direction_is_checked(fl, run):
    (run / VALIDATION).unlink()
    done = fl("audit", run)
    assert done.code == 1
    assert done.out.splitlines()[-2:] == [
        "not checked in rounds 1–3: the direction (the validation set is not here)",
        "nothing differs, but not everything could be checked, so the status is 1; partial=true makes it 0",
    ]
    known = fl("audit", run, "partial=true")
    assert known.code == 0
    assert known.out.splitlines() == done.out.splitlines()[:-1]


@pytest.fixture(scope="module")
def remembering(lasting_world):
    """Three rounds of FedAdam, whose next model follows from all of them."""
    arguments = {"eta": 0.05, "tau": 0.01}
    told = TaskSpec(
        model="torch.nn:Linear", model_arguments={"in_features": 3, "out_features": 2}, feature_shape=(3,), num_classes=2,
        strategy="fedadam", strategy_arguments=arguments,
    )  # fmt: skip
    world = lasting_world(rounds=3, spec=told)
    world.run(world.app(world.downhill), build_strategy("fedadam", arguments))
    write_validation(world.folder / VALIDATION, world.validation)
    return world


def test_the_models_of_a_strategy_that_remembers_are_followed(fl_process, remembering, tmp_path):
    # In a process of its own: Flower's strategies want to know whose messages these are, and here nobody sent any.
    done = fl_process("audit", remembering.folder, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(" ok  direction within") == 3
    assert "not checked" not in done.stdout


def test_without_the_first_round_the_later_models_are_left_unchecked_and_it_says_so(fl, remembering, tmp_path):
    bundles = shutil.copytree(remembering.folder / "bundles", tmp_path / "bundles")
    BundleStore.at(str(bundles)).prune(keep=2)
    done = fl("audit", remembering.folder, f"bundles={bundles}")
    assert done.code == 1
    assert (
        "not checked in rounds 2–3: the next model (fedadam remembers, and base.safetensors cannot be read" in done.out
    )


# ---- one change of each kind --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["base.safetensors", "next.safetensors", "direction.blocks", "updates"])
def test_one_byte(run, finds, name):
    path = next((bundle(run) / "updates").iterdir()) if name == "updates" else bundle(run) / name
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert f"{path.relative_to(bundle(run))} has sha256" in finds()


@pytest.mark.parametrize("name", ["manifest.json", "header.json", "round.json"])
def test_one_byte_of_what_everybody_is_given(run, finds, name):
    path = bundle(run) / name
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    assert name in finds()


def test_one_float(run, finds):
    path = bundle(run) / "base.safetensors"
    arrays = load(path.read_bytes())
    arrays["weight"] = arrays["weight"].copy()
    arrays["weight"][0, 1] += 0.5
    path.write_bytes(save(arrays))
    told = finds()
    assert "base.safetensors has sha256" in told
    assert "1 of 8 values differs from the neighbouring round's, by up to 0.5" in told
    assert "the base model is 0x" in told


def test_one_float_of_the_direction_even_if_hashes_are_refitted(run, finds):
    path = bundle(run) / "direction.blocks"
    values = Blocks.from_bytes(path.read_bytes(), size=8).decode()
    path.write_bytes(Blocks.encode(values + np.eye(8)[0] * np.abs(values).max()).to_bytes())
    refit(run, "direction.blocks")
    told = finds()
    assert "header.json's bundle is 0x" in told
    # Whoever refits the manifest is not who posted the round: nothing more is read because it is named there.
    assert "manifest.json has sha256 " in told


@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize("field", ["score", "total", "cumulative", "weight"])
def test_one_leaf(run, finds, field, consistent):
    accounts = []

    def change(raw):
        leaf = raw["leaves"][1]
        accounts.append((leaf["account"], int(leaf[field])))
        leaf[field] = str(int(leaf[field]) + 1)

    edit(run, change, consistent=consistent)
    told = finds()
    account, value = accounts[0]
    seen = "total" if field == "score" else field  # a score shows in the total that it should lead to
    assert f"{seen} of" in told
    assert account in told
    assert str(value) in told or field == "score"


def test_one_weight(run, finds):
    seen = []

    def change(raw):
        update = raw["updates"][0]
        update["weight"] = str(int(update["weight"]) - 7)
        seen.append(update)

    edit(run, change, consistent=True)
    told = finds()
    assert (
        f"the weight of the leaf of {seen[0]['account']} is {int(seen[0]['weight']) + 7}, recomputed {seen[0]['weight']}"
        in told
    )


def test_one_weight_in_update_and_leaf(run, finds):
    def change(raw):
        update = raw["updates"][0]
        leaf = next(leaf for leaf in raw["leaves"] if leaf["account"] == update["account"])
        update["weight"] = leaf["weight"] = str(int(update["weight"]) + 1)

    edit(run, change, consistent=True)
    assert "the weight of 0x" in finds()


def test_one_price(run, finds):
    edit(run, lambda raw: raw.update(price=str(int(raw["price"]) + 1)), consistent=True)
    price = read_header(bundle(run))[0].price
    assert f"the price of round.json is {price + 1}, recomputed {price}" in finds()


def test_one_price_in_the_header(run, finds):
    header, signatures = read_header(bundle(run))
    write_header(bundle(run), type(header)(**{**vars(header), "price": header.price + 1}), signatures=signatures)
    assert f"header.json's price is {header.price + 1}, posted {header.price}" in finds()


def test_one_stake(run, finds):
    edit(run, lambda raw: raw["updates"][2].update(stake="1"), consistent=True)
    assert "the stake of 0x" in finds()


def test_one_signature_of_a_client(run, finds):
    def change(raw):
        first, second = raw["updates"][:2]
        first["signature"], second["signature"] = second["signature"], first["signature"]

    edit(run, change, consistent=True)
    assert "the signer of 0x" in finds()


def test_one_signature_of_an_evaluator(run, finds):
    header, signatures = read_header(bundle(run))
    other = read_header(bundle(run, 3))[1]
    write_header(bundle(run), header, signatures=[signatures[0], other[1]])
    told = finds()
    assert "signature 2 of header.json is by" in told
    assert "header.json has signatures of 1 evaluator, the quorum is 2" in told


def test_a_signature_that_is_gone(run, finds):
    header, signatures = read_header(bundle(run))
    write_header(bundle(run), header, signatures=signatures[:1])
    assert "header.json has signatures of 1 evaluator, the quorum is 2" in finds()


@pytest.mark.parametrize("what", ["leaves", "updates"])
def test_another_order(run, finds, what):
    edit(run, lambda raw: raw[what].reverse(), consistent=True)
    assert f"the order of the {what} is 0x" in finds()


def test_a_dropped_client(run, finds):
    gone = []

    def change(raw):
        gone.append(raw["leaves"].pop(1)["account"])
        raw["updates"] = [update for update in raw["updates"] if update["account"] != gone[0]]

    edit(run, change, consistent=True)
    assert f"the leaf of {gone[0]} is absent, recomputed there: it is enrolled" in finds()


def test_a_dropped_update(run, finds):
    path = next((bundle(run) / "updates").iterdir())
    path.unlink()
    assert f"updates/{path.name} is missing, while others of the round are here" in finds()


@pytest.mark.parametrize(
    "name", ["base.safetensors", "next.safetensors", "direction.blocks", "round.json", "header.json"]
)
def test_a_dropped_file(run, finds, name):
    (bundle(run) / name).unlink()
    assert name in finds()


def test_a_dropped_manifest(run, finds):
    (bundle(run) / "manifest.json").unlink()
    assert "manifest.json cannot be read" in finds()


def test_a_dropped_round(run, finds):
    shutil.rmtree(bundle(run))
    assert "header.json cannot be read" in finds()


def test_rounds_in_another_order(run, finds):
    bundle(run, 2).rename(run / "aside")
    bundle(run, 3).rename(bundle(run, 2))
    (run / "aside").rename(bundle(run, 3))
    told = finds(rounds=(2, 3))
    assert "header.json's round is 3, posted 2" in told
    assert "header.json's round is 2, posted 3" in told


def test_another_tasks_bundle(run, finds, lasting_world):
    other = lasting_world(rounds=3, evaluators=2, quorum=2)
    other.run(other.app(other.downhill))
    shutil.rmtree(bundle(run))
    shutil.copytree(other.reports[1].bundle, bundle(run))
    assert "header.json's task id is 0x" in finds()


def test_another_previous_round_in_round_json(run, finds):
    def change(raw):
        raw["previous"][0]["cumulative"] = "1"

    edit(run, change, consistent=True)
    assert "of the previous leaves is" in finds()


# ---- a client's part ----------------------------------------------------------------------------------------------------


@pytest.fixture
def client(run, world):
    """What client 1 is given: the public part, its own update, the direction."""
    account = world.addresses[1]
    for number in (1, 2, 3):
        for path in bundle(run, number).rglob("*"):
            keep = ("header.json", "manifest.json", "round.json", "direction.blocks", f"{account}.blocks")
            if path.is_file() and path.name not in keep:
                path.unlink()
    return account


def test_a_client_checks_its_own_score_and_everybodys_pay(fl, run, client, world):
    done = fl("audit", run, f"account={client}", "partial=true")
    assert (done.code, done.err) == (0, "")
    assert "not checked in rounds 1–3: the scores of 2 clients (their updates are not here)" in done.out
    assert "not checked in rounds 1–3: direction and next model" in done.out
    earned = next(leaf.cumulative for leaf in world.reports[2].leaves if leaf.account == client)
    assert f"{client} has earned {tokens(earned)} tokens up to round 3, and 0 tokens are claimed" in done.out


def test_a_client_without_the_direction_is_told(fl, run, client):
    for number in (1, 2, 3):
        (bundle(run, number) / "direction.blocks").unlink()
    done = fl("audit", run, f"account={client}")
    assert done.code == 1
    assert (
        f"not checked in rounds 1–3: the score of {client} (the direction is not revealed yet, or not here)" in done.out
    )


def test_a_client_whose_update_was_changed_sees_it(run, client, finds):
    path = bundle(run) / "updates" / f"{client}.blocks"
    path.write_bytes(Blocks.encode(np.ones(8)).to_bytes())
    told = finds(f"account={client}")
    assert f"updates/{client}.blocks has sha256" in told
    assert f"the update root of {client} is 0x" in told


def receipts_of(world, account, *, root=None):
    """A coordinator's receipt file for round 2."""
    listed = next(update for update in Bundle.read(world.reports[1].bundle)[0].updates if update.account == account)
    root = root or listed.root
    signature = world.task.receipt(round_number=2, client=account, update_root=root)
    return json.dumps({"2": {"update_root": root.hex(), "receipt": signature.hex()}})


def test_a_receipt_that_was_honoured_is_fine(fl, run, client, world, tmp_path):
    (tmp_path / "receipts.json").write_text(receipts_of(world, client))
    receipts = f"receipts={tmp_path / 'receipts.json'}"
    assert fl("audit", run, f"account={client}", receipts, "partial=true").code == 0


def test_an_update_with_a_receipt_that_was_left_out_is_found(run, client, world, finds, tmp_path):
    (tmp_path / "receipts.json").write_text(receipts_of(world, client, root=b"\x05" * 32))
    told = finds(f"account={client}", f"receipts={tmp_path / 'receipts.json'}", "partial=true")
    assert f"the update of {client} with the receipt for 0x{'05' * 32} was left out" in told


# ---- refusals -----------------------------------------------------------------------------------------------------------


def test_a_receipt_that_somebody_else_signed_is_refused(refuses, run, client, world, tmp_path):
    path = tmp_path / "receipts.json"
    raw = json.loads(receipts_of(world, client))
    raw["2"]["update_root"] = "07" * 32
    path.write_text(json.dumps(raw))
    told = refuses("audit", run, f"account={client}", f"receipts={path}", saying=f"{path} has a receipt for round 2")
    assert "name a file that a node or a coordinator of this task wrote" in told


@pytest.mark.parametrize("content", ["", "[]", "5", '{"2": 5}', '{"x": {"update_root": "", "receipt": ""}}'])
def test_a_file_without_receipts_is_refused(refuses, run, client, tmp_path, content):
    (tmp_path / "receipts.json").write_text(content)
    refuses(
        "audit",
        run,
        f"account={client}",
        f"receipts={tmp_path / 'receipts.json'}",
        saying=f"{tmp_path}/receipts.json is no",
    )


def test_partial_is_true_or_false(refuses, run):
    refuses("audit", run, "partial=yes", saying="partial is 'yes'; write true or false")


def test_no_task_is_refused(refuses):
    refuses("audit", saying="no task is named; write fl audit TASK")


def test_two_tasks_are_refused(refuses):
    refuses("audit", "one", "two", saying="fl audit is about one task, and one and two are named; name one")


def test_a_folder_without_an_invite_is_refused(refuses, tmp_path):
    refuses("audit", tmp_path, saying=f"{tmp_path} has no invite.json; name the folder of a run or of a coordinator")


def test_an_invite_without_bundles_is_refused(refuses, world):
    refuses("audit", world.invite.to_string(), saying="the invite has no gateway; say where the bundles are")


def test_bundles_that_are_nowhere_are_refused(refuses, run):
    refuses("audit", run, "bundles=/nowhere", saying="bundles is /nowhere, which is not a folder")


def test_another_validation_set_is_refused(refuses, run, rows):
    other = type(rows)(features=rows.features + 1, labels=rows.labels)
    write_validation(run / VALIDATION, other)
    told = refuses("audit", run, saying=f"the validation set of {run / VALIDATION} is 0x")
    assert "name the file that the task was opened with" in told


def test_a_validation_set_that_is_none_is_refused(refuses, run):
    (run / VALIDATION).write_bytes(b"nothing")
    refuses("audit", run, saying=f"the validation set of {run / VALIDATION} is no validation set")


def test_an_invite_with_another_spec_is_refused(refuses, run, world):
    Invite(**{**vars(world.invite), "spec": world.spec.to_json().replace("0.1", "0.2", 1)}).write(run / "invite.json")
    refuses("audit", run, saying="the invite's spec hash is 0x")


@pytest.mark.parametrize(
    ("spec", "saying"),
    [("nonsense", "the task spec is not JSON that can be used (it is not JSON ("), ("[]", "the task spec is a list")],
)
def test_an_invite_without_a_spec_is_refused(refuses, run, world, spec, saying):
    Invite(**{**vars(world.invite), "spec": spec}).write(run / "invite.json")
    refuses("audit", run, saying=saying)


def test_an_account_that_is_none_is_refused(refuses, run):
    refuses("audit", run, "account=me", saying="account is 'me', which is not an address")


def test_receipts_of_nobody_are_refused(refuses, run):
    refuses("audit", run, "receipts=x", saying="receipts are an account's; add key=KEYSTORE or account=0x…")
