"""Nodes without a SuperNode: Flower's own fleet connection, and an answer that is made at once. Many fit into one process.

Run as: light_nodes.py ADDRESS CA_FILE KEY_FILE… [delay=SECONDS] [poll=SECONDS] [again=1] [hold=FILE] [beat=SECONDS] [lie=NAME]
It prints "connected NODE", "asked NODE GROUP" for each message, and "stopped NODE" for one whose run was given up. A node that
is not let in ends, or with again=1 tries once more each second. With hold=FILE nothing is answered before that file is there.
With lie=NAME every answer is one that no honest node gives, as in `LIES`; lie=NAME,NAME,… names one for each node.
The least heartbeat is 10 s: a node that is killed is then found gone after 20 s, and not after 60.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # with the test that started it

import httpx  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from flwr.app import ConfigRecord, Error, Message, RecordDict  # noqa: E402
from flwr.proto.message_pb2 import ObjectTree  # noqa: E402
from flwr.supercore.inflatable.inflatable_object import (  # noqa: E402
    get_all_nested_objects,
    get_object_id,
    get_object_tree,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, pull_objects  # noqa: E402
from flwr.supercore.run import RunNotRunningException  # noqa: E402
from flwr.supernode import fleet_http_connection  # noqa: E402
from flwr.supernode.fleet_http_connection import http_request_response  # noqa: E402

fleet_http_connection.flwr_exit = lambda code, message="": sys.exit(message)  # its own takes the whole process down
DEFAULTS = {"delay": 0.0, "poll": 0.2, "again": 0.0, "hold": "", "beat": 30.0, "lie": ""}


def tell(line: str) -> None:
    """Print it in one piece: the nodes are threads, and what `print` writes of two of them may mix."""
    os.write(1, f"{line}\n".encode())


def serve(address: str, ca: bytes, key_file: str, **settings: object) -> None:
    """Answer every message with its own content until the process ends."""
    with open(key_file, "rb") as file:
        private = serialization.load_ssh_private_key(file.read(), None)
    while True:
        try:
            with http_request_response(address, False, ca, (private, private.public_key())) as connection:
                answer_all(connection, **settings)
        except (SystemExit, httpx.HTTPStatusError):  # Flower's ways to say that it is not let in
            if not settings["again"]:
                return
            time.sleep(1)


def body(kind: str, children: str, content: bytes) -> bytes:
    """An object that passes the SuperLink's check, which looks at its head alone."""
    return f"{kind} {children} {len(content)}".encode() + b"\x00" + content


def forged(reply: Message, **changes: object) -> bytes:
    """The root object of a reply whose metadata says something other than what it is announced with."""
    before = dict(reply.metadata.__dict__)
    reply.metadata.__dict__.update(changes)
    root = reply.deflate()
    reply.metadata.__dict__.update(before)
    return root


RECORD = ConfigRecord({"child": 1})
# What is sent in place of the root object of an honest reply.
LIES = {
    "garbage": lambda reply: body("Message", "", b"\xff"),
    "childless": lambda reply: body("Message", "", b""),
    "orphan": lambda reply: body("Message", "a" * 64, b""),
    "another type": lambda reply: ConfigRecord({"root": 1}).deflate(),
    "no record": lambda reply: body("Message", RECORD.object_id, reply.deflate().split(b"\x00", 1)[1]),
    "another node": lambda reply: forged(reply, _src_node_id=4711),
    "the SuperLink": lambda reply: forged(
        Message(Error(code=5, reason="gone"), reply_to=reply), _src_node_id=1, _reply_to_message_id="f" * 64
    ),
    "another order": lambda reply: forged(reply, _reply_to_message_id="e" * 64),
    "large": lambda reply: ConfigRecord({"large": bytes(100_000)}).deflate(),
    "many": lambda reply: reply.deflate(),
    "announced": lambda reply: reply.deflate(),
}


def lying(reply: Message, lie: str) -> tuple[ObjectTree, dict[str, bytes]]:
    """What a node announces and pushes that tells this lie."""
    parts = {object_id: part.deflate() for object_id, part in get_all_nested_objects(reply).items()}
    children = list(get_object_tree(reply).children)
    del parts[reply.object_id]
    if lie == "no record":
        parts, children = {RECORD.object_id: RECORD.deflate()}, [ObjectTree(object_id=RECORD.object_id)]
    if lie == "many":
        children += [ObjectTree(object_id=f"{number:064x}") for number in range(1000)]
    root = LIES[lie](reply)
    reply.metadata.__dict__["_message_id"] = get_object_id(root)
    tree = ObjectTree(object_id=get_object_id(root), children=children)
    return tree, {} if lie == "announced" else {**parts, get_object_id(root): root}


def echo(asked: Message) -> Sequence[Message]:
    """The answer of a node that gives back what it is asked."""
    return [Message(RecordDict(dict(asked.content)), reply_to=asked)]


def answer_all(
    connection: tuple,
    *,
    delay: float,
    poll: float,
    hold: str,
    lie: str,
    answers: Callable[[Message], Sequence[Message]] = echo,
    **_: object,
) -> None:
    """What a SuperNode and its app do, in one thread; `answers` says what the app makes of a message."""
    node_id, receive, send, _, _, pull_object, push_object, confirm = connection
    tell(f"connected {node_id}")
    while True:
        try:
            if (received := receive()) is None:
                time.sleep(poll)
                continue
            message, tree = received
            run_id = message.metadata.run_id
            contents = pull_objects(
                [part.object_id for part in iterate_object_tree(tree)],
                pull_object_fn=lambda object_id, run_id=run_id: pull_object(run_id, object_id),
            )
            confirm(run_id, message.metadata.message_id)
            asked = inflate_object_from_contents(message.metadata.message_id, contents)
            asked.metadata.__dict__["_message_id"] = message.metadata.message_id
            tell(f"asked {node_id} {message.metadata.group_id}")
            time.sleep(delay)
            while hold and not os.path.exists(hold):
                time.sleep(0.05)
            for reply in answers(asked):
                reply.metadata.__dict__["_message_id"] = reply.object_id
                if lie:
                    tree, parts = lying(reply, lie)
                else:
                    tree = get_object_tree(reply)
                    parts = {object_id: part.deflate() for object_id, part in get_all_nested_objects(reply).items()}
                wanted, session = send(reply, tree, 0.0)
                for object_id, part in parts.items():
                    if object_id in wanted:
                        push_object(run_id, session, object_id, part)
        except RunNotRunningException:
            tell(f"stopped {node_id}")


def main() -> None:
    """One thread for each key."""
    settings = dict(argument.split("=") for argument in sys.argv[1:] if "=" in argument)
    address, ca_file, *keys = [argument for argument in sys.argv[1:] if "=" not in argument]
    with open(ca_file, "rb") as file:
        ca = file.read()
    given = {name: type(default)(settings.get(name, default)) for name, default in DEFAULTS.items()}
    fleet_http_connection.HEARTBEAT_DEFAULT_INTERVAL = given["beat"]
    lies = given["lie"].split(",") + [""] * len(keys)
    threads = [
        threading.Thread(
            target=serve,
            args=(address, ca, key),
            kwargs={**given, "lie": lie},
            daemon=True,
        )
        for key, lie in zip(keys, lies, strict=False)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
