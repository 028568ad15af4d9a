"""Does it make a better model? ``python -m benchmarks.quality [--profile demo] [--steps 96] [--seeds 0 1 2]``.

Trains a profile's base model in several ways on the same training pairs, with the same number of optimizer steps,
queries and hard negatives in each, and scores every model on the profile's dev metric's suite:

* ``sentence-transformers``: negatives mined once by its ``mine_hard_negatives`` (``relative_margin`` 0.05, the best of
  50), its cached MultipleNegativesRankingLoss in bfloat16;
* ``naive``: one round, the best of the mined candidates without a veto;
* ``positive-aware``: one round, with the profile's veto, and so in all that follow;
* ``dynamic negatives``: one round, in which hard negatives that have become easy are replaced;
* ``balanced batches``: one round, with sentence pairs in every batch (CBB), if the profile has any;
* ``two rounds``: half of the steps, then the other half on negatives mined again with the model so far;
* ``all``: two rounds of balanced batches with dynamic negatives.

Prints a Markdown table, mean and standard deviation over the seeds in points, and ends with one line of JSON with every
figure. Everything lies in ``--home``; called again with the same one, what is finished is not made again.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import dagster as dg
import polars as pl

from benchmarks.st_trainer import build_st_trainer
from conan_assets.artifacts import ArtifactStore, fingerprint
from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.definitions import build_defs
from conan_assets.defs.storage import TABLE
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.models import locate_model
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.evaluation.run import evaluate_encoder
from conan_assets.settings import Settings, load_settings
from conan_assets.training.settings import DynamicNegativeSettings, TrainingSettings

SENTENCE_TRANSFORMERS = "sentence-transformers"
CANDIDATES = 50
RELATIVE_MARGIN = 0.05
Scores = dict[str, float]


def ways(settings: Settings, steps: int, seed: int) -> dict[str, Settings]:
    """Return the programmes that are compared, by name."""
    (stage,) = settings.training
    full = replace(stage, epochs=steps, max_steps=steps, seed=seed)
    plain = replace(full, tasks=("retrieval",), dynamic_negatives=DynamicNegativeSettings())

    def programme(rounds: int, stage: TrainingSettings) -> Settings:
        stage = replace(stage, max_steps=steps // rounds)
        return settings.model_copy(update={"rounds": rounds, "training": (stage,)})

    naive = settings.mining.model_copy(update={"veto": ()})
    return {
        "naive": programme(1, plain).model_copy(update={"mining": naive}),
        "positive-aware": programme(1, plain),
        "dynamic negatives": programme(1, replace(plain, dynamic_negatives=full.dynamic_negatives)),
        "balanced batches": programme(1, replace(plain, tasks=full.tasks)),
        "two rounds": programme(2, plain),
        "all": programme(2, full),
    }


def score_graph(settings: Settings, model: str) -> Scores:
    """Materialize a programme up to its leaderboard; return the scores of a model there."""
    definitions = build_defs(settings)
    keys = dg.AssetSelection.assets("leaderboard").upstream().resolve(definitions.resolve_asset_graph())
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        job.execute_in_process(instance=instance, asset_selection=list(keys))
    rows = json.loads((settings.home / "leaderboard.json").read_text())
    return scores_of(rows, settings, model=model)


def scores_of(rows: list[dict[str, Any]], settings: Settings, **where: str) -> Scores:
    """Return the dev metric by split in points, of the rows that match."""
    where |= {"suite": settings.dev_metric.suite, "metric": settings.dev_metric.metric}
    found = [row for row in rows if all(row[name] == value for name, value in where.items())]
    return {row["split"]: round(100 * row["value"], 2) for row in found}


def score_sentence_transformers(settings: Settings, steps: int, seed: int) -> Scores:
    """Mine and train with sentence-transformers on a programme's training pairs; return the scores."""
    assets = ArtifactStore(settings.home / "assets")
    tables = [assets.current(name) for name in ("raw_corpus", "raw_pairs", "training_pairs")]
    corpus, raw_pairs, pairs = (pl.read_parquet(table.path / TABLE) for table in tables)
    recipe = (settings.base_model, settings.training, steps, seed, *(table.content for table in tables))
    folder = settings.home / "sentence_transformers" / fingerprint(*recipe)
    if not (folder / "model").exists():
        train_sentence_transformers(settings, corpus, pairs, steps, seed, folder)
    encoder = Encoder(replace(settings.base_model, model=str(folder / "model"), revision=None))
    store = EmbeddingStore(settings.home / "embeddings")
    suites = {settings.dev_metric.suite: settings.all_suites[settings.dev_metric.suite]}
    report = evaluate_encoder(encoder, store, suites, corpus, raw_pairs, folder, folder / "evaluations")
    return scores_of(report["rows"], settings)


