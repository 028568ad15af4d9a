"""Mining of one round: `round_k/hard_negatives`."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from conan_assets.cleaning import TABLE
from conan_assets.data.tables import NEGATIVES, check_table
from conan_assets.llm.client import Ask
from conan_assets.memory import large_arrays_given_back
from conan_assets.mining.audit import Audit, EvaluationOverlap, Mean, queries_changed
from conan_assets.mining.calibration import calibrated_ratio
from conan_assets.mining.collection import Collection, MiningError, collections
from conan_assets.mining.examples import choose_examples
from conan_assets.mining.figures import ScorePanels, plot_histograms
from conan_assets.mining.guard import Guard
from conan_assets.mining.judge import judge_negatives
from conan_assets.mining.miner import Miner, require_enough_documents
from conan_assets.mining.parts import TableReader, TableWriter
from conan_assets.mining.refresh import PoolRetriever, pooled_documents
from conan_assets.mining.settings import STUDENT, MiningSettings, TopKPercPos
from conan_assets.mining.shown import POSITIVES, SCORE
from conan_assets.search.embeddings import BiEncoderRetriever
from conan_assets.search.ranking import Neighbours
from conan_assets.search.retriever import Effort, Retriever, effort_report
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
    corpus: pl.LazyFrame,
    pairs: pl.LazyFrame,
    evaluation_pairs: pl.DataFrame,
    previous_negatives: pl.LazyFrame | None,
    store: "EmbeddingStore",
    workdir: Path,
    ask: Ask | None = None,
) -> dict[str, Any]:
    """Write a round's negatives table, and the scores of its positives, part by part; return its audit.

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
        Where both tables and pictures are written, and what a killed search resumes from.
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
    tables = {name: TableReader(teacher_candidates[name]) for name in settings.teachers_used}
    mined = _Mined(settings, EvaluationOverlap(evaluation_pairs), previous_negatives, ask)
    writers = TableWriter(workdir / TABLE), TableWriter(workdir / POSITIVES)
    with writers[0] as table, writers[1] as positives, tempfile.TemporaryDirectory() as folder:
        for collection in collections(corpus, pairs, Path(folder)):
            texts, size, checkpoints = collection.texts.to_list(), collection.corpus_size, workdir / "search"
            retriever = BiEncoderRetriever(student, store, texts, settings.search, checkpoints / STUDENT, size)
            stored = {}
            for name in tables:
                own = partial(open_teacher, teachers[name], texts, store, checkpoints / name / collection.dataset, size)
                stored[name] = TableRetriever(len(texts), size, own)
            for miner, sources in mined.searched(collection, retriever, stored, tables):
                table.add(mined.negatives(miner, sources))
                positives.add(_scored_positives(miner))
    report = mined.report() | {"histogram": plot_histograms(mined.panels.panels(), workdir / "histogram.png")}
    report["examples"] = choose_examples(settings, *(pl.scan_parquet(workdir / name) for name in (TABLE, POSITIVES)))
    return {**report, "seconds": round(time.monotonic() - started, 1)}


def _scored_positives(miner: Miner) -> pl.DataFrame:
    """Return ``query_id``, ``doc_id`` and the score of every positive by the student and each teacher."""
    positives = miner.collection.positives
    scores = [pl.Series(f"{name}{SCORE}", values, pl.Float32) for name, values in miner.positive_scores.items()]
    return miner.collection.ids_frame(positives.rows, positives.members).with_columns(scores)


class _Mined:
    """What was mined so far, in figures."""

    def __init__(
        self,
        settings: MiningSettings,
        overlap: EvaluationOverlap,
        previous: pl.LazyFrame | None,
        ask: Ask | None,
    ) -> None:
        self._settings = settings
        self._overlap = overlap
        self._previous = previous
        self._before = None if previous is None else TableReader(previous)
        self._ask = ask
        self._audit = Audit(settings.negatives_per_query)
        self._changed = Mean()
        self._judged: Counter[str] = Counter()
        self._drift: list[dict[str, Any]] = []
        self._efforts: list[Effort] = []
        self.panels = ScorePanels()

    def searched(
        self,
        collection: Collection,
        student: BiEncoderRetriever,
        stored: Mapping[str, TableRetriever],
        tables: Mapping[str, TableReader],
    ) -> Iterator[tuple[Miner, dict[str, Neighbours]]]:
        """Yield a miner of every part of a collection with the candidates of its sources."""
        settings, guard = self._settings, Guard(self._settings.guard, collection.texts)
        require_enough_documents(settings, collection)
        pool = self._pool(collection, student)
        for part, found in self._found(collection, pool or student):
            for name, teacher in stored.items():
                teacher.hold(part.positions_of(tables[name].rows_of(part.query_ids)))
            others = [name for name in settings.candidates if name != STUDENT]
            asked = (part.queries.to_list(), settings.depth, part.positives)
            sources = found | {name: stored[name].search(*asked) for name in others}
            yield Miner(settings, part, {STUDENT: student, **stored}, guard), sources
        if pool:
            generator = np.random.default_rng(settings.seed)
            drift = pool.estimate_drift(collection, settings.refresh.drift_documents, generator)
            self._drift.append({"dataset": collection.dataset, **drift})
        self._efforts += [student.effort, *(teacher.effort for teacher in stored.values())]

    def _pool(self, collection: Collection, student: BiEncoderRetriever) -> PoolRetriever | None:
        """Return the student among the pooled documents alone when the settings say so."""
        settings = self._settings
        if settings.refresh.mode == "full" or self._previous is None or STUDENT not in settings.candidates:
            return None
        pooled = pooled_documents(collection, self._previous)
        return PoolRetriever(student, pooled, len(collection.texts), settings.negatives_per_query)

    def _found(self, collection: Collection, student: Retriever) -> Iterator[tuple[Collection, dict[str, Neighbours]]]:
        if STUDENT not in self._settings.candidates:
            with large_arrays_given_back():
                yield from ((part, {}) for part in collection.parts())
        else:
            yield from ((part, {STUDENT: found}) for part, found in collection.search(student, self._settings.depth))

    def negatives(self, miner: Miner, sources: Mapping[str, Neighbours]) -> pl.DataFrame:
        """Return the rows of a part of the table."""
        frames, part = [], miner.collection
        for candidates in miner.mine(sources):
            if self._settings.judge is not None and self._ask is not None:
                self._judged.update(judge_negatives(self._settings.judge, part, candidates, self._ask))
            frames.append(candidates.frame(part))
        negatives = check_table(pl.concat(frames), NEGATIVES, "hard_negatives")
        negatives = negatives.select(_columns(negatives))
        self._audit.add(negatives, len(part))
        self._overlap.add(negatives, part.queries)
        self.panels.add(negatives, miner.positive_scores)
        if self._before is not None:
            before = self._before.rows_of(part.query_ids)
            self._changed.add(queries_changed(negatives, before, self._settings.negatives_per_query))
        return negatives

    def report(self) -> dict[str, Any]:
        changed = {"queries_changed": self._changed.value} if self._before is not None else {}
        return {
            **self._audit.report(),
            **self._overlap.report(),
            **changed,
            **effort_report(self._efforts),
            "rules": [veto.model_dump() for veto in self._settings.veto],
            "positive_score": self._settings.positive_score,
            **self._judged,
            **({"refresh": self._drift} if self._drift else {}),
        }


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
            ratio = calibrated_ratio(tables[veto.teacher], teachers[veto.teacher].calibration)
            veto = veto.model_copy(update={"ratio": ratio or veto.ratio})
        vetoes.append(veto)
    return settings.model_copy(update={"veto": tuple(vetoes)})
