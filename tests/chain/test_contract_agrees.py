"""The contract on chain and this side hash and sign the same."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl.chain.anvil import CHECKOUT_CONTRACTS
from fl.chain.artifacts import artifact
from fl.chain.compile import ARTIFACTS, CompileError, compile_contracts, write_artifacts
from fl.chain.typed_data import Header, digest, header_hash

word, u32, u128 = st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1), st.integers(0, 2**128 - 1)
headers = st.builds(
    Header,
    task_id=word,
    round=u32,
    previous=word,
    base_model=word,
    next_model=word,
    validation=word,
    direction_root=word,
    tree_root=word,
    leaf_count=u32,
    enrolment=word,
    cumulative=u128,
    price=u128,
    bundle=word,
)


@pytest.fixture(scope="module")
def escrow(deployment):
    """The contract."""
    return deployment.connect()[1]


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=headers)
def test_the_contract_hashes_a_header_as_python_does(escrow, header):
    assert escrow.header_digest(header) == digest(header, domain=escrow.domain)
    assert escrow.header_hash(header) == header_hash(header)


def test_the_domain_is_the_one_that_the_contract_states(escrow):
    assert escrow.domain_fields() == tuple(escrow.domain.as_dict().values())
    assert escrow.domain_fields() == ("Fairshare", "1", 31337, escrow.address)


def test_a_task_id_is_known_before_the_task_is_opened(new_world):
    world = new_world(joining=0)
    assert world.escrow.task_id(world.sponsor.address, world.task.terms.salt) == world.task.task_id
    assert world.escrow.has_task(world.task.task_id)
    assert not world.escrow.has_task(b"\xee" * 32)


def test_the_terms_read_back_as_they_were_sent(new_world):
    world = new_world(evaluators=3, quorum=2, joining=0, reveal_each_round=True, attested=True)
    terms, state = world.escrow.task(world.task.task_id)
    assert (terms.reveal_each_round, terms.attested) == (True, True)
    assert terms.evaluators == tuple(account.address for account in world.evaluators)
    assert (terms.budget, terms.bond, terms.spec_hash) == (10**21, 10**21, world.spec.hash())
    assert (state.sponsor, state.posted, state.clients, state.paid) == (world.sponsor.address, 0, 0, 0)


@pytest.fixture(scope="module")
def compiled():
    """What the sources of this checkout compile to."""
    if not (CHECKOUT_CONTRACTS / "node_modules" / "@openzeppelin").exists():
        pytest.fail(f"{CHECKOUT_CONTRACTS}/node_modules is missing; run scripts/test, which installs it with npm")
    return compile_contracts()


@pytest.mark.parametrize("name", ["Fairshare", "Disputes", "Lifecycle", "DevToken"])
def test_the_shipped_artifacts_are_those_of_the_sources(compiled, name):
    assert (artifact(name).abi, artifact(name).bytecode) == (compiled[name]["abi"], compiled[name]["bytecode"]), (
        "run `fl compile` and commit fl/chain/artifacts"
    )


def test_artifacts_are_written_where_they_changed_only(compiled, tmp_path):
    for name in compiled:
        (tmp_path / f"{name}.json").write_text((ARTIFACTS / f"{name}.json").read_text())
    (tmp_path / "DevToken.json").write_text("{}")
    fresh = write_artifacts({"DevToken": compiled["DevToken"]}, folder=tmp_path)
    assert [path.name for path in fresh] == ["DevToken.json"]
    assert write_artifacts({"DevToken": compiled["DevToken"]}, folder=tmp_path) == []


def test_contracts_without_their_packages_say_how_to_get_them(tmp_path):
    with pytest.raises(CompileError) as caught:
        compile_contracts(contracts=tmp_path)
    assert str(caught.value) == f"{tmp_path}/node_modules is incomplete; run `npm ci` in {tmp_path}"


def test_a_compiler_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CompileError, match=f"{tmp_path}/solc failed"):
        compile_contracts(solc=str(tmp_path / "solc"))


def test_a_version_that_cannot_be_installed_is_named(monkeypatch):
    def offline(version):
        raise OSError("no network")

    monkeypatch.setattr("fl.chain.compile.solcx.install_solc", offline)
    with pytest.raises(CompileError) as caught:
        compile_contracts(solc="install:0.8.30")
    assert str(caught.value) == "py-solc-x could not install solc 0.8.30: no network; use solc=npm"
