"""Trainable weights in float32, while the model computes in another type."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from conan_assets.encoding.loading import cast_parameters
from conan_assets.encoding.models import locate_model
from conan_assets.encoding.precision import choose_dtype
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.training.processes import Processes
from conan_assets.training.settings import TrainingSettings
from conan_assets.training.sharding import is_sharded, like


class MasterWeights:
    """Float32 copies of a model's trainable parameters that collect gradients and are optimized.

    With the model in bfloat16, rounding would swallow most of an update of 1e-5. In a float32 model the parameters
    are their own masters; so are weights that processes share, which FSDP rounds where it gathers them.

    Attributes
    ----------
    masters
        Float32 parameters by name.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        dtype = torch.float32 if is_sharded(model) else dtype
        copied = dtype != torch.float32
        self.masters = {
            name: nn.Parameter(parameter.detach().float().clone()) if copied else parameter
            for name, parameter in trainable.items()
        }
        cast_parameters(model, dtype)
        self._parameters = list(trainable.values())
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(_move_gradient_to(master))  # type: ignore[no-untyped-call]
            for parameter, master in zip(self._parameters, self.masters.values(), strict=True)
            if parameter is not master
        ]

    def groups(self, weight_decay: float) -> list[dict[str, object]]:
        """Return AdamW's parameter groups: matrices decay, biases and norms do not."""
        matrices = [master for master in self.masters.values() if master.ndim >= 2]
        vectors = [master for master in self.masters.values() if master.ndim < 2]
        return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]

    @torch.no_grad()
    def publish(self) -> None:
        """Round the masters into the model's parameters."""
        pairs = zip(self._parameters, self.masters.values(), strict=True)
        different = [(parameter, master) for parameter, master in pairs if parameter is not master]
        if different:
            torch._foreach_copy_([parameter for parameter, _ in different], [master for _, master in different])

    def release(self) -> None:
        """Leave the trainable parameters in float32 with the masters' values, and frozen ones in the type they have."""
        for parameter, master in zip(self._parameters, self.masters.values(), strict=True):
            if parameter is not master:
                parameter.data = master.detach()
        for hook in self._hooks:
            hook.remove()

    @torch.no_grad()
    def load(self, values: Mapping[str, Tensor]) -> None:
        """Set the masters and the model's parameters to ``values``."""
        for name, master in self.masters.items():
            master.copy_(like(values[name], master))
        self.publish()


def _move_gradient_to(master: nn.Parameter) -> Callable[[Tensor], None]:
    def move(parameter: Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        assert gradient is not None
        if master.grad is None:
            master.grad = gradient.float()
        else:
            master.grad.add_(gradient)

    return move


def training_dtype(settings: TrainingSettings, base: EncoderSettings, processes: Processes) -> torch.dtype:
    """Return the type of the settings; the fastest, where they leave it open, as the first process measured it."""
    chosen = choose_dtype(settings.dtype, processes.device.type, locate_model(base.model, base.revision))
    if settings.dtype != "auto":
        return chosen
    decided = processes.from_main(torch.tensor(chosen == torch.bfloat16, dtype=torch.uint8, device=processes.device))
    return torch.bfloat16 if decided else torch.float32


def build_optimizer(weights: MasterWeights, settings: TrainingSettings) -> torch.optim.AdamW:
    """Return AdamW over the masters (A, "Implementation details": rate 1e-5, decay 0.001)."""
    return torch.optim.AdamW(weights.groups(settings.weight_decay), lr=settings.learning_rate, fused=True)


def learning_rate(step: int, steps: int, settings: TrainingSettings) -> float:
    """Return the rate of ``step`` (from 0): a linear rise over the warm-up of ``steps``, then a fall to zero."""
    warmup = settings.warmup_ratio * steps if settings.warmup_steps is None else min(settings.warmup_steps, steps)
    rising = (step + 1) / warmup if warmup > 0 else 1.0
    falling = (steps - step) / max(1.0, steps - warmup)
    return settings.learning_rate * min(1.0, rising, falling)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Return the gradients that are there."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
