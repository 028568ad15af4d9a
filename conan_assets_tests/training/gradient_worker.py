"""One process of a gradient test: the loss and the gradient of each stage's first steps, written down per rank."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from conan_assets.training.architecture import ArchitectureSettings
from conan_assets.training.config import read_config
from conan_assets.training.data import read_training_data
from conan_assets.training.model import TrainableModel
from conan_assets.training.processes import Processes
from conan_assets.training.trainer import Trainer

STEPS = 3


def compute(path: Path) -> None:
    config, processes = read_config(path), Processes()
    for variant, settings in enumerate(config.stages):
        base = TrainableModel(config.base_model, ArchitectureSettings(), "cpu", seed=0)
        data = read_training_data(path.parent / "data", settings.tasks)
        trainer = Trainer(0, base.model, config.base_model, data, None, settings, processes)
        losses, gradients = [], {}
        for step in range(STEPS):
            losses.append(trainer.compute_gradient(trainer.plan.batch(step))["loss"])
            for name, master in trainer.weights.masters.items():
                if master.grad is not None:
                    gradients[f"{step}/{name}"] = master.grad.clone()
            trainer.optimizer.zero_grad()
            trainer.step += 1
        assert trainer.table is not None
        table = {f"table/{name}": torch.from_numpy(getattr(trainer.table, name)) for name in trainer.table.STATE}
        values = {"loss": torch.tensor(losses), **gradients, **table}
        save_file(values, path.parent / f"variant-{variant}-rank-{processes.rank}.safetensors")
    processes.wait()


if __name__ == "__main__":
    compute(Path(sys.argv[1]))
