"""Weights, gradients and AdamW's moments shared out among the processes (FSDP2), for models that do not fit one GPU.

A layer's weights are gathered for each pass through it and dropped behind it; its gradient is added up over the
processes, not averaged, and each keeps its part.
"""

from collections.abc import Iterator

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.distributed import get_world_size
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(model: SentenceTransformer, device: torch.device, dtype: torch.dtype) -> None:
    """Share out the float32 weights of ``model`` in place, onto every process's ``device``, to compute in ``dtype``."""
    mesh = init_device_mesh(device.type, (get_world_size(),))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for part in (*_layers(model), model):
        sharded = fully_shard(part, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)


def is_sharded(model: nn.Module) -> bool:
    """Return whether :func:`shard` was called for ``model``: its passes are then those of all processes together."""
    return isinstance(model, FSDPModule)


def whole(tensor: Tensor) -> Tensor:
    """Return ``tensor`` with everyone's parts if it is shared out; all processes call it, in the same order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of ``tensor``."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """Return ``tensor``, whole or not, on the device of ``other``, and shared out as that is."""
    if isinstance(other, DTensor) and not isinstance(tensor, DTensor):
        return distribute_tensor(tensor, other.device_mesh, other.placements, src_data_rank=None)
    return tensor.to(other.device)


@torch.no_grad()
def gather(sharded: nn.Module, target: nn.Module | None) -> None:
    """Set the weights of ``target``, where it is given, to those of ``sharded``; all processes call it.

    No process holds more than one tensor of them besides.
    """
    for name, parameter in sharded.named_parameters():
        value = whole(parameter)
        if target is not None:
            target.get_parameter(name).copy_(value)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the members of the outermost lists of modules."""
    for child in module.children():
        yield from child if isinstance(child, nn.ModuleList) else _layers(child)
