import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from conan_assets.llm.client import Asker
from conan_assets.llm.endpoint import EndpointError
from conan_assets.llm.journal import JOURNAL, AnswerJournal
from conan_assets.llm.settings import BatchLimits, Budget, CallLimits
from conan_assets.synthesis.generation import generate_pairs
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets_tests.llm.batch_server import BatchServer
from conan_assets_tests.llm.server import KEY, Reply
from conan_assets_tests.synthesis.passages import CORPUS, PAIRS, two_questions


def settings(server: BatchServer, **changes) -> OpenAIGeneration:
    return OpenAIGeneration(
        **(
            {
                "kind": "openai",
                "mode": "batch",
                "model": "tiny",
                "base_url": server.base_url,
                "max_pairs": 20,
                "batch": BatchLimits(poll_seconds=0.05),
                "calls": CallLimits(timeout_seconds=2.0, max_retries=2),
            }
            | changes
        )
    )


def asked(server: BatchServer) -> Counter:
    return Counter(str(body["messages"]) for body in server.requests)


def test_all_prompts_travel_in_one_batch_and_their_answers_become_pairs(tmp_path):
    with BatchServer(two_questions) as server:
        pairs, report = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, len(server.batches), len(server.requests)) == (20, 1, 10)
    assert (report["mode"], report["batches"], report["prompt_tokens"]) == ("batch", 1, 1_000)


def test_a_batch_holds_no_more_than_the_provider_takes(tmp_path):
    with BatchServer(two_questions) as server:
        limits = BatchLimits(poll_seconds=0.05, max_requests=4)
        pairs, _ = generate_pairs(settings(server, batch=limits), CORPUS, PAIRS, tmp_path)
        assert (pairs.height, len(server.batches)) == (20, 3)
        small = BatchLimits(poll_seconds=0.05, max_file_megabytes=0.003)
        generate_pairs(settings(server, batch=small, model="other"), CORPUS, PAIRS, tmp_path)
    assert len(server.batches) - 3 > 3
    uploaded = [server.files[batch["input_file_id"]] for batch in list(server.batches.values())[3:]]
    assert max(map(len, uploaded)) <= 3_000


def test_corrections_make_a_batch_of_their_own(tmp_path):
    def corrected(number, body):
        valid = len(body["messages"]) > 1 or "year 1803" in body["messages"][0]["content"]
        return two_questions(number, body) if valid else Reply("not JSON")

    with BatchServer(corrected) as server:
        pairs, report = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, len(server.batches)) == (20, 2)
    assert report["invalid_invalid_json"] >= 9


def test_failed_and_expired_prompts_are_counted_by_reason_and_other_passages_are_asked(tmp_path):
    def script(number, body):
        faults = {1: Reply(status=400), 2: Reply(drop=True)}
        return faults.get(number) or two_questions(number, body)

    with BatchServer(script) as server:
        pairs, report = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
    assert pairs.height == 20
    assert {row["reason"]: row["passages"] for row in report["failed_by_reason"]} == {
        "status_400": 1,
        "batch_expired": 1,
    }
    assert KEY not in json.dumps(report)


def test_a_batch_that_the_provider_refuses_ends_the_run_with_its_reason(tmp_path):
    with BatchServer(two_questions) as server:
        server.status = "failed"
        with pytest.raises(EndpointError, match="refuses the batch batch-1: the model 'tiny' has no batches"):
            generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
        server.status = "completed"
        pairs, _ = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, len(server.batches)) == (20, 2)


def test_an_error_of_one_batch_waits_for_the_answers_of_the_others(tmp_path):
    with BatchServer(two_questions) as server:
        server.lost_uploads = 1
        limits = BatchLimits(poll_seconds=0.05, max_requests=5)
        calls = CallLimits(timeout_seconds=2.0, max_retries=0)
        pairs, report = generate_pairs(settings(server, batch=limits, calls=calls), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, len(server.batches)) == (20, 2)
    assert report["failed_by_reason"] == [{"reason": "status_500", "passages": 5}]


def test_a_batch_whose_creation_was_not_confirmed_is_found_and_not_created_again(tmp_path):
    with BatchServer(two_questions) as server:
        server.lose_created = 1
        pairs, _ = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, len(server.batches)) == (20, 1)


