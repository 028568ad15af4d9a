"""A run's directory, which one run at a time may train in, and its saved state, from which a killed run goes on.

Order of samples, drawn positives and dropout are functions of the seed and the step, so the state is the step, the
float32 weights, AdamW's moments, the table of hard negatives, and what averaging and an early stop remember.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from conan_assets.files import atomic_path
from conan_assets.training.sharding import like
from conan_assets.training.weights import MasterWeights

STATE = "state"
LOCK = ".lock"
SHARE_OF_SAVING = 0.02


class StateError(RuntimeError):
    """The saved state is damaged or belongs to another run; the message names the file and the way out."""


class DirectoryInUseError(RuntimeError):
    """Another process trains in the directory; the message names it."""


@dataclass(frozen=True)
class State:
    """A run after ``step`` steps of stage ``stage`` (from 0), as tensors by name."""

    stage: int
    step: int
    tensors: dict[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors called ``<name>/<key>`` by key."""
        return {
            key.removeprefix(f"{name}/"): value for key, value in self.tensors.items() if key.startswith(f"{name}/")
        }


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory until the body is left, or this process is killed.

    Raises
    ------
    DirectoryInUseError
        Another process holds it.
    """
    with (directory / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise DirectoryInUseError(
                f"another run is training in {directory}: wait for it, or end process {file.read()}"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


class StateClock:
    """When the next state is due: so many minutes after the last, and so late that saving takes little of the time.

    Attributes
    ----------
    seconds
        What saving has taken so far.
    """

    def __init__(self, minutes: float) -> None:
        self.seconds = 0.0
        self._pause = 60 * minutes
        self._due = time.monotonic() + self._pause

    @property
    def is_due(self) -> bool:
        """Whether a state should be saved now."""
        return time.monotonic() >= self._due

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Take the time of the body, which saves a state, and wait in proportion."""
        started = time.monotonic()
        yield
        now = time.monotonic()
        self.seconds += now - started
        self._due = now + max(self._pause, (now - started) / SHARE_OF_SAVING) if self._pause else now


def save_state(directory: Path, state: State, run: str) -> Path:
    """Write ``state`` of the run with fingerprint ``run``, then delete older ones; return its file."""
    folder = directory / STATE
    path = folder / f"stage-{state.stage:02d}-step-{state.step:08d}.safetensors"
    about = {"run": run, "stage": str(state.stage), "step": str(state.step)}
    with atomic_path(path) as temporary:
        save_file(state.tensors, temporary, {**about, "digest": _digest(about, state.tensors)})
    for other in folder.iterdir():
        if other != path:
            other.unlink()
    return path


def load_state(directory: Path, run: str) -> State | None:
    """Return the last saved state, or None; raise StateError if it is damaged or another run saved it."""
    paths = sorted((directory / STATE).glob("stage-*.safetensors"))
    if not paths:
        return None
    try:
        with safe_open(paths[-1], framework="pt") as file:
            about = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(paths[-1], str(error)) from error
    if about.pop("digest", None) != _digest(about, tensors):
        raise _damaged(paths[-1], "its content is not what was saved")
    if about["run"] != run:
        raise StateError(
            f"{paths[-1]} was saved by a run with another config, other data or another version of training; "
            f"delete {directory / STATE} to start afresh, or train in another directory"
        )
    return State(int(about["stage"]), int(about["step"]), tensors)


def _damaged(path: Path, why: str) -> StateError:
    return StateError(f"the saved state {path} is damaged ({why}): delete it, and training starts from its beginning")


def _digest(about: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Return a digest of all that a state says: 10 GB/s and more, where SHA-256 takes longer than the disk."""
    digest = xxhash.xxh3_128(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def optimizer_tensors(optimizer: torch.optim.Optimizer, weights: MasterWeights) -> dict[str, Tensor]:
    """Return the weights and the optimizer's moments by name."""
    tensors = {f"weight/{name}": master.detach() for name, master in weights.masters.items()}
    for name, master in weights.masters.items():
        for moment, value in optimizer.state.get(master, {}).items():
            tensors[f"{moment}/{name}"] = value
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, weights: MasterWeights, tensors: Mapping[str, Tensor]) -> None:
    """Set the weights and the optimizer's moments to what :func:`optimizer_tensors` returned."""
    weights.load({name: tensors[f"weight/{name}"] for name in weights.masters})
    for name, master in weights.masters.items():
        for moment in ("step", "exp_avg", "exp_avg_sq"):
            value = tensors.get(f"{moment}/{name}")
            if value is not None:
                optimizer.state[master][moment] = like(value, master) if value.ndim else value.to(master.device)
