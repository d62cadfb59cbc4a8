"""Slots of worker processes: each has one of its own, whoever starts at the same moment."""

import subprocess
import sys

TWO_AT_ONCE = """
import fcntl, os, signal
from jobs import slots

def report(text):
    os.write(said[1], text.encode().ljust(20))

def hear():
    return os.read(said[0], 20).decode().strip()

class Slow:
    size = slots._SLOT.size
    unpack_from = slots._SLOT.unpack_from
    def pack_into(self, *values):  # a slot was found to be free, and is not taken yet
        report("found")
        os.read(go[0], 1)
        struct.pack_into(*values)

struct, lockf = slots._SLOT, fcntl.lockf

def knock(door, how):
    if how == fcntl.LOCK_EX:
        report("knocked")
    lockf(door, how)

slots.make()
said, go = os.pipe(), os.pipe()
if os.fork() == 0:
    slots._SLOT = Slow()
    signal.alarm(20)
    report(str(slots.take(1, os.getpid())._offset))
    os._exit(0)
heard = [hear()]
if os.fork() == 0:
    fcntl.lockf = knock
    signal.alarm(20)
    report(str(slots.take(2, os.getpid())._offset))
    os._exit(0)
heard.append(hear())
os.write(go[1], b"!")
heard += [hear(), hear()]
print(*heard)
"""


def test_two_that_start_at_once_take_two_slots() -> None:
    run = subprocess.run([sys.executable, "-c", TWO_AT_ONCE], capture_output=True, text=True, check=True, timeout=30)

    *way, one, other = run.stdout.split()
    assert way == ["found", "knocked"]
    assert one != other
