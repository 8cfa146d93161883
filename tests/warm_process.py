"""Commands without the seconds of importing torch, Flower and web3 for each: one process imports, and is forked for each call.

A page of the documentation calls `fl` up to a dozen times, and tests of the commands do. What is forked runs the same `main` with the arguments, folder,
environment and terminal of its caller. Usage:

    warm_process.py serve SOCKET             prints "ready", then serves until it is killed
    warm_process.py call SOCKET fl ARGUMENT…
    warm_process.py call SOCKET python FILE
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_PR_SET_PDEATHSIG = 1


@contextmanager
def warm_process(path: Path, *, environment: Mapping[str, str]) -> Iterator[list[str]]:
    """Serves at a socket until the end; yields the command that `fl ARGUMENT…` or `python FILE` is appended to."""
    server = [sys.executable, __file__, "serve", str(path)]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield [sys.executable, "-S", __file__, "call", str(path)]
        finally:
            process.kill()


def serve(path: str) -> None:
    """Import everything, then fork a process for each call."""
    import torch  # noqa: PLC0415

    from fl.cli.main import COMMANDS  # noqa: PLC0415

    torch.set_num_threads(1)
    for name, (module, _) in COMMANDS.items():
        if name != "completion":  # it looks for rules of other packages when it is imported
            importlib.import_module(module)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _attend(connection)
        connection.close()


def _attend(connection: socket.socket) -> None:
    """Runs one call to its end, or to its caller's."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    child = os.fork()
    if child == 0:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        connection.close()
        for place, descriptor in enumerate(descriptors):
            os.dup2(descriptor, place)
            os.close(descriptor)
        os._exit(_run(json.loads(message)))
    for descriptor in descriptors:
        os.close(descriptor)
    ended = os.pidfd_open(child)
    while True:
        ready = select.select([ended, connection], [], [])[0]
        if ended in ready:
            connection.sendall(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
            os._exit(0)
        asked = connection.recv(16)
        os.kill(child, int(asked or signal.SIGTERM))
        if not asked:  # the caller is gone
            if not select.select([ended], [], [], 10)[0]:
                os.kill(child, signal.SIGKILL)
            os._exit(0)


def _run(call: dict) -> int:
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.path[:] = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *sys.path[1:]]
    importlib.invalidate_caches()
    what, *arguments = call["arguments"]
    code = 0
    try:
        if what == "fl":
            sys.argv = ["fl", *arguments]
            importlib.import_module("fl.cli.main").main()
        else:
            sys.path.insert(0, call["folder"])
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def call(path: str, arguments: list[str]) -> int:
    """Have one call run; a signal that ends this process ends it too."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    message = {"folder": os.getcwd(), "environment": dict(os.environ), "arguments": arguments}
    socket.send_fds(connection, [json.dumps(message).encode()], [0, 1, 2])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: connection.sendall(str(int(number)).encode()))
    return int(connection.recv(16) or 1)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    code = call(sys.argv[2], sys.argv[3:])
    sys.exit(code if code >= 0 else 128 - code)
