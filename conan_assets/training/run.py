"""A training run from beginning to end, or from where a killed one stopped to the same end."""

import contextlib
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from conan_assets.artifacts import fingerprint, fingerprint_file
from conan_assets.encoding.models import fingerprint_model
from conan_assets.files import atomic_path
from conan_assets.training.config import TrainingConfig
from conan_assets.training.data import read_dev_samples, read_training_data
from conan_assets.training.model import MODEL, TrainableModel
from conan_assets.training.processes import Processes
from conan_assets.training.run_log import RunLog, TrainingReport
from conan_assets.training.settings import TRAINING_VERSION, TrainingSettings
from conan_assets.training.sharding import gather, is_sharded, shard
from conan_assets.training.shared_state import state_saver
from conan_assets.training.state import STATE, State, StateClock, StateError, load_state, locked
from conan_assets.training.trainer import Trainer
from conan_assets.training.weights import training_dtype

DATA = "data"
REPORT = "report.json"

logger = logging.getLogger("conan_assets")


def train(config: TrainingConfig) -> TrainingReport:
    """Train all stages of ``config`` in its directory and return the run's report.

    A finished run is not repeated, a killed one goes on from its last saved state. The model is saved as ``model/``
    in the directory. Under ``torchrun`` every process calls this, and all return the same report.

    Raises
    ------
    TrainingDataError
        The files in ``data/`` cannot be trained on.
    ArchitectureError
        The base model cannot be changed as the config asks.
    StateError
        The directory holds a damaged saved state, or one of another config, other data or another version.
    DirectoryInUseError
        Another process trains in the directory.
    TrainingDivergedError
        A loss or a gradient is not finite.
    """
    path = config.directory / REPORT
    if not path.exists():
        processes = Processes()
        alone = locked(config.directory) if processes.is_main else contextlib.nullcontext()
        with alone, torch.random.fork_rng():
            _train(config, processes)
    report: TrainingReport = json.loads(path.read_text(encoding="utf-8"))
    if report["config_fingerprint"] != _config_fingerprint(config):
        raise StateError(
            f"{config.directory} holds a finished run of another config: "
            f"train in another directory, or delete {path} and {config.directory / MODEL} to train it again"
        )
    return report


def _train(config: TrainingConfig, processes: Processes) -> None:
    directory = config.directory
    run = fingerprint(
        _config_fingerprint(config), {path.name: fingerprint_file(path) for path in _data_files(directory)}
    )
    state = load_state(directory, run)
    dtype = training_dtype(config.stages[0], config.base_model, processes)
    shards = config.shard_weights and processes.count > 1
    device = "cpu" if shards else str(processes.device)
    base = TrainableModel(config.base_model, config.architecture, device, config.stages[0].seed, dtype)
    if shards:
        shard(base.model, processes.device, dtype)
    run_log = RunLog(config, state) if processes.is_main else None
    for stage, settings in enumerate(config.stages):
        if state is not None and stage < state.stage:
            continue
        trainer = _build_trainer(config, stage, settings, base, processes)
        if state is not None and stage == state.stage:
            trainer.restore(state)
        _run_stage(trainer, run_log, directory, run)
        trainer.finish()
    if shards:
        base = _gather(config, base, processes)
    if run_log is not None:
        _publish(base, run_log, state, directory, _config_fingerprint(config))
    processes.wait()


def _build_trainer(
    config: TrainingConfig, stage: int, settings: TrainingSettings, base: TrainableModel, processes: Processes
) -> Trainer:
    data = read_training_data(config.directory / DATA, settings.trained_tasks)
    dev = read_dev_samples(config.directory / DATA) if settings.early_stop is not None else None
    return Trainer(stage, base.model, config.base_model, data, dev, settings, processes)


def _run_stage(trainer: Trainer, run_log: RunLog | None, directory: Path, run: str) -> None:
    """Train a stage; the process with the run_log writes it, and the states."""
    trainer.fit()
    clock = StateClock(trainer.settings.save_every_minutes)
    if run_log is not None:
        run_log.start_stage(trainer)
    with state_saver(directory, run) as save:
        for metrics in trainer.run():
            if run_log is not None:
                run_log.write(metrics)
            if _is_state_due(trainer, clock):
                with clock.saving():
                    state = trainer.state()
                    if run_log is not None:
                        save(state)
    if run_log is not None:
        run_log.end_stage(trainer, clock.seconds)


def _is_state_due(trainer: Trainer, clock: StateClock) -> bool:
    """Return whether this process takes part in saving a state: the first, and all that share weights with it."""
    processes, due = trainer.processes, clock.is_due or trainer.is_finished
    if not is_sharded(trainer.model):
        return processes.is_main and due
    return bool(processes.from_main(torch.tensor(due, dtype=torch.uint8, device=processes.device)))


def _gather(config: TrainingConfig, shared: TrainableModel, processes: Processes) -> TrainableModel:
    """Return, in the first process, a model like the ``shared`` one that has its weights whole."""
    whole = shared
    if processes.is_main:
        whole = TrainableModel(config.base_model, config.architecture, "cpu", config.stages[0].seed)
    gather(shared.model, whole.model if processes.is_main else None)
    return whole


def _publish(
    base: TrainableModel, run_log: RunLog, state: State | None, directory: Path, config_fingerprint: str
) -> None:
    """Save the model, then the report, which says that the run is finished, and drop what was for going on."""
    base.save(directory)
    report = run_log.close() | {"config_fingerprint": config_fingerprint}
    if state is not None:
        report["resumed_from_step"] = state.step
    with atomic_path(directory / REPORT) as path:
        path.write_text(json.dumps(report, indent=1), encoding="utf-8")
    shutil.rmtree(directory / STATE, ignore_errors=True)


def _config_fingerprint(config: TrainingConfig) -> str:
    """Return the fingerprint of what decides the result: not who watches, nor memory, nor where the base model lies."""
    base = config.base_model
    weights = replace(base, model=fingerprint_model(base.model, base.revision), revision=None)
    stages = tuple(stage.deciding for stage in config.stages)
    deciding = replace(config, base_model=weights, trackers=(), stages=stages)
    values = json.loads(deciding.to_json())
    del values["shard_weights"]
    return fingerprint(TRAINING_VERSION, values)


def _data_files(directory: Path) -> list[Path]:
    return sorted((directory / DATA).glob("*.parquet"))
