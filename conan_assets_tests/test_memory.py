import gc
import os
import signal
import sys
import weakref
from functools import partial
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


class Cycle:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.self = self


def test_ctrl_c_while_garbage_is_collected_interrupts(request: pytest.FixtureRequest):
    gc.disable()
    request.addfinalizer(gc.enable)
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cycle = Cycle()
    weakref.finalize(cycle, os.kill, os.getpid(), signal.SIGINT)
    del cycle
    with pytest.raises(KeyboardInterrupt):
        return_freed_memory()
