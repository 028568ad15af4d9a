"""Training on several machines: what runs on each, torchrun with that machine's trainers."""

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conan_assets.files import temporary_path
from conan_assets.training.config import HOW_TO_SHARE
from conan_assets.training.launch import LAUNCH, TrainingFailedError, failure_of, open_launch

REPORT = "report.json"


@contextlib.contextmanager
def marked_for_nodes(config: Path, nodes: int, processes: int) -> Iterator["TrainOnNode"]:
    """Yield what trains on each machine, as long as a mark lies beside the run's ``config.json``."""
    mark = temporary_path(config)
    mark.touch()
    try:
        yield TrainOnNode(config, mark, nodes, processes)
    finally:
        mark.unlink(missing_ok=True)


@dataclass(frozen=True)
class TrainOnNode:
    """The trainers of one machine among several, which all read and write the directory of one run.

    Attributes
    ----------
    config
        The run's ``config.json``.
    mark
        A file beside it, made for this launch: what an earlier attempt left on another machine's own disk lacks it.
    nodes, processes
        How many machines there are, and trainers on each.
    """

    config: Path
    mark: Path
    nodes: int
    processes: int

    def require(self) -> None:
        """Raise TrainingFailedError if this machine does not see the directory of the run."""
        if not self.mark.is_file():
            raise TrainingFailedError(
                f"node {platform.node()} does not see this run's {self.mark.parent}, or has a folder of its own there: "
                f"every node must see {HOW_TO_SHARE}"
            )

    def __call__(self, number: int, meeting_place: str) -> Iterator[object]:
        """Yield the lines that the trainers log, and on machine 0 the run's report, a mapping, at the end.

        Raises
        ------
        TrainingFailedError
            A trainer ended before its end; the message is the trainer's.
        """
        host, _, port = meeting_place.rpartition(":")
        meeting = [f"--nnodes={self.nodes}", f"--node-rank={number}", f"--master-addr={host}", f"--master-port={port}"]
        torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={self.processes}", *meeting]
        command = [*torchrun, "-m", "conan_assets.training", str(self.config)]
        with open_launch() as launch, (launch / REPORT).open("w+") as report:
            environment = os.environ | {LAUNCH: str(launch)}
            with subprocess.Popen(
                command, env=environment, stdout=report, stderr=subprocess.PIPE, text=True
            ) as process:
                assert process.stderr is not None
                yield from (line.rstrip("\n") for line in process.stderr)
            if process.returncode:
                raise failure_of(launch, subprocess.CalledProcessError(process.returncode, command))
            if number == 0:
                yield json.loads((launch / REPORT).read_text(encoding="utf-8").splitlines()[-1])
