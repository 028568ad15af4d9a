"""The version of the evaluation: it stands in the name of finished tasks and in the recipe of every report."""

import polars as pl

from conan_assets.artifacts import fingerprint
from conan_assets.evaluation.per_query import SCHEMA
from conan_assets.evaluation.report import EVALUATION_VERSION, as_json
from conan_assets.evaluation.run import evaluate_baseline
from conan_assets.evaluation.settings import LocalSuite
from conan_assets_tests.evaluation.conftest import bm25

SUITES = {
    "docs": LocalSuite(dataset="python", splits=("dev", "test")),
    "rerank": LocalSuite(dataset="python", task="reranking", candidates=5),
}
GOLDEN = {
    8: {
        "scores": {
            "docs dev ndcg_at_10": [0.7865, 0.573, 1.0],
            "docs dev map_at_1000": [0.7188, 0.4375, 1.0],
            "docs test ndcg_at_10": [0.8125, 0.625, 1.0],
            "docs test map_at_1000": [0.75, 0.5, 1.0],
            "rerank test map_at_1000": [0.75, 0.5, 1.0],
            "rerank test ndcg_at_10": [0.8125, 0.625, 1.0],
        },
        "worst": ["draw plots: read the dev", "advice 1 o", "1. how to "],
        "data": ["55e74d091c4ebc12", "6decda5d76ba3253"],
        "fields": "4e9bd348464a914d",
    }
}


def test_the_numbers_and_fields_of_a_report_are_those_of_its_version(
    corpus: pl.DataFrame, pairs: pl.DataFrame, tmp_path
):
    shorter = pairs.with_columns(query=pl.col("query").str.replace(r"advice \d on ([a-m])", "${1}"))
    report = evaluate_baseline(bm25(), SUITES, corpus, shorter, tmp_path, tmp_path / "finished")
    metrics = ("ndcg_at_10", "map_at_1000")
    scores = {
        f"{row.suite} {row.split} {row.metric}": [round(value, 4) for value in (row.value, row.low, row.high)]
        for row in report.rows
        if row.metric in metrics
    }
    worst = report.worst_queries[0]
    found = {
        "scores": scores,
        "worst": [worst.query, worst.expected[:10], worst.instead[:10]],
        "data": [data.revision for data in report.data],
        "fields": fingerprint(*(sorted(each) for each in (as_json(report), vars(report.rows[0]), vars(worst), SCHEMA))),
    }
    assert found == GOLDEN.get(EVALUATION_VERSION), "the numbers changed: raise the version, or undo the change"
