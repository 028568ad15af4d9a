"""Which of torch's attention kernels a stage goes through on a CPU."""

import contextlib
from contextlib import AbstractContextManager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

TOKENS_TO_FUSE = 160
"""In bfloat16 the way back through torch's fused kernel for CPUs costs more than plain products for shorter texts."""


def attention_kernel(tokens: int, device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Let attention be computed in the body by plain products where these are faster, else as torch chooses.

    Parameters
    ----------
    tokens
        Usual length of the texts that go through the model, and back, in the body.
    device, dtype
        Where and in which type the model computes.
    """
    if device.type == "cpu" and dtype == torch.bfloat16 and tokens < TOKENS_TO_FUSE:
        return sdpa_kernel(SDPBackend.MATH)
    return contextlib.nullcontext()
