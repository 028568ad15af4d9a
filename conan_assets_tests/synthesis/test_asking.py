import pytest

from conan_assets.synthesis.asking import asker
from conan_assets.synthesis.settings import CallLimits, OpenAIGeneration
from conan_assets_tests.synthesis.server import ChatServer, Reply


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")


def settings(server: ChatServer) -> OpenAIGeneration:
    calls = CallLimits(timeout_seconds=2.0, max_retries=0)
    return OpenAIGeneration(kind="openai", model="tiny", base_url=server.base_url, calls=calls)


def prompt(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_answers_come_in_the_order_of_the_prompts_and_a_failed_call_is_none(tmp_path):
    def echo(number: int, body: dict) -> Reply:
        asked = body["messages"][0]["content"]
        return Reply(status=500) if asked == "fails" else Reply(f"answer to {asked}")

    with ChatServer(echo) as server:
        answers = asker(settings(server), tmp_path)([prompt("a"), prompt("fails"), prompt("b")])
    assert answers == ["answer to a", None, "answer to b"]


def test_no_answered_prompt_is_asked_again(tmp_path):
    with ChatServer(lambda number, body: Reply("yes")) as server:
        ask = asker(settings(server), tmp_path)
        assert ask([prompt("a"), prompt("b")]) == ask([prompt("a"), prompt("b")]) == ["yes", "yes"]
        assert len(server.requests) == 2
