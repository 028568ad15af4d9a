import json
import logging
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from conan_assets.synthesis.endpoint import EndpointError
from conan_assets.synthesis.estimate import estimate_generation
from conan_assets.synthesis.generation import JOURNAL, generate_pairs
from conan_assets.synthesis.settings import Budget, CallLimits, OpenAIGeneration
from conan_assets_tests.data.frames import make_corpus, make_pairs
from conan_assets_tests.synthesis.server import ChatServer, Reply, completion, questions

CORPUS = make_corpus(*(f"Passage {number} tells what happened in the year {1800 + number}." for number in range(40)))
PAIRS = make_pairs({"query": "what happened", "doc_id": "wiki:d1"})
KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def settings(server: ChatServer, calls: dict | None = None, **changes) -> OpenAIGeneration:
    limits = CallLimits(**({"timeout_seconds": 2.0, "max_retries": 3} | (calls or {})))
    return OpenAIGeneration(
        **({"kind": "openai", "model": "tiny", "base_url": server.base_url, "max_pairs": 10, "calls": limits} | changes)
    )


def two_questions(number: int, body: dict) -> Reply:
    return questions(
        f"Who wrote down the story of the year {number}?", f"When did event number {number} come to an end?"
    )


def prompts(server: ChatServer) -> Counter:
    return Counter(str(body["messages"]) for body in server.requests)


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
    assert max(prompts(server).values()) == 1
    assert set(first["pair_id"]) <= set(raised["pair_id"])


def test_another_model_is_asked_anew(tmp_path):
    with ChatServer(two_questions) as server:
        generate_pairs(settings(server, max_pairs=2), CORPUS, PAIRS, tmp_path)
        generate_pairs(settings(server, max_pairs=2, model="other"), CORPUS, PAIRS, tmp_path)
    assert [body["model"] for body in server.requests] == ["tiny", "other"]


def test_an_invalid_answer_is_corrected_with_the_error_shown(tmp_path):
    def corrected(number, body):
        return two_questions(number, body) if len(body["messages"]) > 1 else Reply('{"pairs": [{"ask": "who"}]}')

    with ChatServer(corrected) as server:
        pairs, report = generate_pairs(settings(server, max_pairs=2), CORPUS, PAIRS, tmp_path)
    assert pairs.height == 2
    question, answer, correction = server.requests[1]["messages"]
    assert (question["role"], answer["content"]) == ("user", '{"pairs": [{"ask": "who"}]}')
    assert "pairs.0.question: Field required" in correction["content"]
    assert report["invalid_wrong_schema"] == 1


ENVELOPES = {
    "a page of HTML": b"<html>log in</html>",
    "broken JSON": b'{"choices": [',
    "a list": b"[]",
    "no message": b'{"choices": [{"index": 0, "message": null}]}',
    "no choices": b'{"choices": []}',
}


@pytest.mark.parametrize("body", ENVELOPES.values(), ids=ENVELOPES)
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_what_is_no_completion_is_counted_and_the_next_passage_is_asked(tmp_path, body, kind):
    def every_second(number, request):
        return Reply(body=body, headers={"Content-Type": kind}) if number % 2 else two_questions(number, request)

    with ChatServer(every_second) as server:
        pairs, report = generate_pairs(settings(server, {"concurrency": 1}), CORPUS, PAIRS, tmp_path)
        again, _ = generate_pairs(settings(server, {"concurrency": 1}), CORPUS, PAIRS, tmp_path)
    assert pairs.height == again.height == 10
    failed = {row["reason"]: row["passages"] for row in report["failed_by_reason"]}
    assert set(failed) <= {"no_completion", "connection"}
    assert sum(failed.values()) == 5


def test_odd_parts_of_a_completion_are_read_as_far_as_they_can_be(tmp_path):
    def odd(number, request):
        answer = completion(two_questions(number, request))
        message = answer["choices"][0]["message"]
        message["content"] = [{"type": "text", "text": "<think>{a thought}</think>"}, {"text": message["content"]}]
        answer["usage"] = [{}, None, {"prompt_tokens": None}][number % 3]
        return Reply(body=json.dumps(answer).replace("story", "st\\ud800ory").encode())

    with ChatServer(odd) as server:
        pairs, report = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
        again, _ = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
        assert len(server.requests) == 5
    assert pairs.height == 10
    assert pairs.equals(again)
    assert report["prompt_tokens"] > 0


