"""What a user reads of single queries after a run: in the terminal, and on the pages of the assets."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from conan_assets.__main__ import main
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import changing, metadata, programme, run, table, write_beir_folder

pytestmark = pytest.mark.slow

SAME_TWICE = "which owl lives at the barn, number 16?"
LEAVES_NO_MARK = "\x1b[31m<b>which</b> | eel?\x1b[0m"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> tuple[Settings, dict[str, Any]]:
    """A programme of two rounds that has run to its end, and the metadata of its assets."""
    folder = tmp_path_factory.mktemp("look")
    write_beir_folder(folder / "animals")
    path = folder / "animals" / "queries.jsonl"
    asked = [json.loads(line) for line in path.read_text().splitlines()]
    twice = [{"_id": f"twice{number}", "text": SAME_TWICE} for number in range(2)]
    hostile = {"_id": "hostile", "text": LEAVES_NO_MARK}
    path.write_text("".join(json.dumps(row) + "\n" for row in (*asked, *twice, hostile)))
    with (folder / "animals" / "qrels" / "train.tsv").open("a") as file:
        file.write("twice0\t16\t1\ntwice1\t16\t1\nhostile\t60\t1\n")
    settings = programme(folder / "animals", tiny_model, folder / "home", generation={"kind": "none"})
    (folder / "profile.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return settings, metadata(run(settings))


@pytest.fixture
def look(
    finished: tuple[Settings, dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Give the command and return what it prints; it raises SystemExit with its message."""
    monkeypatch.delenv("CONAN_HOME", raising=False)
    monkeypatch.setenv("CONAN_PROFILE", str(finished[0].home.parent / "profile.yaml"))

    def run_command(*arguments: str) -> str:
        main(["look", *arguments])
        return capsys.readouterr().out

    return run_command


def kept(settings: Settings, number: int) -> dict[str, Any]:
    """The first kept negative of some query in a round."""
    negatives = table(settings, f"round_{number}/hard_negatives")
    return negatives.filter(pl.col("order") == 1).row(0, named=True)


def texts(settings: Settings) -> dict[str, str]:
    corpus = table(settings, "raw_corpus")
    return dict(zip(corpus["doc_id"], corpus["title"] + " " + corpus["text"], strict=True))


def test_a_query_shows_what_was_kept_and_removed_for_it_as_text_with_scores_finders_and_the_other_round(look, finished):
    settings = finished[0]
    first = kept(settings, 2)
    told = look("2", first["query_id"])
    documents = texts(settings)
    assert f"kept 1    {first['doc_id']}  student {first['student_score']:.3f}" in told
    assert documents[first["doc_id"]] in told
    assert f"found by: {first['found_by']}" in told
    assert "mined with round_1/checkpoint" in told
    assert "  round 1: " in told
    removed = table(settings, "round_2/hard_negatives").filter(
        pl.col("query_id") == first["query_id"], pl.col("reason") == "tiny:top_k_perc_pos"
    )
    vetoed = removed.sort("rank").row(0, named=True)
    assert f"removed   {vetoed['doc_id']}" in told
    assert f"why: top_k_perc_pos, ratio 0.999: tiny gives it {vetoed['tiny_score']:.3f} and the positive " in told


def test_who_found_a_candidate_is_true_of_every_source(finished):
    settings = finished[0]
    negatives = table(settings, "round_1/hard_negatives")
    best = table(settings, "teacher_scores/bm25").filter(~pl.col("is_positive"))
    best = best.filter(pl.col("score").rank("ordinal", descending=True).over("query_id") <= settings.mining.depth)
    by_bm25 = negatives.filter(pl.col("found_by").str.contains("bm25"))
    assert by_bm25.join(best, on=["query_id", "doc_id"], how="anti").is_empty()
    assert by_bm25.height == negatives.join(best, on=["query_id", "doc_id"], how="semi").height
    by_student = negatives.filter(pl.col("found_by").str.contains("student")).group_by("query_id").len()
    assert by_student["len"].max() == settings.mining.depth
    assert negatives["found_by"].null_count() == 0


def test_without_a_query_a_dozen_are_shown_that_are_worth_reading(look, finished):
    told = look("1", "--show", "1")
    assert told.count("\nquery ") == 12
    for why in ("Among the hardest", "Kept, and the most likely", "Removed by a veto", "Kept, drawn at random"):
        assert told.count(why) == 3, why


