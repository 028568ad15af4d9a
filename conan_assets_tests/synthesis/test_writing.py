import subprocess
import sys
import time
from collections import Counter

import polars as pl
import pytest

from conan_assets.data.tables import WRITTEN_PAIRS
from conan_assets.llm.settings import Budget
from conan_assets.synthesis.estimate import estimate_generation
from conan_assets.synthesis.generation import generate_pairs
from conan_assets_tests.data.frames import make_corpus
from conan_assets_tests.llm.server import ChatServer, Reply, questions
from conan_assets_tests.synthesis.passages import CORPUS, PAIRS, journal_keys, settings, two_questions


def test_answers_become_pairs_that_point_to_their_passage(tmp_path):
    with ChatServer(two_questions) as server:
        pairs, report = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, pairs["doc_id"].n_unique(), len(server.requests)) == (10, 5, 5)
    assert set(pairs["origin"]) == {"llm"}
    for body in server.requests:
        assert any(text in body["messages"][0]["content"] for text in CORPUS["text"])
    assert report["stopped"] == "max_pairs 10 is reached"
    assert (report["prompt_tokens"], report["completion_tokens"]) == (500, 100)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_task_gives_its_kind_of_pair(tmp_path, language):
    def by_task(number, body):
        prompt = body["messages"][0]["content"]
        if "sentence1" in prompt:
            return Reply('{"pairs": [{"sentence1": "a", "sentence2": "b", "score": 3.5}]}')
        if "response" in prompt:
            return Reply('{"pairs": [{"prompt": "explain", "response": "It is so."}]}')
        return questions("who")

    with ChatServer(by_task) as server:
        pairs, _ = generate_pairs(
            settings(
                server,
                tasks=("question", "instruction", "sts"),
                prompt_language=language,
                max_pairs=3,
                pairs_per_passage=1,
            ),
            CORPUS,
            PAIRS,
            tmp_path,
        )
    rows = pairs.select("task", "query", pl.col("doc_id").is_null(), "text", "score").rows()
    assert rows == [
        ("retrieval", "who", False, None, 1.0),
        ("retrieval", "explain", True, "It is so.", 1.0),
        ("sts", "a", True, "b", pytest.approx(0.7)),
    ]


def test_prompts_differ_in_persona_and_are_chinese_when_asked(tmp_path):
    with ChatServer(two_questions) as server:
        generate_pairs(settings(server, prompt_language="zh"), CORPUS, PAIRS, tmp_path)
    openings = {body["messages"][0]["content"].split("要求")[0] for body in server.requests}
    assert all("搜索引擎" in opening for opening in openings)
    assert len({opening.split("提问者")[1] for opening in openings}) > 1


def test_no_more_calls_are_in_flight_than_allowed(tmp_path):
    def slow(number, body):
        return Reply(two_questions(number, body).content, delay_seconds=0.05)

    with ChatServer(slow) as server:
        generate_pairs(settings(server, {"concurrency": 3}, max_pairs=24), CORPUS, PAIRS, tmp_path)
    assert server.most_in_flight == 3


def test_a_second_run_asks_nothing_and_gives_the_same_pairs(tmp_path):
    with ChatServer(two_questions) as server:
        first, _ = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
        asked = len(server.requests)
        second, report = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
        assert len(server.requests) == asked
    assert second.equals(first)
    assert report["answers_from_journal"] == asked


def test_a_raised_target_and_a_changed_corpus_ask_only_what_is_new(tmp_path):
    with ChatServer(two_questions) as server:
        first, _ = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
        changed = pl.concat([CORPUS, make_corpus("A passage that is new.", first=100)])
        raised, _ = generate_pairs(settings(server, max_pairs=20), changed, PAIRS, tmp_path)
    assert max(Counter(str(body["messages"]) for body in server.requests).values()) == 1
    assert set(first["pair_id"]) <= set(raised["pair_id"])


def test_another_model_is_asked_anew(tmp_path):
    with ChatServer(two_questions) as server:
        generate_pairs(settings(server, max_pairs=2), CORPUS, PAIRS, tmp_path)
        generate_pairs(settings(server, max_pairs=2, model="other"), CORPUS, PAIRS, tmp_path)
    assert [body["model"] for body in server.requests] == ["tiny", "other"]


