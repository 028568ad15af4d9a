"""A round's negatives: which candidates are there, which are kept, in what order, and why the others are not."""

import numpy as np
import polars as pl
import pytest

from conan_assets.data.tables import NEGATIVES, QUERY_DROPPED, check_table
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.mining.collection import MiningError
from conan_assets.mining.settings import MiningSettings
from conan_assets.search.settings import BiEncoderTeacher
from conan_assets_tests.mining.conftest import first_words, make_pair, make_pairs, mine_round, score

pytestmark = pytest.mark.slow

KEPT = pl.col("verdict") == "kept"


@pytest.fixture
def mine(encoder, corpus, pairs, no_pairs, store, bm25, tmp_path):
    """Mine the fixture corpus with the tiny student and a BM25 teacher; anything can be given instead."""

    def run(options: dict, **changes):
        options = {"depth": 20, "veto": [], **options}
        inputs = {"corpus": corpus, "pairs": pairs, "evaluation": no_pairs, "previous": None, **changes}
        teachers, tables = {"bm25": bm25[0]}, {"bm25": bm25[1]}
        mining = MiningSettings.model_validate(options)
        return mine_round(mining, encoder, teachers, tables, *inputs.values(), store, tmp_path / "mining")

    return run


def test_every_candidate_has_a_verdict_and_the_kept_ones_an_order(mine, pairs):
    negatives, report = mine(
        {"candidates": ["student", "bm25"], "veto": [{"teacher": "bm25", "rule": "top_k_perc_pos"}]}
    )
    check_table(negatives, NEGATIVES, "negatives")
    assert negatives.columns[:5] == ["query_id", "doc_id", "rank", "student_score", "bm25_score"]
    assert negatives["query_id"].n_unique() == 30
    assert negatives.filter(KEPT)["order"].null_count() == 0
    assert negatives.filter(~KEPT)["order"].null_count() == negatives.filter(~KEPT).height
    orders = negatives.filter(KEPT).group_by("query_id").agg(pl.col("order").sort())
    assert all(row == list(range(1, len(row) + 1)) for row in orders["order"].to_list())
    assert negatives.join(pairs, on=["query_id", "doc_id"], how="semi").is_empty()
    assert report["kept"] + sum(row["candidates"] for row in report["removed_by"]) == report["rows"] == negatives.height


def test_two_sources_are_fused_without_losing_a_score(mine):
    student, _ = mine({"candidates": ["student"]})
    lexical, _ = mine({"candidates": ["bm25"]})
    both, _ = mine({"candidates": ["student", "bm25"]})
    ids = ["query_id", "doc_id"]
    assert set(both.select(ids).rows()) == set(student.select(ids).rows()) | set(lexical.select(ids).rows())
    assert both["student_score"].null_count() + both["bm25_score"].null_count() == 0
    joined = both.join(lexical, on=ids, suffix="_alone")
    np.testing.assert_allclose(joined["bm25_score"], joined["bm25_score_alone"])
    named_by_both = both.join(student, on=ids, how="semi").join(lexical, on=ids, how="semi")
    assert named_by_both["rank"].mean() < both["rank"].mean()


def test_what_two_sources_find_is_in_the_students_order_even_if_words_alone_found_it(mine):
    student, _ = mine({"candidates": ["student"]})
    both, _ = mine({"candidates": ["student", "bm25"]})
    kept = both.filter(KEPT).sort("query_id", "order")
    assert kept.join(student, on=["query_id", "doc_id"], how="anti").height > 0
    for (_,), of_query in kept.group_by("query_id"):
        assert of_query["student_score"].is_sorted(descending=True)


def test_perc_pos_keeps_exactly_the_candidates_below_the_mean_positive(mine, bm25):
    negatives, _ = mine({"candidates": ["bm25"], "veto": [{"teacher": "bm25", "rule": "top_k_perc_pos", "ratio": 0.9}]})
    references = bm25[1].filter("is_positive").group_by("query_id").agg(reference=pl.col("score").mean()).collect()
    expected = negatives.join(references, on="query_id").select(pl.col("bm25_score") < 0.9 * pl.col("reference"))
    assert (expected.to_series() == (negatives["verdict"] == "kept")).all()
    assert 0 < negatives.filter(KEPT).height < negatives.height


@pytest.mark.parametrize(("higher", "other"), [("max", "min"), ("mean", "min"), ("max", "mean")])
def test_a_higher_positive_score_keeps_more(mine, higher, other):
    def kept(name: str) -> set:
        veto = [{"teacher": "bm25", "rule": "top_k_perc_pos"}]
        return set(
            mine({"candidates": ["bm25"], "veto": veto, "positive_score": name})[0]
            .filter(KEPT)
            .select("query_id", "doc_id")
            .rows()
        )

    assert kept(other) < kept(higher)


