import polars as pl
import pytest

from conan_assets.data.settings import BeirSource
from conan_assets.data.training_files import repeated, write_training_files
from conan_assets_tests.data.frames import make_corpus, make_pairs


def rows(count: int, dataset: str = "wiki") -> pl.DataFrame:
    return pl.DataFrame({"id": [f"{dataset}:{number}" for number in range(count)], "dataset": dataset})


@pytest.mark.parametrize(("weight", "expected"), [(0.25, 250), (0.5, 500), (1.0, 1000), (2.0, 2000), (2.5, 2500)])
def test_a_weight_is_the_expected_number_of_copies(weight, expected):
    found = repeated(rows(1_000), "id", {"wiki": weight})
    assert found.height == pytest.approx(expected, abs=0 if weight in (1, 2) else 60)
    assert found["id"].is_unique().all()
    assert repeated(rows(1_000), "id", {"wiki": weight}).equals(found)


def test_other_datasets_stay_as_they_are():
    both = pl.concat([rows(50), rows(50, "news")])
    found = repeated(both, "id", {"wiki": 3.0, "news": 1.0})
    assert dict(found.group_by("dataset").len().iter_rows()) == {"wiki": 150, "news": 50}
    assert found["id"].head(3).to_list() == ["wiki:0", "wiki:0#2", "wiki:0#3"]


def test_every_table_of_the_training_files_follows_the_weights(tmp_path):
    corpus = make_corpus("Cats purr.", "Dogs bark.")
    pairs = make_pairs(
        {"query": "who purrs", "doc_id": "wiki:d1"},
        {"query": "a man runs", "text": "someone runs", "task": "sts", "score": 4.0},
        {"query": "fine food", "text": "good", "task": "classification"},
    )
    report = write_training_files(corpus, pairs, pairs, None, tmp_path, weights={"wiki": 2.0})
    assert (report["retrieval_samples"], report["sts_samples"], report["classification_samples"]) == (2, 2, 2)
    assert pl.read_parquet(tmp_path / "retrieval.parquet")["sample_id"].to_list() == ["wiki:q1", "wiki:q1#2"]
    assert pl.read_parquet(tmp_path / "sts.parquet").columns == ["text_a", "text_b", "score"]


def test_a_weight_of_zero_is_refused(tmp_path):
    with pytest.raises(ValueError, match="greater than 0"):
        BeirSource(kind="beir", path=tmp_path, weight=0)
