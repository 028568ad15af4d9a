"""Where a training run computes: in the process of its asset, or in processes of its own that ``torchrun`` starts."""

import sys
from typing import TYPE_CHECKING

import dagster as dg

from conan_assets.defs.dagster_internals import DagsterPipesExecutionError
from conan_assets.defs.reuse import Report
from conan_assets.settings.sections import LaunchSettings
from conan_assets.training.launch import LAUNCH, failure_of, on_one_machine, open_launch

if TYPE_CHECKING:
    from conan_assets.training.config import TrainingConfig


class Launcher(dg.ConfigurableResource[None]):
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
        """Train what ``config`` says, going on where a killed run stopped, and return the run's report.

        Raises
        ------
        TrainingFailedError
            Training ended before its end; the message is the trainer's.
        """
        from conan_assets.training.config import write_config

        with open_launch() as launch:
            options, environment = (self.options, {}) if self.options else on_one_machine(launch)
            torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={self.processes}", *options]
            command = [*torchrun, "-m", "conan_assets.training", str(write_config(config))]
            client = dg.PipesSubprocessClient(env={LAUNCH: str(launch), **environment})
            try:
                (report,) = client.run(command=command, context=context).get_custom_messages()
                return dict(report)
            except DagsterPipesExecutionError as ended:
                error = failure_of(launch, ended)
        raise error


def build_launcher(settings: LaunchSettings) -> Launcher:
    """Return the launcher that a programme asks for."""
    if settings.processes is None:
        return Launcher()
    return TorchrunLauncher(processes=settings.processes, options=list(settings.torchrun_options))