def train_sentence_transformers(
    settings: Settings, corpus: pl.DataFrame, pairs: pl.DataFrame, steps: int, seed: int, folder: Path
) -> None:
    """Mine and train with sentence-transformers; leave the model in the folder."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    (stage,) = settings.training
    texts = corpus.select("doc_id", positive=DOCUMENT_TEXT)
    trained = pairs.filter(pl.col("task") == "retrieval").join(texts, on="doc_id", how="left", maintain_order="left")
    trained = trained.with_columns(positive=pl.coalesce("positive", "text"))
    model = SentenceTransformer(str(locate_model(settings.base_model.model)))
    model.max_seq_length = stage.max_tokens or settings.base_model.max_tokens or model.max_seq_length
    mined = mine_hard_negatives(
        Dataset.from_dict({"anchor": trained["query"].to_list(), "positive": trained["positive"].to_list()}),
        model,
        corpus=texts["positive"].to_list(),
        range_max=CANDIDATES,
        relative_margin=RELATIVE_MARGIN,
        num_negatives=stage.negatives_per_query,
        output_format="n-tuple",
        verbose=False,
    )
    trainer = build_st_trainer(
        model,
        mined.to_dict(),
        folder / "trainer",
        steps=steps,
        batch_size=stage.retrieval_batch_size,
        learning_rate=stage.learning_rate,
        temperature=stage.temperature,
        cached=True,
        bfloat16=True,
        seed=seed,
    )
    trainer.train()
    model.save(str(folder / "unfinished"))
    (folder / "unfinished").rename(folder / "model")


def compare(settings: Settings, steps: int, seeds: list[int]) -> dict[str, list[Scores]]:
    """Return the scores of every way with every seed."""
    scores: dict[str, list[Scores]] = {}
    for seed in seeds:
        for name, programme in ways(settings, steps, seed).items():
            if not scores:
                note(scores, "base model", score_graph(programme, "base model"))
            note(scores, name, score_graph(programme, f"round {programme.rounds}"))
        note(scores, SENTENCE_TRANSFORMERS, score_sentence_transformers(settings, steps, seed))
    return scores


def note(scores: dict[str, list[Scores]], name: str, found: Scores) -> None:
    """Add what one seed gave, and print it."""
    scores.setdefault(name, []).append(found)
    print(f"{name:>24} {json.dumps(found)}", flush=True)


def table(scores: Mapping[str, list[Scores]]) -> str:
    """Return the scores as a Markdown table, a row for each way."""
    splits = list(scores["base model"][0])
    lines = [f"| | {' | '.join(splits)} |", f"| --- |{' --: |' * len(splits)}"]
    for name, runs in scores.items():
        cells = [[run[split] for run in runs] for split in splits]
        shown = [f"{mean(cell):.1f} ± {stdev(cell) if len(cell) > 1 else 0:.1f}" for cell in cells]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--profile", default="demo", help="name or path of a profile with one stage of training")
    parser.add_argument("--steps", type=int, default=96, help="optimizer steps of every model")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--home", type=Path, help="where everything is written; a temporary folder if not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        settings = load_settings(arguments.profile, {}).model_copy(update={"home": home, "keep_versions": 1_000})
        if len(settings.training) > 1:
            parser.error(
                f"the profile {arguments.profile} trains in {len(settings.training)} stages; give one with one"
            )
        scores = compare(settings, arguments.steps, arguments.seeds)
    print(table(scores))
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
