"""Mining of one round: `round_k/hard_negatives`."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from conan_assets.data.tables import NEGATIVES, check_table
from conan_assets.mining.audit import audit_report
from conan_assets.mining.calibration import calibrated_ratio
from conan_assets.mining.collection import Collection, MiningError, collections
from conan_assets.mining.miner import Miner
from conan_assets.mining.scorers import BiEncoderScorer, Scorer, open_scorer
from conan_assets.mining.scores import TableScorer
from conan_assets.mining.settings import STUDENT, MiningSettings, TeacherSettings, TopKPercPos

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder
    from conan_assets.encoding.store import EmbeddingStore


def mine_hard_negatives(
    settings: MiningSettings,
    student: "Encoder",
    teachers: Mapping[str, TeacherSettings],
    teacher_candidates: Mapping[str, pl.LazyFrame],
    corpus: pl.DataFrame,
    pairs: pl.DataFrame,
    evaluation_pairs: pl.DataFrame,
    previous_negatives: pl.DataFrame | None,
    store: "EmbeddingStore",
    workdir: Path,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the negatives table of a round and its audit.

    Every candidate of every training query is in the table, with its scores, its verdict and the reason; kept ones
    have an ``order`` from 1. A negative outside of the corpus has "pair:" and the id of its pair as ``doc_id``.

    Parameters
    ----------
    student
        The previous round's checkpoint.
    teachers, teacher_candidates
        Settings and candidates tables of at least the teachers that ``settings`` names.
    corpus, pairs, evaluation_pairs
        The corpus, the training pairs, and the pairs of evaluation sets, for the overlap that the audit reports.
    previous_negatives
        The table of the round before, if there was one.
    workdir
        Where pictures are written and what a killed search resumes from.

    Raises
    ------
    MiningError
        More negatives are asked for than a corpus has documents, or a teacher's table is missing or too shallow.
    """
    started = time.monotonic()
    _require_tables(settings, teachers, teacher_candidates)
    settings = _calibrated(settings, teachers, teacher_candidates)
    frames, miners = [], []
    for collection in collections(corpus, pairs):
        folder = workdir / "search" / collection.dataset
        scorers: dict[str, Scorer] = {STUDENT: BiEncoderScorer(student, collection, store, folder)}
        for name in settings.teachers_used:
            scorers[name] = _table_scorer(collection, teacher_candidates[name], teachers[name], store, folder / name)
        miner = Miner(settings, collection, scorers)
        frames.extend(part.frame(collection) for part in miner.mine(miner.search()))
        miners.append(miner)
    negatives = check_table(pl.concat(frames), NEGATIVES, "hard_negatives")
    report = audit_report(settings, miners, negatives, evaluation_pairs, previous_negatives, workdir)
    return negatives, {**report, "seconds": round(time.monotonic() - started, 1)}


def _table_scorer(
    collection: Collection, table: pl.LazyFrame, teacher: TeacherSettings, store: "EmbeddingStore", folder: Path
) -> TableScorer:
    return TableScorer(collection, table, lambda: open_scorer(teacher, collection, store, folder))


def _require_tables(
    settings: MiningSettings, teachers: Mapping[str, TeacherSettings], tables: Mapping[str, pl.LazyFrame]
) -> None:
    for name in settings.teachers_used:
        if name not in teachers or name not in tables:
            raise MiningError(
                f"mining names the teacher {name!r}; there are scores of {', '.join(sorted(tables)) or 'none'}"
            )
        if name in settings.candidates and teachers[name].depth < settings.depth:
            raise MiningError(
                f"mining takes {settings.depth} candidates of {name!r}, which scored {teachers[name].depth} per query: "
                f"raise teachers.{name}.depth or lower mining.depth"
            )


def _calibrated(
    settings: MiningSettings, teachers: Mapping[str, TeacherSettings], tables: Mapping[str, pl.LazyFrame]
) -> MiningSettings:
    """Return the settings with the ratio of every teacher that calibrates replaced by the one found on its table."""
    vetoes = []
    for veto in settings.veto:
        if isinstance(veto, TopKPercPos) and veto.teacher != STUDENT and teachers[veto.teacher].calibrate:
            ratio = calibrated_ratio(tables[veto.teacher].collect(), teachers[veto.teacher].calibration)
            veto = veto.model_copy(update={"ratio": ratio or veto.ratio})
        vetoes.append(veto)
    return settings.model_copy(update={"veto": tuple(vetoes)})
