"""The floating-point type that this machine computes a model in fastest: measured once and kept."""

import contextlib
import json
import os
import platform
import time
from pathlib import Path

import torch
from pydantic import TypeAdapter

from conan_assets.encoding.models import width_of
from conan_assets.encoding.settings import Dtype
from conan_assets.files import atomic_path

TOKENS = 1_024
REPEATS = 5
PAYS = 1.2
"""bfloat16 loses digits: it is taken where it is faster by so much."""

_KEPT = TypeAdapter(dict[str, float])


def choose_dtype(dtype: Dtype, device: str, folder: Path) -> torch.dtype:
    """Return the type that a setting names; for ``auto`` the fastest one for the model of ``folder`` on ``device``."""
    return fastest_dtype(device, width_of(folder)) if dtype == "auto" else getattr(torch, dtype)


def fastest_dtype(device: str, width: int) -> torch.dtype:
    """Return bfloat16 where ``device`` ("cpu", "cuda", ...) multiplies matrices faster in it, else float32.

    Parameters
    ----------
    width
        Components of a token's vector in the model; on a CPU, the product that is timed is that of one of its
        feed-forward layers. What was found is kept in ``~/.cache/conan_assets`` (``$XDG_CACHE_HOME``), so that a
        machine decides once.
    """
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if bfloat16_speedup(width) >= PAYS else torch.float32


def bfloat16_speedup(width: int) -> float:
    """Return how many times as fast as in float32 the CPU multiplies in bfloat16, 0 where it only emulates it."""
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return 0.0
    file = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "conan_assets" / "precision.json"
    known = _read(file)
    case = f"{_processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads, width {width}"
    if case not in known:
        known[case] = round(_measure(width), 2)
        with contextlib.suppress(OSError), atomic_path(file) as path:
            path.write_text(json.dumps(known, indent=1))
    return known[case]


@torch.inference_mode()
def _measure(width: int) -> float:
    """Return the speed of a product in bfloat16 over that in float32, each the best of several in turns."""
    seconds = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    operands = {
        dtype: (torch.ones(TOKENS, width, dtype=dtype), torch.ones(4 * width, width, dtype=dtype)) for dtype in seconds
    }
    for _ in range(REPEATS):
        for dtype, (tokens, weights) in operands.items():
            started = time.perf_counter()
            torch.nn.functional.linear(tokens, weights)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - started)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def _read(file: Path) -> dict[str, float]:
    try:
        return _KEPT.validate_json(file.read_bytes())
    except (OSError, ValueError):
        return {}


def _processor() -> str:
    """Return the name of the processor, and with AMX that it is there: virtual machines may hide it."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}{', AMX' if torch.cpu._is_amx_tile_supported() else ''}"
