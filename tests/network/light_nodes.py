"""Nodes without a SuperNode: Flower's own fleet connection, and an answer that is made at once. Many fit into one process.

Run as: light_nodes.py ADDRESS CA_FILE KEY_FILE… [delay=SECONDS] [poll=SECONDS] [again=1] [hold=FILE] [beat=SECONDS]
It prints "connected NODE", "asked NODE GROUP" for each message, and "stopped NODE" for one whose run was given up. A node that
is not let in ends, or with again=1 tries once more each second. With hold=FILE nothing is answered before that file is there.
The least heartbeat is 10 s: a node that is killed is then found gone after 20 s, and not after 60.
"""

import ctypes
import os
import signal
import sys
import threading
import time

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # with the test that started it

from cryptography.hazmat.primitives import serialization  # noqa: E402
from flwr.app import Message, RecordDict  # noqa: E402
from flwr.supercore.inflatable.inflatable_object import (  # noqa: E402
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, pull_objects  # noqa: E402
from flwr.supercore.run import RunNotRunningException  # noqa: E402
from flwr.supernode import fleet_http_connection  # noqa: E402
from flwr.supernode.fleet_http_connection import http_request_response  # noqa: E402

fleet_http_connection.flwr_exit = lambda code, message="": sys.exit(message)  # its own takes the whole process down
DEFAULTS = {"delay": 0.0, "poll": 0.2, "again": 0.0, "hold": "", "beat": 30.0}


def serve(address: str, ca: bytes, key_file: str, **settings: float | str) -> None:
    """Answer every message with its own content until the process ends."""
    with open(key_file, "rb") as file:
        private = serialization.load_ssh_private_key(file.read(), None)
    while True:
        try:
            with http_request_response(address, False, ca, (private, private.public_key())) as connection:
                answer_all(connection, **settings)
        except SystemExit:  # Flower's way to say that it is not let in
            if not settings["again"]:
                return
            time.sleep(1)


def answer_all(connection: tuple, *, delay: float, poll: float, hold: str, **_: object) -> None:
    """What a SuperNode and its app do, in one thread."""
    node_id, receive, send, _, _, pull_object, push_object, confirm = connection
    print(f"connected {node_id}", flush=True)
    while True:
        try:
            if (received := receive()) is None:
                time.sleep(poll)
                continue
            message, tree = received
            run_id = message.metadata.run_id
            contents = pull_objects(
                [one.object_id for one in iterate_object_tree(tree)],
                pull_object_fn=lambda object_id, run_id=run_id: pull_object(run_id, object_id),
            )
            confirm(run_id, message.metadata.message_id)
            asked = inflate_object_from_contents(message.metadata.message_id, contents)
            asked.metadata.__dict__["_message_id"] = message.metadata.message_id
            print(f"asked {node_id} {message.metadata.group_id}", flush=True)
            time.sleep(delay)
            while hold and not os.path.exists(hold):
                time.sleep(0.05)
            reply = Message(RecordDict(dict(asked.content)), reply_to=asked)
            reply.metadata.__dict__["_message_id"] = reply.object_id
            wanted, session = send(reply, get_object_tree(reply), 0.0)
            for object_id, part in get_all_nested_objects(reply).items():
                if object_id in wanted:
                    push_object(run_id, session, object_id, part.deflate())
        except RunNotRunningException:
            print(f"stopped {node_id}", flush=True)


def main() -> None:
    """One thread for each key."""
    settings = dict(one.split("=") for one in sys.argv[1:] if "=" in one)
    address, ca_file, *keys = [one for one in sys.argv[1:] if "=" not in one]
    with open(ca_file, "rb") as file:
        ca = file.read()
    given = {name: type(default)(settings.get(name, default)) for name, default in DEFAULTS.items()}
    fleet_http_connection.HEARTBEAT_DEFAULT_INTERVAL = given["beat"]
    threads = [
        threading.Thread(
            target=serve,
            args=(address, ca, key),
            kwargs=given,
            daemon=True,
        )
        for key in keys
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
