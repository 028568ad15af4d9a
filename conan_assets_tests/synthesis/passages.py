"""A corpus to write about, what an obedient model writes, and the settings that ask for it."""

import json
from pathlib import Path

from conan_assets.llm.journal import JOURNAL
from conan_assets.llm.settings import CallLimits
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets_tests.data.frames import make_corpus, make_pairs
from conan_assets_tests.llm.server import ChatServer, Reply, questions

CORPUS = make_corpus(*(f"Passage {number} tells what happened in the year {1800 + number}." for number in range(40)))
PAIRS = make_pairs({"query": "what happened", "doc_id": "wiki:d1"})


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
