"""What the tests of `fl evaluator` share: the coordinator's side."""

from contextlib import contextmanager

from fl.bundle.validation_set import VALIDATION, write_validation
from fl.coordinator.gateway.bundle_api import archive_router
from fl.coordinator.gateway.proxy import running_gateway
from fl.coordinator.quorum.remote import RemoteQuorum
from fl.coordinator.superlink.certificates import own_tls

CLIENTS = []  # of evaluators in this process


@contextmanager
def serving(world, *, deadline_s=120.0):
    """A coordinator's gateway with a quorum; yields quorum and invite file."""
    quorum = RemoteQuorum(
        world.task.terms.evaluators, domain=world.task.domain, deadline_s=deadline_s, approve=world.task.approve
    )
    write_validation(world.folder / VALIDATION, world.validation)
    tls = own_tls(world.folder / "tls", names=["127.0.0.1"])
    with running_gateway(
        "127.0.0.1", 0, tls=tls, routers=[archive_router(world.folder, task=world.task, quorum=quorum)]
    ) as at:
        invite = world.invite.served_at(f"https://127.0.0.1:{at.port}", ca=tls.ca, coordinator=world.task.coordinator)
        path = world.folder / "remote-invite.json"
        invite.write(path)
        yield quorum, invite, path
        for client in CLIENTS:  # or the gateway waits for them
            client.close()


def index_of(account, evaluator):
    """Which of Anvil's accounts an evaluator is."""
    return next(number for number in range(20) if account(number).address == evaluator.address)