def test_a_candidate_must_pass_every_teacher(mine):
    strict = {"teacher": "bm25", "rule": "top_k_perc_pos", "ratio": 0.5}
    shifted = {"teacher": "student", "rule": "top_k_shifted", "shift": 5}
    one, _ = mine({"veto": [strict]})
    other, _ = mine({"veto": [shifted]})
    both, report = mine({"veto": [strict, shifted]})
    kept = [set(table.filter(KEPT).select("query_id", "doc_id").rows()) for table in (one, other, both)]
    assert kept[2] == kept[0] & kept[1]
    assert {row["reason"] for row in report["removed_by"]} == {"bm25:top_k_perc_pos", "student:top_k_shifted"}


def test_equal_and_nearly_equal_texts_are_never_negatives(mine, corpus, pairs):
    words = corpus["text"][0].split()
    copies = corpus[:2].with_columns(
        doc_id=pl.Series(["made:copy", "made:near"]),
        text=pl.Series([corpus["text"][0].upper(), " ".join([*words, "batumi"])]),
    )
    negatives, report = mine({}, corpus=pl.concat([corpus, copies]))
    copied = negatives.filter(pl.col("query_id") == "made:q0", pl.col("doc_id").is_in(["made:copy", "made:near"]))
    assert dict(copied.select("doc_id", "reason").rows()) == {
        "made:copy": "equal_to_positive",
        "made:near": "nearly_equal_to_positive",
    }
    assert {row["reason"] for row in report["removed_by"]} >= {"equal_to_positive", "nearly_equal_to_positive"}


def test_a_copy_of_a_positive_outside_the_corpus_is_not_a_negative(mine, corpus):
    pairs = make_pairs([make_pair(0, None, corpus["text"][7], query=first_words(corpus, 7)), make_pair(1, 1)])
    negatives, _ = mine({"candidates": ["bm25"]}, pairs=pairs)
    row = negatives.filter(pl.col("query_id") == "made:q0", pl.col("doc_id") == "made:d7")
    assert row.is_empty() or row["reason"].item() == "equal_to_positive"
    student, _ = mine({"depth": 120}, pairs=pairs)
    assert (
        student.filter(pl.col("query_id") == "made:q0", pl.col("doc_id") == "made:d7")["reason"].item()
        == "equal_to_positive"
    )


def test_written_and_judged_negatives_come_first_and_no_rule_removes_them(mine, corpus, pairs):
    written = make_pairs(
        [
            make_pair(0, None, "ara eno made up by a model", score=0.0, origin="llm", query=first_words(corpus, 0)),
            make_pair(1, 50, score=0.0, query=first_words(corpus, 1)),
        ]
    )
    everything_fails = [{"teacher": "student", "rule": "top_k_abs", "threshold": -2.0}]
    negatives, _ = mine({"veto": everything_fails}, pairs=pl.concat([pairs, written]))
    kept = negatives.filter(KEPT)
    assert set(kept.select("query_id", "order", "reason").rows()) == {
        ("made:q0", 1, "judged_or_written"),
        ("made:q1", 1, "judged_or_written"),
    }
    assert kept.filter(pl.col("query_id") == "made:q0")["doc_id"].item().startswith("pair:")


def test_short_queries_are_kept_dropped_or_filled_as_told_and_counted(mine):
    veto = [{"teacher": "bm25", "rule": "top_k_perc_pos", "ratio": 0.3}]
    options = {"candidates": ["bm25"], "veto": veto, "negatives_per_query": 6}

    def per_query(table: pl.DataFrame) -> dict[str, int]:
        return dict(table.group_by("query_id").agg(KEPT.sum()).rows())

    keep, report = mine({**options, "on_shortage": "keep"})
    counts = per_query(keep)
    short = {query for query, count in counts.items() if count < 6}
    assert report["queries_short"] == len(short)
    assert 0 < len(short) < 30

    drop, report = mine({**options, "on_shortage": "drop"})
    assert {query for query, count in per_query(drop).items() if count == 0} == short
    assert set(drop.filter(pl.col("reason") == QUERY_DROPPED)["query_id"]) <= short
    assert report["queries_without_negatives"] == len(short)

    fill, report = mine({**options, "on_shortage": "resample"})
    filled = fill.filter(pl.col("reason") == "random_document")
    assert set(filled["query_id"]) <= short
    assert report["queries_short"] < len(short) / 2
    assert max(per_query(fill)[query] for query in short) == 6
    assert all(per_query(fill)[query] >= count for query, count in counts.items())
    assert fill.select("query_id", "doc_id").is_duplicated().sum() == 0


def test_the_pool_is_cut_at_its_depth(mine):
    negatives, report = mine({"pool_depth": 5})
    assert negatives.filter(KEPT).group_by("query_id").len()["len"].unique().to_list() == [5]
    assert report["removed_by"][-1]["reason"] == "beyond_pool_depth", "it is no rule: rules come before it"


