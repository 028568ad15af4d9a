"""Endpoints that refuse what others take, answer as another model, or think until nothing is left."""

import json

import pytest

from conan_assets.llm.endpoint import EndpointError
from conan_assets.synthesis.generation import generate_pairs
from conan_assets_tests.data.frames import make_corpus
from conan_assets_tests.llm.batch_server import BatchServer
from conan_assets_tests.llm.server import KEY, ChatServer, Reply, completion, questions
from conan_assets_tests.synthesis.passages import CORPUS, PAIRS, journal_keys, settings, two_questions
from conan_assets_tests.synthesis.test_batch import settings as batch_settings


def refuse(parameter: str, code: str = "unsupported_parameter") -> Reply:
    return Reply(status=400, error={"param": parameter, "code": code, "message": f"'{parameter}' is not supported"})


def newer_openai(number: int, body: dict) -> Reply:
    """Answer as OpenAI's models do that reason."""
    if "max_tokens" in body:
        return refuse("max_tokens")
    return (
        refuse("temperature", "unsupported_value") if body.get("temperature", 1) != 1 else two_questions(number, body)
    )


def test_a_model_that_refuses_max_tokens_is_asked_by_the_newer_name_and_without_a_temperature(tmp_path):
    with ChatServer(newer_openai) as server:
        pairs, report = generate_pairs(settings(server, {"concurrency": 2}), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, report["passages_failed"]) == (10, 0)
    assert sum("max_tokens" in body for body in server.requests) <= 2


def test_a_batch_that_refuses_max_tokens_is_sent_again_by_the_newer_name(tmp_path):
    with BatchServer(newer_openai) as server:
        pairs, _ = generate_pairs(batch_settings(server), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, len(server.batches)) == (20, 2)


@pytest.mark.parametrize(
    "refusal",
    [
        refuse("temperature", "unsupported_value"),
        Reply(status=400, error={"message": "gpt-5 models don't support temperature=0.3. Only 1 is supported."}),
        Reply(status=422, error={"message": "body.temperature: Extra inputs are not permitted"}),
    ],
)
def test_a_refused_parameter_ends_the_run_at_once_with_its_name(tmp_path, refusal):
    with ChatServer(lambda number, body: refusal) as server:
        chosen = settings(server, {"concurrency": 2}, temperature=0.3)
        with pytest.raises(EndpointError, match=r"refuses temperature: change generation\.temperature or leave it out"):
            generate_pairs(chosen, CORPUS, PAIRS, tmp_path)
    assert len(server.requests) <= 2


def test_a_batch_with_a_refused_parameter_ends_the_run_with_its_name(tmp_path):
    with BatchServer(newer_openai) as server, pytest.raises(EndpointError, match="it refuses temperature"):
        generate_pairs(batch_settings(server, temperature=0.3), CORPUS, PAIRS, tmp_path)


def test_a_limit_refused_under_both_names_ends_the_run(tmp_path):
    def script(number: int, body: dict) -> Reply:
        return refuse("max_tokens" if "max_tokens" in body else "max_completion_tokens", "invalid_value")

    with ChatServer(script) as server, pytest.raises(EndpointError, match=r"change generation\.max_completion_tokens"):
        generate_pairs(settings(server, {"concurrency": 1}), CORPUS, PAIRS, tmp_path)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "refusal",
    [
        {"param": "max_tokens", "message": "max_tokens is too large: this model's maximum context length is 99"},
        {"message": "The prompt was refused: that the temperature of the sea rises is not supported by evidence"},
    ],
)
def test_a_passage_that_is_refused_for_itself_costs_itself_alone(tmp_path, refusal):
    def script(number: int, body: dict) -> Reply:
        return Reply(status=400, error=refusal) if number == 2 else two_questions(number, body)

    with ChatServer(script) as server:
        pairs, report = generate_pairs(settings(server, {"concurrency": 1}), CORPUS, PAIRS, tmp_path)
    assert pairs.height == 10
    assert report["failed_by_reason"] == [{"reason": "status_400", "passages": 1}]


def test_a_spent_quota_ends_the_run_at_once_and_its_message_holds_no_key(tmp_path):
    spent = Reply(status=429, error={"code": "insufficient_quota", "message": f"no quota left for {KEY}"})
    with ChatServer(lambda number, body: spent) as server:
        chosen = settings(server, {"concurrency": 1, "max_retries": 0})
        with pytest.raises(EndpointError, match=r"refuses the model 'tiny'.*no quota left") as error:
            generate_pairs(chosen, CORPUS, PAIRS, tmp_path)
    assert len(server.requests) == 1
    assert KEY not in str(error.value)


