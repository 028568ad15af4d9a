"""W processes must compute the loss and the gradient of one, whatever is dealt to whom."""

import itertools
import time
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from conan_assets.training import processes as processes_module
from conan_assets.training.architecture import ArchitectureSettings
from conan_assets.training.batches import Batch, BatchPlan
from conan_assets.training.config import TrainingConfig
from conan_assets.training.data import read_training_data
from conan_assets.training.metrics import read_metrics
from conan_assets.training.model import TrainableModel
from conan_assets.training.negatives import NegativeTable
from conan_assets.training.processes import Processes, fill_buckets
from conan_assets.training.run import train
from conan_assets.training.settings import DynamicNegativeSettings, TrainingSettings
from conan_assets.training.sharding import own_part, shard, whole
from conan_assets.training.trainer import Trainer
from conan_assets_tests.forked import fork_ranks, kill
from conan_assets_tests.training.samples import make_config, write_random_data

pytestmark = pytest.mark.slow

SETTINGS = TrainingSettings(
    epochs=3,
    retrieval_batch_size=5,
    sts_batch_size=3,
    negatives_per_query=3,
    temperature=0.1,
    learning_rate=1e-3,
    dropout=0.0,
    dtype="float32",
    tokens_per_mini_batch=64,
    dynamic_negatives=DynamicNegativeSettings(rule="v2", v2_floor=0.9, v2_ceiling=1.0),
    save_every_minutes=0,
)
VARIANTS = {
    "shared": SETTINGS,
    "roles": replace(SETTINGS, sts_processes=1),
    "recomputed": replace(SETTINGS, tokens_in_memory=0),
    "single task": replace(SETTINGS, balance="single_task"),
    "a process without texts": replace(SETTINGS, tasks=("retrieval",), sts_processes=1),
    "bfloat16": replace(SETTINGS, dtype="bfloat16"),
    "ranks": replace(SETTINGS, retrieval_ranks=3, negatives_per_query=2, in_batch_negatives="none", sts_processes=1),
}
TOGETHER = [(2, False), (4, False), (2, True)]
"""How many processes, and whether they share weights."""
Runs = dict[tuple[int, bool], Path]
STEPS = 3
SECONDS_TO_TRAIN = 120


def compute(config: TrainingConfig, shards: bool) -> None:
    """Write down, for each stage and this process's rank, the loss and the gradient of the first steps."""
    processes_module.BUCKET_BYTES = 10_000  # a tenth of them
    processes = Processes()
    for variant, settings in enumerate(config.stages):
        base = TrainableModel(config.base_model, config.architecture, "cpu", seed=0)
        if shards:
            shard(base.model, processes.device, getattr(torch, settings.dtype))
        data = read_training_data(config.directory / "data", settings.tasks)
        trainer = Trainer(0, base.model, config.base_model, data, None, settings, processes)
        losses, gradients = [], {}
        for step in range(STEPS):
            losses.append(trainer.compute_gradient(trainer.plan.batch(step))["loss"])
            for name, master in trainer.weights.masters.items():
                if master.grad is not None:
                    gradients[f"{step}/{name}"] = whole(master.grad).clone()
            trainer.optimizer.zero_grad()
            trainer.step += 1
        assert trainer.table is not None
        table = {f"table/{name}": torch.from_numpy(getattr(trainer.table, name)) for name in trainer.table.STATE}
        texts = trainer.plan.batch(0).texts
        with torch.no_grad():
            vectors = trainer.encoder.embed(texts, range(processes.rank, len(texts), processes.count))
        held = torch.tensor(sum(own_part(parameter).numel() for parameter in base.model.parameters()))
        values = {"loss": torch.tensor(losses), "vectors": vectors, "held": held, **gradients, **table}
        save_file(values, config.directory / f"variant-{variant}-rank-{processes.rank}.safetensors")
    processes.wait()