@pytest.mark.parametrize(
    "options",
    [
        {"selection": {"rule": "sampled_top_k", "sample_from": 8}},
        {"selection": {"rule": "top1_sampled_top_k", "teacher": "bm25"}},
        {"ensemble": {"rule": "cross_sample", "teachers": ["student", "bm25"]}},
        {"ensemble": {"rule": "intra_sample", "teachers": ["student", "bm25"]}},
        {"on_shortage": "resample", "veto": [{"rule": "top_k_abs", "threshold": 0.0, "teacher": "bm25"}]},
    ],
)
def test_the_same_seed_gives_the_same_bytes(mine, tmp_path, options):
    for name in ("one", "two"):
        mine({"seed": 3, **options})[0].write_parquet(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_another_seed_draws_other_negatives(mine):
    options = {"selection": {"rule": "sampled_top_k", "sample_from": 15}}
    first, second = (mine({**options, "seed": seed})[0].filter(pl.col("order") <= 4) for seed in (0, 1))
    assert not first.select("query_id", "doc_id").equals(second.select("query_id", "doc_id"))


def test_intra_sample_without_dedup_counts_twice_what_two_teachers_name(mine):
    negatives, _ = mine(
        {
            "candidates": ["bm25"],
            "ensemble": {"rule": "intra_sample", "teachers": ["student", "bm25"]},
            "negatives_per_query": 4,
        }
    )
    first = negatives.filter(KEPT).group_by("query_id").agg(pl.col("copies").sort_by("order").head(4))
    assert first["copies"].list.max().max() == 2
    deduplicated, _ = mine(
        {"candidates": ["bm25"], "ensemble": {"rule": "intra_sample", "teachers": ["student", "bm25"], "dedup": True}}
    )
    assert deduplicated.filter(KEPT)["copies"].max() == 1


def test_a_calibrating_teacher_brings_its_own_ratio(
    mine, encoder, corpus, pairs, no_pairs, store, tmp_path, tiny_model
):
    teacher = BiEncoderTeacher(
        encoder=EncoderSettings(tiny_model, dtype="float32"),
        calibrate=True,
        calibration={"min_judgements": 5},
        depth=20,
    )
    table, report = score(teacher, "t", corpus, pairs, store, tmp_path / "t")
    mining = MiningSettings.model_validate({"veto": [{"teacher": "t", "rule": "top_k_perc_pos"}], "depth": 20})
    _, mined = mine_round(
        mining, encoder, {"t": teacher}, {"t": table.lazy()}, corpus, pairs, no_pairs, None, store, tmp_path / "m"
    )
    assert mined["rules"][0]["ratio"] == pytest.approx(report["calibrated_ratio"])
    assert mined["rules"][0]["ratio"] != 0.95


def test_the_audit_counts_overlap_with_evaluation_and_queries_changed(mine, corpus):
    before, _ = mine({})
    judged = before.filter(KEPT)["doc_id"][0]
    evaluation = make_pairs([make_pair(900, int(judged.split(":d")[1]), split="test", query=first_words(corpus, 4))])
    after, report = mine({"veto": [{"rule": "top_k_shifted", "shift": 3}]}, evaluation=evaluation, previous=before)
    shared = after.filter(KEPT, pl.col("doc_id") == judged).height
    told = report["documents_shared_with_evaluation"]
    assert told.startswith(f"{shared:,} of {after.filter(KEPT).height:,} kept negatives are relevant")
    assert report["queries_in_evaluation"] == 1
    assert report["queries_changed"] == 1.0
    assert mine({}, previous=before)[1]["queries_changed"] == 0.0


def test_the_audit_has_a_picture_of_the_scores(mine, tmp_path):
    _, report = mine({"candidates": ["student", "bm25"]})
    picture = tmp_path / "mining" / report["histogram"]
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_asking_for_more_negatives_than_documents_names_both_numbers(mine):
    with pytest.raises(MiningError, match=r"500 negatives per query.*'made' has 120 documents"):
        mine({"negatives_per_query": 500, "pool_depth": 500})


def test_a_teacher_that_scored_too_few_candidates_is_an_error(mine):
    with pytest.raises(MiningError, match="takes 50 candidates of 'bm25', which scored 20"):
        mine({"candidates": ["bm25"], "depth": 50})


def test_a_teacher_without_scores_is_an_error(mine):
    with pytest.raises(MiningError, match="'other'; there are scores of bm25"):
        mine({"veto": [{"teacher": "other", "rule": "top_k"}]})


def test_parts_of_any_size_give_the_same_table(mine, monkeypatch):
    whole, _ = mine({"candidates": ["student", "bm25"], "veto": [{"teacher": "bm25", "rule": "top_k_perc_pos"}]})
    monkeypatch.setattr("conan_assets.mining.collection.QUERIES_PER_PART", 7)
    parts, _ = mine({"candidates": ["student", "bm25"], "veto": [{"teacher": "bm25", "rule": "top_k_perc_pos"}]})
    assert whole.equals(parts)
