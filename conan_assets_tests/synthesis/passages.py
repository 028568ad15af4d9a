"""A corpus to write about, what an obedient model writes, and the settings that ask for it."""

import json
import re
from pathlib import Path

from conan_assets.llm.journal import JOURNAL
from conan_assets.llm.settings import CallLimits
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets_tests.data.frames import make_corpus, make_pairs
from conan_assets_tests.documents import by_rule
from conan_assets_tests.llm.server import ChatServer, Reply, questions

CORPUS = make_corpus(*(f"Passage {number} tells what happened in the year {1800 + number}." for number in range(40)))
PAIRS = make_pairs({"query": "what happened", "doc_id": "wiki:d1"})


CODE = re.compile(r"\bK\d+[AB]\b")


def over_two(number: int, body: dict) -> Reply:
    """Ask for the codes of both passages, of house 7 for one alone; grade by whether all of them are shown."""
    text = body["messages"][0]["content"]
    if "You judge questions" in text:
        shown = set(CODE.findall(text.split("<question-")[0]))
        asked = re.findall(r"<question-(\w+)>\n(.*)\n</question-\1>", text)
        answered = [set(CODE.findall(question)) <= shown for _, question in asked]
        return Reply(
            json.dumps({"grades": [{"answered": 5 if yes else 1, "clear": 5, "natural": 5} for yes in answered]})
        )
    if "the two passages" not in text:
        return by_rule(number, body)
    codes = sorted(set(CODE.findall(text)))
    words = " ".join(re.findall(r"[a-z]{4,}", text.split("<passage-")[1])[::-2])
    return questions(f"What do {' and '.join(codes[:1] if 'K7A' in codes else codes)} share, and {words}?")


def with_negatives(number: int, body: dict) -> Reply:
    """Ask about the year of a passage, twice; of three passages about other years one tells the question's own.

    A question is answered by a passage that names its year.
    """
    text = body["messages"][0]["content"]
    if "You judge questions" in text:
        shown, asked = text.split("<question-")[0], re.findall(r"<question-(\w+)>\n(.*)\n</question-\1>", text)
        answered = [re.search(r"\d{4}", question)[0] in shown for _, question in asked]
        return Reply(
            json.dumps({"grades": [{"answered": 5 if yes else 1, "clear": 5, "natural": 4} for yes in answered]})
        )
    year = int(re.search(r"year (?:of )?(\d{4})", text)[1])
    if "do not answer it" not in text:
        return questions(f"What took place during {year}?", f"Which story does {year} have, and who wrote it?")
    others = [f"The year {year + off} had its story too, which somebody wrote down." for off in (100, 0, 200)]
    return Reply(json.dumps({"passages": others}))


def settings(server: ChatServer, calls: dict | None = None, **changes) -> OpenAIGeneration:
    limits = CallLimits(**({"timeout_seconds": 2.0, "max_retries": 3} | (calls or {})))
    return OpenAIGeneration(
        **({"kind": "openai", "model": "tiny", "base_url": server.base_url, "max_pairs": 10, "calls": limits} | changes)
    )


def two_questions(number: int, body: dict) -> Reply:
    return questions(
        f"Who wrote down the story of the year {number}?", f"When did event number {number} come to an end?"
    )


def journal_keys(folder: Path) -> list[str]:
    path = folder / JOURNAL
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["key"] for line in lines if line.endswith("\n")]
