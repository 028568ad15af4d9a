"""Hard negatives that the model writes, through the graph: mined first, trained on, and searched by nobody."""

import re
from pathlib import Path

import polars as pl
import pytest

from conan_assets.data.training_files import judgements_of, write_training_files
from conan_assets.definitions import build_defs
from conan_assets.defs.corpus import JUDGED_KEY, PAIRS_KEY
from conan_assets.look.home import Home
from conan_assets.look.mined import look_at_round
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import metadata, programme, run, table, write_beir_folder
from conan_assets_tests.documents import passage_of
from conan_assets_tests.llm.server import ChatServer, Reply, questions

pytestmark = pytest.mark.slow

NEGATIVE = "Nobody knows what any creature of that place was up to."
GRADES = '{{"grades": [{{"answered": {}, "clear": 5, "natural": 5}}]}}'


def by_rule(number: int, body: dict) -> Reply:
    """Ask what an animal does, write a passage that says nothing of it and one that answers, and grade both."""
    text = body["messages"][0]["content"]
    if "You judge questions" in text:
        return Reply(GRADES.format(1 if NEGATIVE in text else 5))
    if "do not answer it" in text:
        animal = re.search(r"<question-\w+>\n.*the (\w+) in", text)[1]
        return Reply(f'{{"passages": ["{NEGATIVE}", "One {animal} did something that day, they say."]}}')
    _, animal, place = re.search(r"((\w+) in the (\w+))", passage_of(body)).groups()
    return questions(f"What might the {animal} in some {place} be doing all day?")


def with_negatives(folder: Path, model: str, base_url: str) -> Settings:
    return programme(
        folder / "animals",
        model,
        folder / "home",
        rounds=1,
        generation={
            "kind": "openai",
            "model": "writer",
            "base_url": base_url,
            "max_pairs": 6,
            "pairs_per_passage": 1,
            "hard_negatives_per_question": 2,
            "gates": {"min_grade": 3},
        },
    )


def test_whatever_judges_or_mines_reads_the_pairs_that_have_written_negatives(tmp_path, tiny_model):
    write_beir_folder(tmp_path / "animals")
    graph = build_defs(with_negatives(tmp_path, tiny_model, "http://127.0.0.1:9")).resolve_asset_graph()
    readers = {key.to_user_string() for key in graph.get(PAIRS_KEY).child_keys}
    assert readers == {"prompt_response_pairs", "judged_pairs"}
    assert "round_1/hard_negatives" in {key.to_user_string() for key in graph.get(JUDGED_KEY).child_keys}


def test_written_negatives_are_mined_first_and_trained_on_and_stand_in_no_corpus(tmp_path, tiny_model):
    write_beir_folder(tmp_path / "animals")
    with ChatServer(by_rule) as server:
        settings = with_negatives(tmp_path, tiny_model, server.base_url)
        shown = metadata(run(settings, '+key:"round_1/beir_report"'))
    written = table(settings, "prompt_response_pairs")
    negatives = written.filter(pl.col("score") == 0)
    assert (written.height, negatives.height) == (12, 6)
    assert set(negatives["text"]) == {NEGATIVE}
    assert shown["prompt_response_pairs"]["hard_negatives"].value == 6
    mined = table(settings, "round_1/hard_negatives")
    first = mined.filter(pl.col("doc_id").str.starts_with("pair:"))
    assert set(first["doc_id"]) == {f"pair:{name}" for name in negatives["pair_id"]}
    assert first.select("verdict", "reason", "found_by").unique().rows() == [("kept", "judged_or_written", None)]
    assert first["rank"].to_list() == [1] * 6
    assert set(first["query_id"]) == set(negatives["query_id"])
    trained = table(settings, "training_pairs")
    assert trained.join(negatives, on="pair_id", how="semi").is_empty()
    assert trained.join(negatives, on="query_id", how="semi").height == 6
    corpus, judged = table(settings, "raw_corpus"), table(settings, "judged_pairs")
    judgements = judgements_of(trained.lazy(), judged.lazy()).collect()
    write_training_files(corpus, trained, judgements, mined, tmp_path / "data")
    samples, texts = (pl.read_parquet(tmp_path / "data" / f"{name}.parquet") for name in ("retrieval", "texts"))
    assert set(first["doc_id"]) <= set(samples["candidates"].list.first())
    assert NEGATIVE in texts["text"].to_list()
    assert not corpus["text"].str.contains(NEGATIVE, literal=True).any()
    assert judged.filter(pl.col("written_by").is_not_null(), pl.col("doc_id").is_not_null()).is_empty()
    page = look_at_round(Home(settings), 1, negatives["query_id"][0], 3, 200)
    assert NEGATIVE in page