def test_answers_that_stay_invalid_are_counted_by_reason_and_the_next_passage_is_asked(tmp_path):
    stubborn = {
        "Passage 3 ": Reply("no"),
        "Passage 7 ": Reply("", refusal="I must not"),
        "Passage 9 ": Reply("{", "length"),
    }

    def script(number, body):
        prompt = body["messages"][0]["content"]
        return next((reply for words, reply in stubborn.items() if words in prompt), two_questions(number, body))

    with ChatServer(script) as server:
        pairs, report = generate_pairs(settings(server, {"max_corrections": 1}, max_pairs=80), CORPUS, PAIRS, tmp_path)
    assert pairs.height == 2 * 37
    assert {row["reason"]: row["passages"] for row in report["failed_by_reason"]} == {
        "invalid_json": 1,
        "refused": 1,
        "cut_off": 1,
    }
    assert report["stopped"] == "no passage is left"


NO_ANSWER = (
    Reply(status=429, headers={"Retry-After": "0.05"}),
    Reply(status=500),
    Reply(drop=True),
    Reply("{}", cut_body=True),
    Reply("{}", delay_seconds=1.5),
)
INVALID = (
    Reply("I am not JSON"),
    Reply('{"pairs": "wrong"}'),
    Reply('{"pairs": [{"quest', "length"),
    Reply(refusal="no"),
)


@pytest.mark.parametrize("seed", [0, 1])
def test_with_a_fifth_of_the_calls_failing_no_pair_is_lost_and_no_answer_is_asked_for_twice(tmp_path, seed):
    draw = random.Random(seed)
    answered: Counter = Counter()

    def script(number, body):
        slow = Reply(two_questions(number, body).content, delay_seconds=0.2)
        reply = draw.choice((*NO_ANSWER, *INVALID, slow)) if draw.random() < 0.2 else two_questions(number, body)
        answered[str(body["messages"])] += reply not in NO_ANSWER
        return reply

    with ChatServer(script) as server:
        limits = {"max_retries": 6, "max_corrections": 6, "timeout_seconds": 1.0, "concurrency": 16}
        pairs, report = generate_pairs(settings(server, limits, max_pairs=80), CORPUS, PAIRS, tmp_path)
        asked = len(server.requests)
        again, _ = generate_pairs(settings(server, limits, max_pairs=80), CORPUS, PAIRS, tmp_path)
        assert len(server.requests) == asked > 40
    assert (pairs.height, report["written"], report["passages_failed"]) == (80, 80, 0)
    assert max(answered.values()) == 1
    assert again.equals(pairs)


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


def test_a_refused_key_ends_the_run_and_stands_in_no_message_and_no_file(tmp_path, caplog):
    with (
        caplog.at_level(logging.DEBUG, logger="conan_assets"),
        ChatServer(lambda number, body: Reply(status=401)) as server,
        pytest.raises(EndpointError) as error,
    ):
        generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
    assert "refuses the model 'tiny'" in str(error.value)
    assert f"Bearer {KEY}" in server.keys
    for text in (str(error.value), caplog.text, (tmp_path / JOURNAL).read_text()):
        assert KEY not in text


def test_what_is_secret_in_a_base_url_is_not_reported(tmp_path):
    with ChatServer(two_questions) as server:
        secret = server.base_url.replace("127.0.0.1", f"user:{KEY}@127.0.0.1") + f"?key={KEY}"
        _, report = generate_pairs(settings(server, base_url=secret), CORPUS, PAIRS, tmp_path)
    assert report["endpoint"] == server.base_url


def test_an_endpoint_that_is_down_ends_the_run_and_keeps_what_was_answered(tmp_path):
    def dies(number, body):
        return two_questions(number, body) if number <= 3 else Reply(status=500)

    with ChatServer(dies) as server:
        limited = settings(server, {"max_retries": 0, "concurrency": 1}, max_pairs=80)
        with pytest.raises(EndpointError, match=r"calls failed.*status_500.*run again"):
            generate_pairs(limited, CORPUS, PAIRS, tmp_path)
        server.script = two_questions
        _, report = generate_pairs(limited, CORPUS, PAIRS, tmp_path)
    assert report["answers_from_journal"] == 3


def test_no_key_and_no_endpoint_is_an_error_that_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(EndpointError, match=r"set \$OPENAI_API_KEY"):
        generate_pairs(OpenAIGeneration(kind="openai", model="tiny"), CORPUS, PAIRS, tmp_path)


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
    assert pairs.schema == dict(PAIRS.schema)
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


def test_a_killed_run_goes_on_without_asking_again(tmp_path):
    """The process is killed with ``kill -9`` while calls are in flight."""
    program = (
        "import sys, polars as pl\n"
        "from pathlib import Path\n"
        "from conan_assets_tests.synthesis.test_llm import *\n"
        "limits = CallLimits(concurrency=4)\n"
        "generation = OpenAIGeneration(kind='openai', model='tiny', base_url=sys.argv[1], max_pairs=40, calls=limits)\n"
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


def journal_keys(folder: Path) -> list[str]:
    path = folder / JOURNAL
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["key"] for line in lines if line.endswith("\n")]
