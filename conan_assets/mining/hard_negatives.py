"""Mining of one round: `round_k/hard_negatives`."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from conan_assets.data.tables import NEGATIVES, check_table
from conan_assets.llm.client import Ask
from conan_assets.mining.audit import audit_report
from conan_assets.mining.calibration import calibrated_ratio
from conan_assets.mining.collection import MiningError, collections
from conan_assets.mining.examples import choose_examples
from conan_assets.mining.judge import judge_negatives
from conan_assets.mining.miner import Miner
from conan_assets.mining.refresh import estimate_drift, pooled_documents, search_pools
from conan_assets.mining.settings import STUDENT, MiningSettings, TopKPercPos
from conan_assets.mining.shown import POSITIVES, SCORE
from conan_assets.search.embeddings import BiEncoderRetriever
from conan_assets.search.ranking import Neighbours
from conan_assets.search.retriever import Retriever
from conan_assets.search.score_table import TableRetriever
from conan_assets.search.settings import TeacherSettings
from conan_assets.search.teachers import open_teacher

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
    ask: Ask | None = None,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the negatives table of a round and its audit; write the scores of its positives into ``workdir``.

    Every candidate of every training query is in the table, with its scores, its verdict and the reason; kept ones
    have an ``order`` from 1 and ``copies``, how often they count in the loss (above 1 only after ``intra_sample``
    without dedup). A negative outside of the corpus has "pair:" and the id of its pair as ``doc_id``.

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
        Where pictures and positives.parquet are written, and what a killed search resumes from.
    ask
        Sends prompts to the LLM judge; needed when ``settings.judge`` is set.

    Raises
    ------
    MiningError
        More negatives are asked for than a corpus has documents, a teacher's table is missing or too shallow, or
        there is a judge and no way to ask it.
    """
    started = time.monotonic()
    _require_inputs(settings, teachers, teacher_candidates, ask)
    settings = _calibrated(settings, teachers, teacher_candidates)
    mined = _Mined()
    for collection in collections(corpus, pairs):
        texts, size, folder = collection.texts.to_list(), collection.corpus_size, workdir / "search"
        retriever = BiEncoderRetriever(student, store, texts, settings.search, folder / STUDENT, size)
        others: dict[str, Retriever] = {}
        for name in settings.teachers_used:
            open_again = partial(open_teacher, teachers[name], texts, store, folder / name / collection.dataset, size)
            known = collection.positions_of(teacher_candidates[name])
            others[name] = TableRetriever(known, len(texts), size, open_again)
        mined.add(Miner(settings, collection, {STUDENT: retriever, **others}), retriever, previous_negatives, ask)
    negatives = check_table(pl.concat(mined.frames), NEGATIVES, "hard_negatives")
    negatives = negatives.select(_columns(negatives))
    report = audit_report(settings, mined.miners, negatives, evaluation_pairs, previous_negatives, workdir)
    positives = pl.concat(_scored_positives(miner) for miner in mined.miners)
    positives.write_parquet(workdir / POSITIVES)
    report["examples"] = choose_examples(settings, negatives, positives)
    return negatives, {**report, **mined.report(), "seconds": round(time.monotonic() - started, 1)}


def _scored_positives(miner: Miner) -> pl.DataFrame:
    """Return ``query_id``, ``doc_id`` and the score of every positive by the student and each teacher."""
    positives = miner.collection.positives
    scores = [pl.Series(f"{name}{SCORE}", values, pl.Float32) for name, values in miner.positive_scores.items()]
    return miner.collection.ids_frame(positives.rows, positives.members).with_columns(scores)


@dataclass
class _Mined:
    """What was mined so far, one collection after the other."""

    frames: list[pl.DataFrame] = field(default_factory=list)
    miners: list[Miner] = field(default_factory=list)
    verdicts: list[dict[str, int]] = field(default_factory=list)
    drift: list[dict[str, Any]] = field(default_factory=list)

    def add(self, miner: Miner, student: BiEncoderRetriever, previous: pl.DataFrame | None, ask: Ask | None) -> None:
        for part in miner.mine(self._sources(miner, student, previous)):
            if miner.settings.judge is not None and ask is not None:
                self.verdicts.append(judge_negatives(miner.settings.judge, miner.collection, part, ask))
            self.frames.append(part.frame(miner.collection))
        self.miners.append(miner)

    def _sources(
        self, miner: Miner, student: BiEncoderRetriever, previous: pl.DataFrame | None
    ) -> dict[str, Neighbours]:
        """Search every source; the student among the pooled documents alone when the settings say so."""
        settings, collection = miner.settings, miner.collection
        if settings.refresh.mode == "full" or previous is None or STUDENT not in settings.candidates:
            return miner.search(settings.candidates)
        pooled = pooled_documents(collection, previous)
        found = search_pools(student, collection, pooled, settings.depth)
        share, needed = settings.refresh.drift_documents, settings.negatives_per_query
        generator = np.random.default_rng(settings.seed)
        drift = estimate_drift(collection, student, found, pooled, needed, share, generator)
        self.drift.append({"dataset": collection.dataset, **drift})
        return {STUDENT: found, **miner.search(name for name in settings.candidates if name != STUDENT)}

    def report(self) -> dict[str, Any]:
        judged = {key: sum(counts[key] for counts in self.verdicts) for key in (self.verdicts or [{}])[0]}
        return {**judged, **({"refresh": self.drift} if self.drift else {})}


def _columns(negatives: pl.DataFrame) -> Iterator[str]:
    """Yield the columns with every score together, before the verdict."""
    scores = [name for name in negatives.columns if name.endswith("_score")]
    yield from ("query_id", "doc_id", "rank", *scores)
    yield from (name for name in negatives.columns if name not in ("query_id", "doc_id", "rank", *scores))


def _require_inputs(
    settings: MiningSettings,
    teachers: Mapping[str, TeacherSettings],
    tables: Mapping[str, pl.LazyFrame],
    ask: Ask | None,
) -> None:
    if settings.judge is not None and ask is None:
        raise MiningError(
            "mining.judge is set and no chat client was given: configure the endpoint or remove the judge"
        )
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