def test_polls_that_fail_do_not_lose_the_batch(tmp_path):
    with BatchServer(two_questions) as server:
        server.failing_polls = 5
        calls = CallLimits(timeout_seconds=2.0, max_retries=0)
        pairs, _ = generate_pairs(settings(server, calls=calls), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, len(server.batches)) == (20, 1)


@pytest.mark.slow
def test_a_budget_holds_prompts_back_until_the_batch_has_told_what_it_used(tmp_path):
    with BatchServer(two_questions) as server:
        limited = settings(server, budget=Budget(max_tokens=4_000), max_pairs=80)
        pairs, report = generate_pairs(limited, CORPUS, PAIRS, tmp_path)
    assert 0 < pairs.height < 80
    assert report["stopped"].startswith("max_tokens 4,000")
    assert report["prompt_tokens"] + report["completion_tokens"] <= 4_000


def test_a_judge_asks_through_a_batch_too(tmp_path):
    def echo(number: int, body: dict) -> Reply:
        return Reply(f"answer to {body['messages'][0]['content']}")

    with BatchServer(echo) as server:
        ask = Asker(settings(server), tmp_path)
        answers = ask([[{"role": "user", "content": text}] for text in ("a", "b", "a")])
    assert [answer and answer.content for answer in answers] == ["answer to a", "answer to b", "answer to a"]
    assert (len(server.batches), len(server.requests)) == (1, 2)


@pytest.fixture
def killed_while_polling(tmp_path):
    """A process was killed with ``kill -9`` after it had created a batch, before the batch had ended."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from conan_assets_tests.synthesis.test_batch import *\n"
        "address = type('Address', (), {'base_url': sys.argv[1]})\n"
        "generate_pairs(settings(address), CORPUS, PAIRS, Path(sys.argv[2]))\n"
    )
    with BatchServer(two_questions) as server:
        server.running.set()
        process = subprocess.Popen([sys.executable, "-c", program, server.base_url, str(tmp_path)])
        deadline = time.monotonic() + 60
        while '"batch-1"' not in journal(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
        process.wait()
        assert list(server.batches) == ["batch-1"]
        server.running.clear()
        yield server


def journal(folder: Path) -> str:
    path = folder / JOURNAL
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
def test_a_run_killed_while_it_polls_takes_up_its_batch_and_creates_no_second(killed_while_polling, tmp_path):
    server = killed_while_polling
    pairs, report = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, len(server.batches), report["batches_taken_up_again"]) == (20, 1, 1)
    assert max(asked(server).values()) == 1
    assert generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)[0].equals(pairs)
    assert len(server.batches) == 1


@pytest.mark.slow
def test_a_run_killed_before_it_knew_the_id_finds_its_batch_by_name(killed_while_polling, tmp_path):
    server = killed_while_polling
    lines = journal(tmp_path).splitlines(keepends=True)
    (tmp_path / JOURNAL).write_text("".join(line for line in lines if '"batch-1"' not in line))
    pairs, _ = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, len(server.batches)) == (20, 1)


@pytest.mark.slow
def test_after_a_kill_a_raised_target_sends_only_what_the_first_batch_lacks(killed_while_polling, tmp_path):
    server = killed_while_polling
    pairs, _ = generate_pairs(settings(server, max_pairs=40), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, len(server.batches)) == (40, 2)
    assert max(asked(server).values()) == 1


@pytest.mark.slow
def test_a_batch_that_the_provider_has_deleted_is_sent_again(killed_while_polling, tmp_path):
    server = killed_while_polling
    server.batches["batch-0"] = server.batches.pop("batch-1")
    pairs, _ = generate_pairs(settings(server), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, sorted(server.batches)) == (20, ["batch-0", "batch-2"])


@pytest.mark.slow
def test_answers_by_another_model_are_kept_under_no_prompt_of_another_run(killed_while_polling, tmp_path, caplog):
    server = killed_while_polling
    server.script = lambda number, body: replace(two_questions(number, body), model="huge")
    with pytest.raises(EndpointError, match="the model 'tiny' was asked and 'huge' answers"):
        generate_pairs(settings(server, max_pairs=2), CORPUS, PAIRS, tmp_path)
    assert "9 prompts of another run have no answer, the last one since: the model 'tiny' was asked" in caplog.text
    sent = {json.loads(line)["custom_id"] for line in server.files["file-1"].splitlines()}
    assert sent.isdisjoint(AnswerJournal.answers_in(tmp_path / JOURNAL))
