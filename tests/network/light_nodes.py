"""Nodes without a SuperNode: Flower's own fleet connection, and an answer that is made at once. Many fit into one process.

Run as: light_nodes.py ADDRESS CA_FILE KEY_FILE… [delay=SECONDS] [poll=SECONDS]
It prints one line for each node that connected, and "answered NODE GROUP" for each answer.
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
from flwr.supernode.fleet_http_connection import http_request_response  # noqa: E402


def serve(address: str, ca: bytes, key_file: str, *, delay: float, poll: float) -> None:
    """Answer every message with its own content until the process ends."""
    with open(key_file, "rb") as file:
        private = serialization.load_ssh_private_key(file.read(), None)
    with http_request_response(address, False, ca, (private, private.public_key())) as connection:
        node_id, receive, send, _, _, pull_object, push_object, confirm = connection
        print(f"connected {node_id}", flush=True)
        while True:
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
            time.sleep(delay)
            reply = Message(RecordDict(dict(asked.content)), reply_to=asked)
            reply.metadata.__dict__["_message_id"] = reply.object_id
            wanted, session = send(reply, get_object_tree(reply), 0.0)
            for object_id, part in get_all_nested_objects(reply).items():
                if object_id in wanted:
                    push_object(run_id, session, object_id, part.deflate())
            print(f"answered {node_id} {message.metadata.group_id}", flush=True)


def main() -> None:
    """One thread for each key."""
    settings = dict(one.split("=") for one in sys.argv[1:] if "=" in one)
    address, ca_file, *keys = [one for one in sys.argv[1:] if "=" not in one]
    with open(ca_file, "rb") as file:
        ca = file.read()
    threads = [
        threading.Thread(
            target=serve,
            args=(address, ca, key),
            kwargs={name: float(settings.get(name, 0.2)) for name in ("delay", "poll")},
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
