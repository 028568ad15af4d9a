"""Training on several machines: what runs on each, torchrun with that machine's trainers."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conan_assets.training.config import HOW_TO_SHARE
from conan_assets.training.launch import LAUNCH, TrainingFailedError, failure_of, open_launch

REPORT = "report.json"


@dataclass(frozen=True)
class TrainOnNode:
    """The trainers of one machine among several, which all read and write the directory of one run.

    Attributes
    ----------
    config
        The run's ``config.json``.
    nodes, processes
        How many machines there are, and trainers on each.
    """

    config: Path
    nodes: int
    processes: int

    def require(self) -> None:
        """Raise TrainingFailedError if this machine does not see the directory of the run."""
        if not self.config.is_file():
            raise TrainingFailedError(
                f"node {platform.node()} does not see {self.config}, where this run's files lie: every node must see "
                f"{HOW_TO_SHARE}"
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
