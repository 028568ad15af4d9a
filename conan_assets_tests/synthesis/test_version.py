"""A tiny run of every writer and reader of pairs gives what it gave when its version was set."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from conan_assets.artifacts import fingerprint
from conan_assets.data.document_groups import GROUPS_VERSION
from conan_assets.data.passages import PASSAGES_VERSION
from conan_assets.data.settings import DocumentsSource
from conan_assets.data.sources import load_source
from conan_assets.llm import parsing
from conan_assets.llm.journal import Answer, AnswerJournal
from conan_assets.mining import judge
from conan_assets.synthesis import (
    extractive,
    gates,
    grading,
    held_out,
    passages,
    two_passages,
    writing,
    written_negatives,
)
from conan_assets.synthesis.generation import generate_pairs, generation_recipe
from conan_assets.synthesis.settings import ExtractiveGeneration, Gates, OpenAIGeneration
from conan_assets_tests.data.frames import as_written, make_pairs
from conan_assets_tests.documents import by_rule, write_documents
from conan_assets_tests.llm.server import ChatServer, Reply, questions
from conan_assets_tests.llm.test_parsing import HOSTILE, Verdict
from conan_assets_tests.synthesis.passages import CORPUS, PAIRS, over_two, settings, with_negatives

TO_TRAIN = (pl.lit("train").alias("split"), *(pl.lit(None, pl.String).alias(name) for name in ("group", "next_id")))
CONTENT = ("task", "query", "doc_id", "text", "score")


def choose(folder: Path) -> object:
    return passages.choose_passages(CORPUS, PAIRS, seed=3)["doc_id"].to_list()


def extract(folder: Path) -> object:
    longer = CORPUS.with_columns(pl.col("text") + " It was a year of note. Nothing like it was seen afterwards.")
    pairs, _ = extractive.extract_pairs(
        ExtractiveGeneration(kind="extractive", min_sentence_chars=10), longer.with_columns(TO_TRAIN)
    )
    return pairs.select(*PAIRS.columns).rows()


def write(folder: Path) -> object:
    def by_task(number: int, body: dict) -> Reply:
        prompt = body["messages"][0]["content"]
        if number == 1:
            return Reply("I would rather not.")
        if "sentence1" in prompt:
            return Reply('{"pairs": [{"sentence1": "a", "sentence2": "b", "score": 3.5}]}')
        if "response" in prompt:
            return Reply('Here: {"pairs": [{"prompt": "explain", "response": "It is so."}]}')
        return questions(" who ", "when", "one too many")

    with ChatServer(by_task) as server, AnswerJournal(folder / "journal") as journal:
        every_task = settings(server, {"concurrency": 1}, tasks=("question", "instruction", "sts"))
        pairs, _ = writing.write_pairs(every_task, CORPUS.with_columns(TO_TRAIN), journal)
    return pairs.select(CONTENT).rows()


def gate(folder: Path) -> object:
    about = [
        {"query": f"{opening} in the year {1800 + number}?", "doc_id": f"wiki:d{number + 1}"}
        for number in range(6)
        for opening in ("What was written down", "What was there written down", "tells what happened", "Was geschah")
    ]
    written = as_written(make_pairs(*about))
    kept, report = gates.apply_gates(Gates(), written, CORPUS, {"wiki": "en"}, None)
    return kept.select(CONTENT).rows(), report["rejected_by_reason"]


def hold_out(folder: Path) -> object:
    write_documents(folder / "plant")
    source = DocumentsSource(kind="documents", path=str(folder / "plant"), passage_chars=250)
    corpus = load_source("plant", source)[0]
    with ChatServer(by_rule) as server:
        chosen = settings(server, max_pairs=60, pairs_per_passage=1, gates=Gates(other_positives=1))
        pairs, _ = generate_pairs(chosen, corpus, PAIRS.clear(), folder, documents={"plant": source})
    return pairs.select("split", "document_group", "grade", *CONTENT).rows()


def need_two(folder: Path) -> object:
    write_documents(folder / "plant")
    source = DocumentsSource(kind="documents", path=str(folder / "plant"), passage_chars=250)
    corpus = load_source("plant", source)[0]
    with ChatServer(over_two) as server:
        chosen = settings(server, max_pairs=40, pairs_per_passage=1, two_passages_percent=50)
        pairs, _ = generate_pairs(chosen, corpus, PAIRS.clear(), folder, documents={"plant": source})
    return pairs.filter(two_passages.NEEDS_TWO).select("second_passage_id", "grade", *CONTENT).rows()


def write_negatives(folder: Path) -> object:
    with ChatServer(with_negatives) as server:
        chosen = settings(server, hard_negatives_per_question=3, gates=Gates(min_grade=3))
        pairs, report = generate_pairs(chosen, CORPUS, PAIRS, folder)
    negatives = pairs.filter(written_negatives.IS_NEGATIVE).select("grade", "asked_for", *CONTENT)
    return negatives.rows(), report["hard_negatives_dropped"]


def parse(folder: Path) -> object:
    def read(content: str) -> object:
        try:
            return parsing.read_answer(Answer(content, "stop", 1, 1), Verdict, HOSTILE[0]).relevant
        except parsing.AnswerError as error:
            return error.reason

    return [(parsing.enclose(text, "passage"), read(text), read(text + '{"relevant": false}')) for text in HOSTILE]


def judge_prompt(folder: Path) -> object:
    return judge.build_prompt("who purrs", "Cats purr.")


def grade(folder: Path) -> object:
    prompt = grading.build_grading_prompt("en", "Cats purr.", ["who purrs", "why"])
    content = '{"grades": [{"answered": 5, "clear": 3, "natural": 4}, {"answered": 2, "clear": 5, "natural": 5}]}'
    return prompt, grading.read_grades(Answer(content, "stop", 1, 1), prompt, 2)


RUNS: dict[str, tuple[Callable[[Path], object], int, int, str]] = {
    "the choice of passages": (choose, passages.PASSAGES_VERSION, 1, "b1531b7dc4e433ce"),
    "extractive pairs": (extract, extractive.EXTRACTIVE_VERSION, 1, "5f53c0c21e6b85c2"),
    "written pairs": (write, writing.WRITING_VERSION, 1, "18fea4d1efe3ceb0"),
    "gates": (gate, gates.GATES_VERSION, 2, "e954068062273ed1"),
    "questions held out": (
        hold_out,
        held_out.HELD_OUT_VERSION + GROUPS_VERSION + PASSAGES_VERSION,
        6,
        "df48c29ec4e58041",
    ),
    "questions over two passages": (need_two, two_passages.TWO_PASSAGES_VERSION, 1, "9629bcbd4fd822c5"),
    "hard negatives": (write_negatives, written_negatives.WRITTEN_NEGATIVES_VERSION, 1, "4fec1fd6ccd47057"),
    "grades": (grade, grading.GRADING_VERSION, 1, "9a94fad340385c5f"),
    "answers": (parse, parsing.PARSING_VERSION, 2, "e0be5468cfcb7f37"),
    "the judge's prompt": (judge_prompt, judge.JUDGE_VERSION, 1, "07c91f7ed340e29f"),
}
"""What runs, its version, and the version and the fingerprint that were set together."""


@pytest.mark.parametrize(("run", "version", "set_version", "golden"), RUNS.values(), ids=RUNS)
def test_other_results_have_another_version(run, version, set_version, golden, tmp_path):
    assert (version, fingerprint(run(tmp_path))) == (set_version, golden), (
        "the numbers changed: raise the version, or undo the change"
    )


@pytest.mark.parametrize(
    ("module", "generation"),
    [
        (extractive, ExtractiveGeneration(kind="extractive")),
        (passages, ExtractiveGeneration(kind="extractive")),
        (passages, OpenAIGeneration(kind="openai", model="tiny")),
        (writing, OpenAIGeneration(kind="openai", model="tiny")),
        (parsing, OpenAIGeneration(kind="openai", model="tiny")),
        (gates, OpenAIGeneration(kind="openai", model="tiny")),
        (grading, OpenAIGeneration(kind="openai", model="tiny")),
        (two_passages, OpenAIGeneration(kind="openai", model="tiny")),
        (written_negatives, OpenAIGeneration(kind="openai", model="tiny")),
    ],
)
def test_every_version_is_part_of_the_recipe(module, generation, monkeypatch):
    before = fingerprint(generation_recipe(generation))
    (name,) = (name for name in vars(module) if name.endswith("_VERSION"))
    monkeypatch.setattr(module, name, getattr(module, name) + 1)
    assert fingerprint(generation_recipe(generation)) != before