def test_a_budget_of_tokens_stops_cleanly_and_says_so(tmp_path):
    with ChatServer(two_questions) as server:
        limited = settings(server, {"concurrency": 4}, budget=Budget(max_tokens=2_200), max_pairs=80)
        pairs, report = generate_pairs(limited, CORPUS, PAIRS, tmp_path)
    assert 0 < pairs.height < 80
    assert report["stopped"].startswith("max_tokens 2,200")
    assert report["prompt_tokens"] + report["completion_tokens"] <= 2_200


def test_a_budget_of_money_stops_cleanly_and_the_cost_is_reported(tmp_path):
    prices = {"price_per_million_prompt_tokens": 1_000.0, "price_per_million_completion_tokens": 2_000.0}
    with ChatServer(two_questions) as server:
        limited = settings(server, {"concurrency": 4}, budget=Budget(max_cost=3.0, **prices), max_pairs=80)
        _, report = generate_pairs(limited, CORPUS, PAIRS, tmp_path)
    assert report["stopped"].startswith("max_cost 3.0")
    assert report["cost"] == pytest.approx(0.14 * len(server.requests))
    assert report["cost"] <= 3.0


def test_the_endpoint_may_come_from_the_environment_and_need_no_key(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with ChatServer(two_questions) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        pairs, _ = generate_pairs(settings(server, base_url=None), CORPUS, PAIRS, tmp_path)
    assert pairs.height == 10


def test_pairs_that_fail_a_gate_are_removed_and_counted_by_reason(tmp_path):
    def quoting(number, body):
        return questions("tells what  happened in the YEAR", f"Who wrote down the story of the year {number}?")

    with ChatServer(quoting) as server:
        pairs, report = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
    assert pairs.schema == dict(WRITTEN_PAIRS.columns)
    assert not any("tells" in query for query in pairs["query"])
    assert (report["written"], report["pairs"], pairs.height, len(server.requests)) == (10, 5, 5, 5)
    assert {"reason": "quotes_passage", "pairs": 5} in report["rejected_by_reason"]
    assert [row["query"] for row in report["example_pairs"]] == pairs["query"].to_list()


def test_an_estimate_sends_nothing_and_lies_above_what_is_used(tmp_path):
    prices = Budget(price_per_million_prompt_tokens=1_000.0, price_per_million_completion_tokens=2_000.0)
    with ChatServer(two_questions) as server:
        estimate = estimate_generation(settings(server, budget=prices), CORPUS, PAIRS, tmp_path)
        assert server.requests == []
        _, report = generate_pairs(settings(server, budget=prices), CORPUS, PAIRS, tmp_path)
        after = estimate_generation(settings(server, budget=prices), CORPUS, PAIRS, tmp_path)
    assert (estimate["pairs"], estimate["calls"]) == (10, len(server.requests))
    assert estimate["cost_at_most"] >= report["cost"] > 0
    assert (after["calls"], after["answered_by_the_journal"], after["cost_at_most"]) == (0, 5, 0)


@pytest.mark.slow
def test_a_killed_run_goes_on_without_asking_again(tmp_path):
    """The process is killed with ``kill -9`` while calls are in flight."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from conan_assets.synthesis.generation import generate_pairs\n"
        "from conan_assets_tests.synthesis.passages import *\n"
        "address = type('Address', (), {'base_url': sys.argv[1]})\n"
        "generation = settings(address, {'concurrency': 4}, max_pairs=40)\n"
        "generate_pairs(generation, CORPUS, PAIRS, Path(sys.argv[2]))\n"
    )

    def slow(number, body):
        return Reply(two_questions(number, body).content, delay_seconds=0.1)

    with ChatServer(slow) as server:
        process = subprocess.Popen([sys.executable, "-c", program, server.base_url, str(tmp_path)])
        deadline = time.monotonic() + 60
        while len(recorded := journal_keys(tmp_path)) < 6 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
        process.wait()
        assert 6 <= len(recorded) < 20
        recorded = journal_keys(tmp_path)
        asked_before = len(server.requests)
        _, report = generate_pairs(settings(server, {"concurrency": 4}, max_pairs=40), CORPUS, PAIRS, tmp_path)
    assert report["answers_from_journal"] == len(recorded)
    assert len(server.requests) - asked_before == 20 - len(recorded)
