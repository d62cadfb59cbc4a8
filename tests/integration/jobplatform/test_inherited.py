"""A forked process lets its parent's connections go, and nothing else."""

import os
import socket
import subprocess
import sys

from tests.processes import ROOT

CHILD = """
import os, sys
from jobplatform import inherited
number, pair, pipe = map(int, sys.argv[1:])
print(inherited.let_go())
try:
    os.read(pair, 1)
    os.write(pipe, b"still here")
    print(len(os.read(number, 10)), os.write(number, b"to nobody"))
finally:
    print(os.readlink(f"/dev/fd/{number}"))
"""


def test_connections_are_let_go_and_pairs_pipes_and_numbers_are_kept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as mine:
        theirs, _ = server.accept()
        near, far = socket.socketpair()
        out, into = os.pipe()
        with theirs, near, far:
            far.sendall(b"x")
            numbers = (mine.fileno(), near.fileno(), into)
            command = [sys.executable, "-c", CHILD, *map(str, numbers)]
            done = subprocess.run(
                command, cwd=ROOT, pass_fds=(*numbers, server.fileno()), capture_output=True, text=True, check=False
            )
            assert done.stdout.split() == ["1", "0", "9", os.devnull], done
            assert os.read(out, 20) == b"still here"
            mine.sendall(b"ours")
            assert theirs.recv(20) == b"ours"  # it lives on here, and the child has written nothing into it
        for number in (out, into):
            os.close(number)
