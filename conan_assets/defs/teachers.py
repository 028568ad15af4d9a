"""Stage 4, the teachers: `teacher_scores/<teacher>`, their best documents and every positive, with scores."""

from pathlib import Path

import dagster as dg
import polars as pl

from conan_assets.defs.gpu import on_the_gpu, unlimited
from conan_assets.defs.limits import retried
from conan_assets.defs.reuse import Report, code_version, reuse_or_build
from conan_assets.defs.storage import Storage
from conan_assets.encoding.settings import ENCODING_VERSION
from conan_assets.mining.miner import MINING_VERSION
from conan_assets.search.settings import EXACT, SEARCH_VERSION, BiEncoderTeacher, TeacherSettings
from conan_assets.search.teachers import needs_gpu, teacher_recipe
from conan_assets.settings import Settings


def teacher_key(name: str) -> dg.AssetKey:
    """Return the key of a teacher's scores."""
    return dg.AssetKey(["teacher_scores", name])


def build_teacher_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return one asset per teacher."""
    return [_build_teacher(name, teacher) for name, teacher in settings.teachers.items()]


def _build_teacher(name: str, teacher: TeacherSettings) -> dg.AssetsDefinition:
    @dg.asset(
        key=teacher_key(name),
        group_name="data",
        kinds={_kind(teacher)},
        code_version=code_version(encoding=ENCODING_VERSION, search=SEARCH_VERSION, mining=MINING_VERSION),
        description=f"The best {teacher.depth} documents of every training query by {name}, and its positives.",
    )
    @retried
    @(on_the_gpu if needs_gpu(teacher) else unlimited)
    def teacher_scores(
        context: dg.AssetExecutionContext, storage: Storage, raw_corpus: pl.LazyFrame, training_pairs: pl.LazyFrame
    ) -> dg.MaterializeResult[None]:
        from conan_assets.mining.teacher_scores import score_with_teacher

        def build(directory: Path) -> Report:
            return score_with_teacher(teacher, name, raw_corpus, training_pairs, storage.embeddings, directory)

        return reuse_or_build(context, storage, teacher_recipe(teacher), build)

    return teacher_scores


def _kind(teacher: TeacherSettings) -> str:
    """Return the badge of a teacher in the UI: what searches."""
    is_approximate = isinstance(teacher, BiEncoderTeacher) and teacher.search.index != EXACT
    return "faiss" if is_approximate else teacher.kind
