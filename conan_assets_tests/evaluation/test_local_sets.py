"""All six types of task on cuts of real sets, offline: the same figures as mteb with a plain SentenceTransformer."""

from pathlib import Path

import polars as pl
import pytest

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.evaluation.run import evaluate_baseline, evaluate_encoder
from conan_assets.evaluation.settings import EvaluationError, FolderSuite
from conan_assets.evaluation.suites import evaluation_queries, suite_tasks
from conan_assets_tests.conftest import build_tiny_model
from conan_assets_tests.evaluation.conftest import bm25
from conan_assets_tests.evaluation.plain import assert_equal_to_plain, plain_model, plain_scores

DATA = Path(__file__).parents[3] / "shared" / "data"
LABELLED = {
    "stsb-en": ("sts", "STS", "cosine_spearman", {"test": 300}),
    "ocnli": ("pair_classification", "PairClassification", "cosine_ap", {"validation": 300}),
    "csl-category": ("classification", "Classification", "accuracy", {"train": 800, "test": 200}),
    "csl-clustering-s2s": ("clustering", "Clustering", "v_measure", {"test": 600}),
}
SEARCHED = {"retrieval": ("Retrieval", "ndcg_at_10"), "reranking": ("Reranking", "map_at_1000")}
QUERIES, DOCUMENTS = 60, 600

pytestmark = [
    pytest.mark.slow,
    *(
        pytest.mark.skipif(not (DATA / name).is_dir(), reason=f"the folder ../shared/data/{name} is not there")
        for name in ("scifact", *LABELLED)
    ),
]
NOTHING = pl.DataFrame()


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the first rows of every set, and of SciFact with the documents judged for them."""
    root = tmp_path_factory.mktemp("sets")
    for name, (_, _, _, splits) in LABELLED.items():
        (root / name).mkdir()
        for split, rows in splits.items():
            pl.read_parquet(DATA / name / f"{split}.parquet").head(rows).write_parquet(root / name / f"{split}.parquet")
    source, target = DATA / "scifact", root / "scifact"
    (target / "qrels").mkdir(parents=True)
    judged = pl.read_parquet(source / "qrels" / "test.parquet")
    judged = judged.filter(pl.col("query-id").is_in(judged["query-id"].unique(maintain_order=True).head(QUERIES)))
    corpus = pl.read_parquet(source / "corpus.parquet")
    relevant = pl.col("_id").is_in(judged["corpus-id"].implode())
    corpus = pl.concat([corpus.filter(relevant), corpus.filter(~relevant).head(DOCUMENTS)])
    judged.write_parquet(target / "qrels" / "test.parquet")
    corpus.write_parquet(target / "corpus.parquet")
    pl.read_parquet(source / "queries.parquet").write_parquet(target / "queries.parquet")
    return root


@pytest.fixture(scope="module")
def suites(cut: Path) -> dict[str, FolderSuite]:
    labelled = {
        name: FolderSuite(
            kind="folder", path=cut / name, task=task, splits=[split for split in splits if split != "train"]
        )
        for name, (task, _, _, splits) in LABELLED.items()
    }
    searched = {
        task: FolderSuite(kind="folder", path=cut / "scifact", task=task, candidates=20, splits=["test"])
        for task in SEARCHED
    }
    return {**labelled, **searched}


@pytest.fixture(scope="module")
def model(cut: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a tiny model whose vocabulary has the Chinese characters of the sets."""
    frames = [pl.read_parquet(path).select(pl.col(pl.String)) for name in LABELLED for path in (cut / name).glob("*")]
    characters = {character for frame in frames for column in frame for text in column for character in text}
    chinese = "".join(sorted(character for character in characters if "\u4e00" <= character <= "\u9fff"))
    return build_tiny_model(tmp_path_factory.mktemp("chinese"), more_characters=chinese)


@pytest.fixture(scope="module")
def report(model: str, suites: dict[str, FolderSuite], tmp_path_factory: pytest.TempPathFactory) -> dict:
    root = tmp_path_factory.mktemp("report")
    encoder = Encoder(EncoderSettings(model, dtype="float32"), device="cpu")
    store = EmbeddingStore(root / "embeddings", dtype="float32")
    return evaluate_encoder(encoder, store, suites, NOTHING, NOTHING, root, root / "finished")


def test_all_six_types_of_task_run_by_their_main_metric(report: dict):
    expected = {kind: metric for _, kind, metric, _ in LABELLED.values()} | dict(SEARCHED.values())
    assert {row.type: row.metric for row in report.rows if row.main} == expected
    assert report.not_run == []


@pytest.mark.parametrize("name", [*LABELLED, *SEARCHED])
def test_the_figures_are_those_of_a_plain_sentence_transformer(name: str, report: dict, suites: dict, model: str):
    (part,) = suite_tasks({name: suites[name]}, NOTHING, NOTHING)
    rows = [row for row in report.rows if row.suite == name]
    assert_equal_to_plain(rows, plain_scores(plain_model(model), part.task))


def test_the_reranking_set_holds_the_best_documents_of_bm25_and_all_relevant_ones(suites: dict, tmp_path: Path):
    chosen = {name: suites[name] for name in SEARCHED}
    report = evaluate_baseline(bm25(), chosen, NOTHING, NOTHING, tmp_path, tmp_path / "finished")
    (part,) = suite_tasks({"reranking": suites["reranking"]}, NOTHING, NOTHING)
    part.task.load_data()
    data = part.task.dataset["default"]["test"]
    found = pl.read_parquet(tmp_path / "bm25_per_query.parquet").filter(suite="retrieval")
    for query_id, expected, best in found.select("query_id", "expected", "found").iter_rows():
        listed = set(data["top_ranked"][query_id])
        assert set(expected) | set(best) <= listed
        assert len(listed) <= 20 + len(expected)
    assert {row.suite for row in report.rows} == set(SEARCHED)


def test_the_judged_queries_of_a_folder_in_beir_layout_are_kept_out_of_the_training_data(suites: dict, cut: Path):
    judged = pl.read_parquet(cut / "scifact" / "qrels" / "test.parquet")["query-id"].cast(pl.String)
    queries = pl.read_parquet(cut / "scifact" / "queries.parquet")
    expected = queries.filter(pl.col("_id").cast(pl.String).is_in(judged.implode()))["text"]
    assert evaluation_queries({"search": suites["retrieval"]}, NOTHING) == sorted(set(expected))
    assert len(expected) < queries.height


def test_a_folder_that_breaks_the_layout_is_an_error_that_names_the_suite(suites: dict, tmp_path: Path):
    suite = suites["retrieval"].model_copy(update={"path": tmp_path / "nowhere"})
    with pytest.raises(EvaluationError, match=r"suite 'search': .*nowhere"):
        suite_tasks({"search": suite}, NOTHING, NOTHING)
    unjudged = suites["retrieval"].model_copy(update={"splits": ("dev",)})
    with pytest.raises(EvaluationError, match=r"suite 'search': .*no query with a relevant document in split 'dev'"):
        suite_tasks({"search": unjudged}, NOTHING, NOTHING)