@pytest.mark.parametrize("server_kind", [ChatServer, BatchServer])
def test_an_answer_of_another_model_is_not_taken_for_the_asked_ones_and_is_kept_under_its_own(tmp_path, server_kind):
    def other(number: int, body: dict) -> Reply:
        return Reply(two_questions(number, body).content, model="cheap-70b")

    make = batch_settings if server_kind is BatchServer else settings
    with server_kind(other) as server:
        with pytest.raises(EndpointError, match=r"'tiny' was asked and 'cheap-70b' answers: set generation\.model"):
            generate_pairs(make(server, max_pairs=2), CORPUS, PAIRS, tmp_path)
        asked = len(server.requests)
        for known in ({"model": "cheap-70b"}, {"answers_as": "cheap-70b"}):
            pairs, report = generate_pairs(make(server, max_pairs=2, **known), CORPUS, PAIRS, tmp_path)
            assert (pairs.height, report["answers_from_journal"]) == (2, 1)
    assert len(server.requests) == asked == 1


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", True),
        ("gpt-3.5-turbo", "gpt-3.5-turbo-0125", True),
        ("claude-latest", "claude-20250219", True),
        ("openai/gpt-4o", "gpt-4o", True),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b-instruct", True),
        ("/models/tiny", "/models/tiny@main", True),
        ("llama3", "llama3:latest", True),
        ("tiny", "", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o-mini", "gpt-4o", False),
        ("llama3:70b", "llama3:8b", False),
        ("llama-3", "llama-3-405", False),
        ("qwen3", "qwen3:0.6b", False),
    ],
)
def test_a_date_a_tag_and_an_organization_make_no_other_model(tmp_path, asked, answered, same):
    def script(number: int, body: dict) -> Reply:
        envelope = completion(two_questions(number, body), answered)
        return Reply(body=json.dumps(envelope).encode())

    with ChatServer(script) as server:
        chosen = settings(server, max_pairs=2, model=asked)
        if same:
            assert generate_pairs(chosen, CORPUS, PAIRS, tmp_path)[0].height == 2
        else:
            with pytest.raises(EndpointError, match="was asked and"):
                generate_pairs(chosen, CORPUS, PAIRS, tmp_path)


@pytest.mark.parametrize("content", [None, "", "<think>The passage tells of a year, and"])
def test_reasoning_that_uses_up_the_tokens_ends_the_run_after_twenty_passages_with_the_way_out(tmp_path, content):
    def thinks(number: int, body: dict) -> Reply:
        envelope = completion(Reply("", "length"), body["model"])
        envelope["choices"][0]["message"] |= {"content": content, "reasoning_content": "The passage tells"}
        return Reply(body=json.dumps(envelope).encode())

    with ChatServer(thinks) as server:
        chosen = settings(server, {"concurrency": 1}, max_pairs=80)
        with pytest.raises(EndpointError, match=r"last 20 passages.*cut_off: .*used up by reasoning: raise max_compl"):
            generate_pairs(chosen, CORPUS, PAIRS, tmp_path)
    assert len(server.requests) == len(journal_keys(tmp_path)) == 20


def test_a_batch_without_one_valid_answer_is_the_last(tmp_path):
    with BatchServer(lambda number, body: Reply("", "length")) as server:
        with pytest.raises(EndpointError, match="last 20 passages got no valid answer"):
            generate_pairs(batch_settings(server, max_pairs=50), CORPUS, PAIRS, tmp_path)
        assert len(server.batches) == 1


@pytest.mark.parametrize(("max_pairs", "asked"), [(2, ["apple", "pear", "plum"]), (1, ["apple", "pear"])])
def test_no_passage_is_lost_between_two_waves(tmp_path, max_pairs, asked):
    def script(number: int, body: dict) -> Reply:
        return Reply("I cannot help with that.") if number <= 1 else questions(f"what grows on tree {number}")

    corpus = make_corpus("apple", "pear", "plum")
    with ChatServer(script) as server:
        chosen = settings(server, {"concurrency": 1, "max_corrections": 0}, max_pairs=max_pairs, pairs_per_passage=1)
        pairs, report = generate_pairs(chosen, corpus, PAIRS, tmp_path)
    prompts = [body["messages"][0]["content"] for body in server.requests]
    found = {name for name in ("apple", "pear", "plum") if any(f"\n{name}\n" in prompt for prompt in prompts)}
    assert (len(found), len(prompts)) == (len(asked), len(asked))
    assert pairs.height == max_pairs == report["pairs"]
    assert report["stopped"] == f"max_pairs {max_pairs} is reached"
