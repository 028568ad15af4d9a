"""Stage 5b, the rounds: `round_k/hard_negatives`, mined with the checkpoint before; `checkpoints.py` trains on them."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from conan_assets.artifacts import Artifact
from conan_assets.cleaning import TABLE
from conan_assets.data.training_files import judgements_of
from conan_assets.defs.checkpoints import build_checkpoint, checkpoint_encoder, round_key
from conan_assets.defs.corpus import judged_key
from conan_assets.defs.gpu import on_the_gpu
from conan_assets.defs.limits import retried
from conan_assets.defs.negatives_checks import check_negatives
from conan_assets.defs.reuse import Report, code_version, reuse_or_build
from conan_assets.defs.storage import Storage
from conan_assets.defs.teachers import teacher_key
from conan_assets.encoding.settings import ENCODING_VERSION
from conan_assets.mining.miner import MINING_VERSION
from conan_assets.search.settings import EXACT, SEARCH_VERSION
from conan_assets.settings import Settings
from conan_assets.synthesis.settings import OpenAIGeneration

if TYPE_CHECKING:
    from conan_assets.llm.client import Asker


def build_round(settings: Settings, number: int) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Return the assets of round ``number`` (from 1) and their checks; `reports.py` adds its reports."""
    negatives = _build_hard_negatives(settings, number)
    return [negatives, check_negatives(negatives, judged_key(settings)), build_checkpoint(settings, number)]


def _build_hard_negatives(settings: Settings, number: int) -> dg.AssetsDefinition:
    student = round_key(number - 1, "checkpoint")
    tables = {f"teacher_{name}": dg.AssetIn(teacher_key(name)) for name in settings.mining.teachers_used}
    tables["raw_pairs"] = dg.AssetIn(judged_key(settings))
    if number > 1:
        tables["previous_negatives"] = dg.AssetIn(round_key(number - 1, "hard_negatives"))

    @dg.asset(
        key=round_key(number, "hard_negatives"),
        ins=tables,
        deps=[student],
        group_name=f"round_{number}",
        kinds={"polars", *(["faiss"] if settings.mining.search.index != EXACT else [])},
        code_version=code_version(encoding=ENCODING_VERSION, search=SEARCH_VERSION, mining=MINING_VERSION),
        description=f"Candidates of round {number - 1}'s checkpoint for every training query, with verdicts.",
    )
    @retried
    @on_the_gpu
    def hard_negatives(
        context: dg.AssetExecutionContext,
        storage: Storage,
        raw_corpus: pl.LazyFrame,
        raw_pairs: pl.LazyFrame,
        training_pairs: pl.LazyFrame,
        **tables: pl.LazyFrame,
    ) -> dg.MaterializeResult[None]:
        from conan_assets.mining.hard_negatives import mine_hard_negatives

        def build(directory: Path) -> Report:
            judge = _judge(settings, storage)
            with tempfile.TemporaryDirectory() as folder:
                judgements = Path(folder) / TABLE
                judgements_of(training_pairs, raw_pairs).sink_parquet(judgements)
                report = mine_hard_negatives(
                    settings.mining,
                    checkpoint_encoder(settings, storage.current(student)),
                    settings.teachers,
                    {name: tables[f"teacher_{name}"] for name in settings.mining.teachers_used},
                    raw_corpus,
                    pl.scan_parquet(judgements),
                    raw_pairs.filter(pl.col("split") != "train").collect(),
                    tables.get("previous_negatives"),
                    storage.embeddings,
                    directory,
                    judge,
                )
            return report | (judge.report() if judge is not None else {})

        used = {name: settings.teachers[name] for name in settings.mining.teachers_used}
        recipe = {
            "mining": settings.mining,
            "calibration": {name: teacher.calibration for name, teacher in used.items() if teacher.calibrate},
            "encoder": settings.base_model,
            "judge": _judge_recipe(settings),
        }
        result = reuse_or_build(context, storage, recipe, build)
        page = _examples(storage.current(context.asset_key), raw_corpus, judgements_of(training_pairs, raw_pairs))
        return result._replace(metadata={**(result.metadata or {}), "examples": dg.MetadataValue.md(page)})

    return hard_negatives


def _examples(mined: Artifact, corpus: pl.LazyFrame, pairs: pl.LazyFrame) -> str:
    """Return the page of a round's candidates that are worth reading."""
    from conan_assets.mining.examples_page import examples_page
    from conan_assets.mining.shown import read_mined

    examples = mined.report["examples"]
    return examples_page(examples, read_mined(mined, corpus, pairs, [row["query_id"] for row in examples]))


def _judge_recipe(settings: Settings) -> dict[str, object] | None:
    """Return what decides the judge's verdicts, if mining has one."""
    if settings.mining.judge is None or not isinstance(settings.generation, OpenAIGeneration):
        return None
    from conan_assets.llm import parsing
    from conan_assets.mining import judge

    return settings.generation.answer_recipe() | {"versions": [judge.JUDGE_VERSION, parsing.PARSING_VERSION]}


def _judge(settings: Settings, storage: Storage) -> "Asker | None":
    """Return what sends the judge's prompts to the endpoint that writes pairs, if mining has a judge."""
    if settings.mining.judge is None or not isinstance(settings.generation, OpenAIGeneration):
        return None
    from conan_assets.llm.client import Asker

    return Asker(settings.generation, storage.root / "journal")