def assert_finished(processes: list[ForkServerProcess], log: Path) -> None:
    for process in processes:
        process.join(SECONDS_TO_TRAIN)
    assert {process.exitcode for process in processes} == {0}, log.read_text()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Runs:
    """Return a folder for 1, 2 and 4 processes, sharing weights or not, with what each rank computed for variants."""
    folders = {}
    for count, shards in ((1, False), *TOGETHER):
        folder = folders[count, shards] = tmp_path_factory.mktemp(f"processes_{count}")
        write_random_data(folder / "data", samples=11, pool=7, sts=7)
        checkpointed = ArchitectureSettings(gradient_checkpointing=shards)
        config = replace(make_config(folder, tiny_model, *VARIANTS.values()), architecture=checkpointed)
        assert_finished(fork_ranks(count, folder / "log", compute, config, shards), folder / "log")
    return folders


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "bfloat16"])
@pytest.mark.parametrize(("count", "shards"), TOGETHER)
def test_processes_compute_the_loss_and_the_gradient_of_one(runs: Runs, count: int, shards: bool, variant: str):
    alone = computed(runs[1, False], variant)
    total = alone.pop("held")
    for rank in range(count):
        together = computed(runs[count, shards], variant, rank)
        held = together.pop("held")
        assert held / total <= 1 / count + 0.01 if shards else held == total
        assert together.keys() == alone.keys()
        for name, expected in alone.items():
            torch.testing.assert_close(
                together[name],
                expected,
                rtol=1e-4,
                atol=1e-6,
                equal_nan=True,
                msg=lambda text, name=name: f"{name}: {text}",
            )


def test_shared_weights_are_rounded_to_bfloat16_as_whole_ones_are(runs: Runs):
    whole_ones, shared = computed(runs[2, False], "bfloat16"), computed(runs[2, True], "bfloat16")
    gradients = [name for name in whole_ones if name.startswith("0/")]
    expected, found = (torch.cat([part[name].flatten() for name in gradients]) for part in (whole_ones, shared))
    assert found.dtype == torch.float32
    assert torch.equal(shared["vectors"], whole_ones["vectors"])
    assert (found - expected).norm() < 1e-4 * expected.norm()


def computed(folder: Path, variant: str, rank: int = 0) -> dict[str, torch.Tensor]:
    """Return what :func:`compute` wrote down."""
    return load_file(folder / f"variant-{[*VARIANTS].index(variant)}-rank-{rank}.safetensors")


def test_the_loss_is_the_formula_over_encoded_texts(runs: Runs, tiny_model: str):
    config = make_config(runs[1, False], tiny_model, SETTINGS)
    expected = naive_loss(config, tiny_model)
    found = computed(runs[4, False], "shared", rank=3)["loss"]
    assert float(found[0]) == pytest.approx(expected, rel=1e-4)


def naive_loss(config: TrainingConfig, tiny_model: str) -> float:
    """Return L_ret + 0.8 L_cos of the first batch from embeddings that sentence-transformers gives."""
    batch, vectors = first_batch(config, tiny_model)
    settings, part, retrieval = config.stages[0], batch.retrieval, 0.0
    assert part is not None
    for row, query in enumerate(part.queries):
        terms = np.exp(vectors[part.documents] @ vectors[query] / settings.temperature)
        positive = terms[part.positive[row]]
        retrieval -= np.log(positive / (positive + (terms * part.counts[row]).sum())) / len(part.queries)
    return float(retrieval + 0.8 * naive_cosent(batch, vectors, settings.cosent_temperature))


def first_batch(config: TrainingConfig, tiny_model: str) -> tuple[Batch, np.ndarray]:
    """Return the first batch of the first stage and the embeddings of its texts."""
    settings = config.stages[0]
    data = read_training_data(config.directory / "data", settings.tasks)
    assert data.retrieval is not None
    table = NegativeTable(data.retrieval.candidates, settings.negatives_in_loss, settings.dynamic_negatives)
    batch = BatchPlan(data, settings, table).batch(0)
    texts = [text for _, text in batch.texts]
    return batch, SentenceTransformer(tiny_model, device="cpu").encode(texts, normalize_embeddings=True)


