"""A folder in BEIR layout that the tests damage in one place each."""

from pathlib import Path

import polars as pl
import pytest


@pytest.fixture
def beir_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    (folder / "qrels").mkdir(parents=True)
    pl.DataFrame(
        {"_id": ["1", "2", "3"], "title": ["Cats", "", "Dogs"], "text": ["They purr.", "Birds sing.", "They bark."]}
    ).write_parquet(folder / "corpus.parquet")
    pl.DataFrame({"_id": ["a", "b", "c"], "text": ["what purrs", "what barks", "what sings"]}).write_parquet(
        folder / "queries.parquet"
    )
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\na\t1\t1\na\t2\t0\n")
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nc\t2\t1\n")
    pl.DataFrame({"query-id": ["b"], "corpus-id": ["3"], "score": [2]}).write_parquet(folder / "qrels" / "test.parquet")
    return folder
