"""Answers that are none, and endpoints that fail."""

import json
import logging
import random
import time
from collections import Counter

import pytest

from conan_assets.failures import is_transient
from conan_assets.llm.client import Asker
from conan_assets.llm.endpoint import EndpointError
from conan_assets.llm.journal import JOURNAL
from conan_assets.synthesis.generation import generate_pairs
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets_tests.llm.server import KEY, ChatServer, Reply, completion
from conan_assets_tests.synthesis.passages import CORPUS, PAIRS, settings, two_questions


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
    "null": b"null",
    "broken JSON": b'{"choices": [',
    "a list": b"[]",
    "no message": b'{"choices": [{"index": 0, "message": null}]}',
    "a message that is a text": b'{"choices": [{"index": 0, "message": "hello"}]}',
    "a choice that is a text": b'{"choices": ["hello"]}',
    "lists without an end": b"[" * 20_000,
    "an error of status 200": b'{"error": {"message": "overloaded"}}',
}


@pytest.mark.slow
@pytest.mark.parametrize("body", ENVELOPES.values(), ids=ENVELOPES)
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_what_is_no_completion_is_tried_again(tmp_path, body, kind):
    def once(number, request):
        return Reply(body=body, headers={"Content-Type": kind}) if number == 1 else two_questions(number, request)

    with ChatServer(once) as server:
        pairs, report = generate_pairs(settings(server, {"concurrency": 1}), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, report["passages_failed"], len(server.requests)) == (10, 0, 6)


@pytest.mark.parametrize("body", ENVELOPES.values(), ids=ENVELOPES)
def test_what_stays_no_completion_is_counted_and_the_next_passage_is_asked(tmp_path, body):
    def every_second(number, request):
        return Reply(body=body) if number % 2 else two_questions(number, request)

    with ChatServer(every_second) as server:
        limits = {"concurrency": 1, "max_retries": 0}
        pairs, report = generate_pairs(settings(server, limits), CORPUS, PAIRS, tmp_path)
    assert pairs.height == 10
    assert report["failed_by_reason"] == [{"reason": "no_completion", "passages": 5}]


def test_odd_parts_of_a_completion_are_read_as_far_as_they_can_be(tmp_path):
    def odd(number, request):
        answer = completion(two_questions(number, request), "tiny")
        message = answer["choices"][0]["message"]
        message["content"] = [{"type": "text", "text": "<think>{a thought}</think>"}, {"text": message["content"]}]
        answer["usage"] = [{}, None, {"prompt_tokens": None}, {"prompt_tokens": True}, "none"][number % 5]
        return Reply(body=json.dumps(answer).replace("story", "st\\ud800ory").encode())

    with ChatServer(odd) as server:
        pairs, report = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
        again, _ = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
        assert len(server.requests) == 5
    assert pairs.height == 10
    assert pairs.equals(again)
    assert report["prompt_tokens"] > 0


@pytest.mark.slow
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


@pytest.mark.slow
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


NO_MONEY = {
    "OpenAI": Reply(status=429, error={"code": "insufficient_quota"}),
    "a server that names the type": Reply(status=429, error={"type": "insufficient_quota"}),
    "a hard limit": Reply(status=400, error={"code": "billing_hard_limit_reached"}),
    "payment required": Reply(status=402, body=b"<html>Insufficient balance</html>"),
}  # fmt: skip


@pytest.mark.parametrize("reply", NO_MONEY.values(), ids=NO_MONEY)
def test_without_money_the_run_ends_at_once_and_what_was_paid_is_kept(tmp_path, reply):
    def poor(number, body):
        return two_questions(number, body) if number <= 3 else reply

    started = time.monotonic()
    with ChatServer(poor) as server:
        chosen = settings(server, {"concurrency": 1, "max_retries": 5})
        with pytest.raises(EndpointError, match=r"nothing is left to pay with: pay, .*run again") as error:
            generate_pairs(chosen, CORPUS, PAIRS, tmp_path)
        assert len(server.requests) == 4
        assert time.monotonic() - started < 5
        assert not is_transient(error.value)
        server.script = two_questions
        assert generate_pairs(chosen, CORPUS, PAIRS, tmp_path)[0].height == 10
        assert len(server.requests) == 6


@pytest.mark.parametrize(("status", "again"), [(401, False), (404, False), (500, True), (529, True), (429, True)])
def test_a_run_that_an_endpoint_ended_is_tried_again_only_where_that_may_help(tmp_path, status, again):
    with (
        ChatServer(lambda *_: Reply(status=status, body=b"<html>down</html>")) as server,
        pytest.raises(EndpointError) as error,
    ):
        generate_pairs(settings(server, {"max_retries": 0}, max_pairs=40), CORPUS, PAIRS, tmp_path)
    assert is_transient(error.value) is again
    assert "<html>down" in str(error.value) or status in (401, 404)


def test_a_judge_whose_endpoint_is_down_ends_the_run(tmp_path):
    prompts = [[{"role": "user", "content": f"is it {number}?"}] for number in range(30)]
    with ChatServer(lambda *_: Reply(status=500)) as server:
        asker = Asker(settings(server, {"max_retries": 0}), tmp_path)
        with pytest.raises(EndpointError, match="the last 20 calls failed, the last one with status_500"):
            asker(prompts)
