from conan_assets.llm.client import Asker
from conan_assets.llm.journal import Answer
from conan_assets.llm.settings import Budget, CallLimits, LanguageModel
from conan_assets_tests.llm.server import ChatServer, Reply


def settings(server: ChatServer, **changes) -> LanguageModel:
    calls = CallLimits(timeout_seconds=2.0, max_retries=0)
    return LanguageModel(model="tiny", base_url=server.base_url, calls=calls, **changes)


def prompt(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def contents(answers: list[Answer | None]) -> list[str | None]:
    return [answer and answer.content for answer in answers]


def test_answers_come_in_the_order_of_the_prompts_and_a_failed_call_is_none(tmp_path):
    def echo(number: int, body: dict) -> Reply:
        asked = body["messages"][0]["content"]
        return Reply(status=500) if asked == "fails" else Reply(f"answer to {asked}")

    with ChatServer(echo) as server:
        answers = Asker(settings(server), tmp_path)([prompt("a"), prompt("fails"), prompt("b")])
    assert contents(answers) == ["answer to a", None, "answer to b"]


def test_no_answered_prompt_is_asked_again(tmp_path):
    with ChatServer(lambda number, body: Reply("yes")) as server:
        ask = Asker(settings(server), tmp_path)
        first, second = ask([prompt("a"), prompt("b")]), ask([prompt("a"), prompt("b")])
        assert contents(first) == contents(second) == ["yes", "yes"]
        assert len(server.requests) == 2


def test_one_budget_holds_over_all_calls_and_the_report_says_what_they_used(tmp_path):
    prices = {"price_per_million_prompt_tokens": 1.0, "price_per_million_completion_tokens": 2.0}
    with ChatServer(lambda number, body: Reply("yes")) as server:
        ask = Asker(settings(server, budget=Budget(max_tokens=500, **prices), max_completion_tokens=100), tmp_path)
        answers = [ask([prompt(text)]) for text in "abcdef"]
    assert [contents(answer) for answer in answers] == [["yes"]] * 4 + [[None]] * 2
    assert ask.report() == {
        "prompt_tokens": 400,
        "completion_tokens": 80,
        "cost": 0.00056,
        "unanswered_by_reason": {"budget_spent": 2},
    }
