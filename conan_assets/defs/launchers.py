"""Where a training run computes: in the process of its asset, or in ``torchrun``'s, here or on a Ray cluster."""

import sys
from typing import TYPE_CHECKING

import dagster as dg

from conan_assets.compute import ATTEMPTS, WorkerDiedError
from conan_assets.compute.ray_groups import run_together
from conan_assets.defs.dagster_internals import DagsterPipesExecutionError
from conan_assets.defs.reuse import Report
from conan_assets.settings.sections import LaunchSettings, RayLaunch
from conan_assets.training.launch import LAUNCH, failure_of, on_one_machine, open_launch
from conan_assets.training.on_nodes import marked_for_nodes

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


class RayLauncher(Launcher):
    """Trains on nodes of a Ray cluster, each of which runs ``torchrun``; all see the directory of the run.

    Where a trainer or a node is killed, all begin again from the last state.
    """

    address: str | None
    nodes: int
    processes_per_node: int

    def train(self, context: dg.AssetExecutionContext, config: "TrainingConfig") -> Report:
        """Train what ``config`` says, going on where a killed run stopped, and return the run's report.

        Raises
        ------
        TrainingFailedError
            Training ended before its end; the message is the trainer's.
        WorkerDiedError
            Trainers or nodes were killed three times.
        """
        from conan_assets.training.config import write_config

        reports: list[Report] = []

        def tell(number: int, told: object) -> None:
            if isinstance(told, dict):
                reports.append(told)
            elif number == 0:
                context.log.info(told)

        for attempt in range(1, ATTEMPTS + 1):
            with marked_for_nodes(write_config(config), self.nodes, self.processes_per_node) as work:
                errors = run_together(self.address, self.nodes, self.processes_per_node, work, tell)
            failures = [error for error in errors if error is not None]
            if not failures:
                return reports[-1]
            if not any(isinstance(error, WorkerDiedError) or getattr(error, "was_killed", False) for error in failures):
                raise failures[0]
            context.log.warning(f"a trainer or its node was killed, attempt {attempt} of {ATTEMPTS}: {failures}")
        raise WorkerDiedError(f"trainers or their nodes were killed {ATTEMPTS} times: {failures[0]}") from failures[0]


def build_launcher(settings: LaunchSettings | RayLaunch) -> Launcher:
    """Return the launcher that a programme asks for."""
    if isinstance(settings, RayLaunch):
        nodes, processes = settings.nodes, settings.processes_per_node
        return RayLauncher(address=settings.address, nodes=nodes, processes_per_node=processes)
    if settings.processes is None:
        return Launcher()
    return TorchrunLauncher(processes=settings.processes, options=list(settings.torchrun_options))
