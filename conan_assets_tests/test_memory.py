import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conan_assets.memory import return_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_tensors_of_many_sizes_go_back_to_the_system():
    held = [torch.ones(size) for size in range(10_000, 30_000, 10) for _ in range(3)]
    kept = held[::500]
    del held
    before = resident_mb()
    return_freed_memory()
    assert resident_mb() < before - 50
    assert all(bool((tensor == 1).all()) for tensor in kept)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


PROGRAM = """
import os, signal, time, weakref
from conan_assets.memory import return_freed_memory

class Cycle:
    def __init__(self):
        self.self = self

def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)

signal.signal(signal.SIGINT, signal.default_int_handler)
weakref.finalize(Cycle(), press_ctrl_c)
try:
    return_freed_memory()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_while_garbage_is_collected_interrupts():
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ended.stdout == "interrupted\n"