def test_the_page_of_mined_negatives_shows_their_texts_and_why_and_escapes_them(finished):
    settings, seen = finished
    page = seen["round_1/hard_negatives"]["examples"].value
    assert page.count("\n| ➤ ") == 12, "each example is marked"
    assert page.count("\n| positive | ") >= 12
    assert "top&#95;k" not in page, "an underscore within a word is none"
    assert "top_k_perc_pos, ratio 0.999: tiny gives it " in page
    assert "found by student" in page
    assert any(text in page for text in texts(settings).values())
    assert "\x1b" not in page
    assert "<b>" not in page


def test_a_part_of_a_querys_text_is_enough_and_one_that_fits_several_names_them(look):
    assert "which owl lives at the barn, number 16?" in look("1", "OWL LIVES at the barn, number 16")
    with pytest.raises(
        SystemExit, match=r"'lives at the' fits \d+ queries that negatives are mined for(.|\n)*q\d+  which"
    ):
        look("1", "lives at the")


def test_pairs_show_what_was_kept_and_what_was_removed_with_its_reason(look, finished):
    told = look("pairs", "twice1")
    assert told.startswith("removed: duplicate  animals:train:twice1:16 (natural)\nquery animals:twice1\n")
    assert SAME_TWICE in told
    assert texts(finished[0])["animals:16"] in told
    assert look("pairs", "hostile").startswith("kept  animals:train:hostile:60 (natural)")
    examples = look("pairs")
    assert examples.startswith("41 of 43 pairs kept; removed 2 duplicate; examples:")
    assert "removed: duplicate" in examples
    assert "\nkept  " in examples


def test_nothing_in_a_text_reaches_the_terminal_as_a_command_to_it(look):
    assert "[31m<b>which</b> | eel?" in look("1", "hostile")
    assert "\x1b" not in look("pairs", "hostile")


def test_the_page_of_training_pairs_shows_kept_and_removed_examples(finished):
    seen = finished[1]["training_pairs"]
    assert seen["kept_examples"].value.count("\n| animals:train:") == finished[0].curation.examples_per_reason
    assert "| duplicate | animals:train:twice" in seen["rejected_examples"].value


def test_a_report_shows_what_stands_above_the_relevant_document(look, finished):
    told = look("report", "2", "--show", "1")
    assert told.count("\nquery ") + told.startswith("query ") == 2, "one of each split"
    assert "not among the ten best" in told
    assert "\n1. above it: animals:" in told
    assert "nDCG@10 0.0 in round 2, bm25 " in told
    assert ", round 1 " in told
    query_id = told.split("query ")[1].split("\n")[0]
    assert look("report", "2", query_id).split("\n\n\n")[0] in told
    worst = finished[1]["round_2/beir_report"]["worst_queries"].value
    assert f"({query_id}, animals, " in worst
    assert "| above it | 1. " in worst


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["7", "q16"], "miniature has no round 7 to look at: its rounds are 1 to 2"),
        (["0", "q16"], "its rounds are 1 to 2"),
        (["report", "3"], "its rounds are 0 to 2"),
        (["first", "q16"], "'first' is no round: give a number such as 1, or 'pairs', or 'report' and a number"),
        (["1", "zebra"], "'zebra' is neither the id of any of the queries that negatives are mined for nor in"),
        (["pairs", "zebra"], "'zebra' is neither the id of any of the queries of pairs to train on"),
        (["report", "1", "zebra"], "'zebra' is neither the id of any of the queries of the evaluation"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(look, arguments: list[str], message: str):
    with pytest.raises(SystemExit, match=message):
        look(*arguments)


def test_what_an_earlier_version_made_is_to_be_made_again(
    look, finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home = tmp_path / "home"
    shutil.copytree(finished[0].home, home, symlinks=True)
    monkeypatch.setenv("CONAN_HOME", str(home))
    settings = finished[0].model_copy(update={"home": home})
    for key, file in (("round_1/hard_negatives", "positives.parquet"), ("training_pairs", "removed.parquet")):
        with changing(settings, key) as folder:
            (folder / file).unlink()
    for arguments in (("1", "q16"), ("2", "q16"), ("pairs", "q16")):
        with pytest.raises(SystemExit, match="was made by an earlier version, which kept less"):
            look(*arguments)


def test_a_home_without_the_round_says_to_materialize_it(look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CONAN_HOME", str(tmp_path))
    with pytest.raises(SystemExit, match=r"round_1/hard_negatives has not been materialized under .*: materialize"):
        look("1", "q16")