def naive_cosent(batch: Batch, vectors: np.ndarray, temperature: float) -> float:
    assert batch.sts is not None
    cosine = (vectors[batch.sts.first] * vectors[batch.sts.second]).sum(axis=1)
    pairs = [(i, j) for i in range(3) for j in range(3) if batch.sts.labels[i] > batch.sts.labels[j]]
    return float(np.log(1 + sum(np.exp((cosine[j] - cosine[i]) / temperature) for i, j in pairs)))


def test_ranks_that_share_queries_and_hold_other_negatives_compute_equation_3(runs: Runs, tiny_model: str):
    settings = VARIANTS["ranks"]
    batch, vectors = first_batch(make_config(runs[1, False], tiny_model, settings), tiny_model)
    part, retrieval = batch.retrieval, 0.0
    assert part is not None
    for row, query in enumerate(part.queries):
        scores = vectors[part.documents] @ vectors[query] / settings.temperature
        ranks = part.negatives[row].reshape(settings.retrieval_ranks, settings.negatives_per_query)
        held = [[float(np.exp(scores[document])) for document in rank if document >= 0] for rank in ranks]
        positive = np.exp(scores[part.positive[row]])
        retrieval -= np.log(positive / (positive + sum(map(sum, held)))) / len(part.queries)
    expected = retrieval + 0.8 * naive_cosent(batch, vectors, settings.cosent_temperature)
    for folder in runs.values():
        found = computed(folder, "ranks")["loss"]
        assert float(found[0]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("before", "after"), [(False, False), (True, True), (True, False)], ids=["whole", "shared", "shared, then whole"]
)
def test_a_run_on_two_processes_killed_and_resumed_trains_the_model_of_one(
    tmp_path: Path, tiny_model: str, before: bool, after: bool
):
    settings = replace(SETTINGS, epochs=20, average_last=0.5)
    one, two = (make_config(tmp_path / name, tiny_model, settings) for name in ("one", "two"))
    for config in (one, two):
        write_random_data(config.directory / "data", samples=11, pool=7, sts=7)
    train(one)
    log = tmp_path / "log"
    killed = fork_ranks(2, log, train, replace(two, shard_weights=before))
    deadline = time.monotonic() + SECONDS_TO_TRAIN
    while time.monotonic() < deadline and killed[0].is_alive() and len(read_metrics(two.directory)) < 8:
        time.sleep(0.01)
    for process in killed:
        kill(process)
    assert len(read_metrics(two.directory)) >= 8, log.read_text()
    assert not (two.directory / "report.json").exists()

    assert_finished(fork_ranks(2, log, train, replace(two, shard_weights=after)), log)
    report = train(two)
    assert report["processes"] == 2
    assert report["resumed_from_step"] >= 5
    assert report["negatives_replaced"] > 0
    expected, found = (load_file(config.directory / "model" / "model.safetensors") for config in (one, two))
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-2, atol=1e-4)


@given(st.lists(st.integers(1, 9), max_size=12))
def test_gradients_are_added_up_in_buckets_of_bounded_size(sizes: list[int]):
    gradients = [torch.zeros(size) for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes_module, "BUCKET_BYTES", 4 * 6)
        buckets = [*fill_buckets(gradients)]
    assert [id(gradient) for bucket in buckets for gradient in bucket] == [*map(id, gradients)]
    assert all(len(bucket) == 1 or sum(map(len, bucket)) <= 6 for bucket in buckets)
    assert all(sum(map(len, one)) + len(other[0]) > 6 for one, other in itertools.pairwise(buckets))


def test_more_sts_processes_than_there_are_is_refused(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path, sts=4)
    config = make_config(tmp_path, tiny_model, replace(SETTINGS, sts_processes=2))
    base = TrainableModel(config.base_model, config.architecture, "cpu", seed=0)
    processes = Processes()
    processes.count = 2
    data = read_training_data(tmp_path, SETTINGS.tasks)
    with pytest.raises(ValueError, match="sts_processes is 2 of 2 processes; give fewer"):
        Trainer(0, base.model, config.base_model, data, None, config.stages[0], processes)
