"""Stage 2, written pairs: `prompt_response_pairs` from a generator over the corpus."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from conan_assets.data.sources import SOURCES_VERSION
from conan_assets.data.tables import PAIRS, WRITTEN_PAIRS_VERSION
from conan_assets.defs.corpus import JUDGED_KEY, judged_key
from conan_assets.defs.gpu import on_the_gpu, unlimited
from conan_assets.defs.limits import retried
from conan_assets.defs.reuse import Report, code_version, reuse_or_build, write_table
from conan_assets.defs.storage import Storage
from conan_assets.encoding.settings import ENCODING_VERSION
from conan_assets.search.settings import SEARCH_VERSION, BiEncoderTeacher, TeacherSettings
from conan_assets.search.teachers import needs_gpu, open_teacher, teacher_recipe
from conan_assets.settings import Settings
from conan_assets.synthesis.settings import OpenAIGeneration

if TYPE_CHECKING:
    from conan_assets.synthesis.round_trip import GateTeacher


def build_synthesis_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the asset that writes pairs."""
    languages = {name: source.language for name, source in settings.sources.items() if source.language}
    gate = _gate_teacher(settings)

    @dg.asset(
        group_name="data",
        kinds={"polars", *(["openai"] if isinstance(settings.generation, OpenAIGeneration) else [])},
        code_version=code_version(encoding=ENCODING_VERSION, search=SEARCH_VERSION, columns=WRITTEN_PAIRS_VERSION),
    )
    @retried
    @(on_the_gpu if gate is not None and needs_gpu(gate) else unlimited)
    def prompt_response_pairs(
        context: dg.AssetExecutionContext, storage: Storage, raw_corpus: pl.LazyFrame, raw_pairs: pl.LazyFrame
    ) -> dg.MaterializeResult[None]:
        """Write pairs for the corpus: by an LLM, or sentences of the documents where the profile names none."""
        from conan_assets.synthesis.generation import generate_pairs, generation_recipe

        def build(directory: Path) -> Report:
            pairs, report = generate_pairs(
                settings.generation,
                raw_corpus.collect(),
                raw_pairs.collect(),
                storage.root / "journal",
                languages,
                _open_gate(gate, storage) if gate is not None else None,
                settings.documents,
                storage.spread,
            )
            write_table(pairs, directory)
            return report

        recipe = {
            "generation": generation_recipe(settings.generation),
            "languages": languages,
            "gate": gate and teacher_recipe(gate),
            **({"documents": settings.documents} if settings.documents else {}),
        }
        return reuse_or_build(context, storage, recipe, build)

    return [prompt_response_pairs, *([_build_judged_pairs()] if judged_key(settings) == JUDGED_KEY else [])]


def _build_judged_pairs() -> dg.AssetsDefinition:
    @dg.asset(key=JUDGED_KEY, group_name="data", kinds={"polars"}, code_version=code_version(sources=SOURCES_VERSION))
    @retried
    def judged_pairs(
        context: dg.AssetExecutionContext,
        storage: Storage,
        raw_pairs: pl.LazyFrame,
        prompt_response_pairs: pl.LazyFrame,
    ) -> dg.MaterializeResult[None]:
        """Put the questions that are written for dev and test beside the judged pairs of sources that have queries.

        So are written hard negatives, which mining takes.
        """
        from conan_assets.synthesis.written_negatives import IS_NEGATIVE

        def build(directory: Path) -> Report:
            written = prompt_response_pairs.filter((pl.col("split") != "train") | IS_NEGATIVE)
            columns = list(PAIRS.columns)
            judged = pl.concat(
                [
                    raw_pairs.select(*columns, written_by=pl.lit(None, pl.String)),
                    written.select(*columns, written_by="generator"),
                ]
            ).collect()
            write_table(judged, directory)
            counts = judged.group_by("dataset", "split", "written_by").len("pairs")
            return {"pairs_by_split": counts.sort("dataset", "split").to_dicts()}

        return reuse_or_build(context, storage, {}, build)

    return judged_pairs


def _gate_teacher(settings: Settings) -> TeacherSettings | None:
    """Return the teacher that the gates of written pairs name, if any."""
    if not isinstance(settings.generation, OpenAIGeneration) or settings.generation.gates.teacher is None:
        return None
    return settings.teachers[settings.generation.gates.teacher]


def _open_gate(gate: TeacherSettings, storage: Storage) -> "GateTeacher":
    from conan_assets.synthesis.round_trip import GateTeacher

    return GateTeacher(
        lambda documents: open_teacher(gate, documents, storage.embeddings), isinstance(gate, BiEncoderTeacher)
    )
