"""The trainer under ``torchrun``, started by a Dagster asset through Pipes."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import dagster as dg

from conan_assets.training.config import write_config
from conan_assets_tests.training.samples import make_config, write_random_data
from conan_assets_tests.training.test_distributed import SETTINGS


def test_progress_and_report_come_back_to_the_run_that_launched_the_trainer(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data", samples=8)
    config = write_config(make_config(tmp_path, tiny_model, replace(SETTINGS, max_steps=4)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PATH": os.environ["PATH"]}

    @dg.asset
    def checkpoint(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult:
        command = [*torchrun, "-m", "conan_assets.training", str(config)]
        invocation = pipes.run(command=command, context=context, env=environment)
        (report,) = invocation.get_custom_messages()
        return dg.MaterializeResult(metadata={"steps": report["steps"], "processes": report["processes"]})

    with dg.instance_for_test() as instance:
        result = dg.materialize([checkpoint], resources={"pipes": dg.PipesSubprocessClient()}, instance=instance)
        lines = [record.user_message for record in instance.all_logs(result.run_id)]
    (event,) = result.asset_materializations_for_node("checkpoint")
    assert {name: event.metadata[name].value for name in ("steps", "processes")} == {"steps": 4, "processes": 2}
    assert sum("4 of 4" in line and "samples per second" in line for line in lines) == 1
