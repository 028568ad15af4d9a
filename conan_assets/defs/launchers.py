"""Where a training run computes: in the process of its asset, or in processes of its own that ``torchrun`` starts."""

import sys
from typing import TYPE_CHECKING

import dagster as dg

from conan_assets.defs.dagster_internals import DagsterPipesExecutionError
from conan_assets.defs.reuse import Report
from conan_assets.settings import LaunchSettings
from conan_assets.training.launch import LAUNCH, open_launch, read_failure

if TYPE_CHECKING:
    from conan_assets.training.config import TrainingConfig


class Launcher(dg.ConfigurableResource):
    """Trains in the asset's own process."""

    def train(self, context: dg.AssetExecutionContext, config: "TrainingConfig") -> Report:
        """Train what ``config`` says, going on where a killed run stopped, and return the run's report."""
        from conan_assets.training.run import train

        return train(config)


class TorchrunLauncher(Launcher):
    """Trains in processes started by ``torchrun``: their log lines and errors arrive in the run.

    They end with it, also when its process is killed.
    """

    processes: int
    options: list[str]

    def train(self, context: dg.AssetExecutionContext, config: "TrainingConfig") -> Report:
        """Train what ``config`` says, going on where a killed run stopped, and return the run's report."""
        from conan_assets.training.config import write_config

        torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={self.processes}", *self.options]
        command = [*torchrun, "-m", "conan_assets.training", str(write_config(config))]
        with open_launch() as launch:
            try:
                invocation = dg.PipesSubprocessClient().run(command=command, context=context, env={LAUNCH: str(launch)})
                (report,) = invocation.get_custom_messages()
                return dict(report)
            except DagsterPipesExecutionError as ended:
                error = read_failure(launch) or ended
        raise error


def build_launcher(settings: LaunchSettings) -> Launcher:
    """Return the launcher that a programme asks for."""
    if settings.processes is None:
        return Launcher()
    return TorchrunLauncher(processes=settings.processes, options=list(settings.torchrun_options))
