"""An invite that reads well and leads nowhere."""

from fl.chain.invite import Invite

INVITE = Invite(
    chain_id=31337,
    url="http://127.0.0.1:9",
    contract="0x" + "11" * 20,
    token="0x" + "22" * 20,
    block=3,
    task_id="0x" + "ab" * 32,
    coordinator="0x" + "33" * 20,
    spec="{}",
)
