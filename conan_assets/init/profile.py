"""The profile that is written for documents: which model, how many questions, how large and how long the training."""

import argparse
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from string import Template

import polars as pl
import yaml

TEMPLATE = Path(__file__).parents[1] / "profiles" / "documents.template"
MOST_PAIRS = {"openai": 20_000, "extractive": 5_000}
MOST_EXAMPLES = 10
CALLS_AT_A_TIME = 16
WITHOUT_MODEL = "No model writes questions: sentences of the passages stand for them. Its scores mean nothing."


@dataclass(frozen=True)
class Base:
    """A model to start from: its name, what it puts before queries and documents, the passage that it reads whole."""

    model: str
    passage_chars: int
    query_prompt: str = ""
    document_prompt: str = ""


BASES = {
    "en": Base("sentence-transformers/all-MiniLM-L6-v2", 1_000),
    "zh": Base("BAAI/bge-small-zh-v1.5", 350, "为这个句子生成表示以用于检索相关文章："),
}
MULTILINGUAL = Base("intfloat/multilingual-e5-small", 1_000, "query: ", "passage: ")


def main_language(texts: pl.Series) -> str:
    """Return the ISO 639-1 code of the language that most of a sample is in."""
    from py3langid import classify

    sample = texts.sample(min(len(texts), 200), seed=0)
    return str(Counter(classify(text[:1_000])[0] for text in sample).most_common(1)[0][0])


def fill_template(options: argparse.Namespace, name: str, language: str, base: Base, split: pl.DataFrame) -> str:
    """Return the profile: sizes by the corpus, batches and lengths by the machine.

    Parameters
    ----------
    options
        The flags of the command.
    base
        The model to start from.
    split
        The passages with their ``split``.
    """
    import torch

    gpu = torch.cuda.is_available()
    kind = "openai" if options.endpoint else "extractive"
    trained = split.filter(split="train").height
    pairs = options.max_pairs or min(
        split.drop_nulls("split").height * (2 if options.endpoint else 1), MOST_PAIRS[kind]
    )
    questions = max(1, pairs * trained // max(split.drop_nulls("split").height, 1))
    batch = (64 if gpu else 16) if questions >= 64 else 8
    prompts = [("query_prompt", base.query_prompt), ("document_prompt", base.document_prompt)]
    values = {
        "name": _yaml(name),
        "path": _yaml(options.folder),
        "language": _yaml(language),
        "passage_chars": base.passage_chars,
        "model": _yaml(base.model),
        "prompts": "".join(f", {key}: {_yaml(value)}" for key, value in prompts if value),
        "tokens": "null" if options.base_model else 256,
        "trained_tokens": "null" if options.base_model else 256 if gpu else 128,
        "generation": _generation(options, pairs, language),
        "batch": batch,
        "epochs": 3 if questions < 5_000 else 1,
        "steps": min(-(-questions * (3 if questions < 5_000 else 1) // batch), 3_000 if gpu else 150),
        "questions": f"{questions:,}",
        "machine": f"a GPU, {torch.cuda.get_device_name()}" if gpu else f"{os.cpu_count()} CPU cores",
        "rounds": options.rounds or (2 if gpu else 1),
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def _generation(options: argparse.Namespace, pairs: int, language: str) -> str:
    if not options.endpoint:
        with_one = "{kind: openai, base_url: ..., model: ...}"
        extractive = f"generation: {{kind: extractive, max_pairs: {pairs}}}"
        return f"# {WITHOUT_MODEL}\n# With a model: {with_one}; docs/pairs.md\n{extractive}"
    prompt, completion = options.prices
    return "\n".join(
        [
            "generation:",
            "  kind: openai",
            f"  base_url: {_yaml(options.endpoint)}",
            f"  model: {_yaml(options.model)}",
            f"  max_pairs: {pairs}          # two for each passage, at most {MOST_PAIRS['openai']:,}",
            f"  prompt_language: {'zh' if language == 'zh' else 'en'}",
            f"  calls: {{concurrency: {CALLS_AT_A_TIME}}}",
            "  budget:",
            f"    price_per_million_prompt_tokens: {prompt}",
            f"    price_per_million_completion_tokens: {completion}",
            *_examples(options.examples),
            "  # A training question must find its passage among the first 20 by the base model, and one of dev and",
            "  # test be graded 4 of 5 or better, with every passage that answers it.",
            "  gates: {teacher: base, top_k: 20, min_teacher_score: 0.25, min_grade: 3}",
        ]
    )


def _examples(file: Path | None) -> list[str]:
    """Return the setting of the first real queries of a file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file else []
    queries = [line.strip() for line in lines if line.strip()][:MOST_EXAMPLES]
    return ["  examples:", *(f"    - {_yaml(query)}" for query in queries)] if queries else []


def _yaml(value: str) -> str:
    """Return a text as a scalar of YAML, in quotes where it needs them."""
    return str(yaml.safe_dump(value, allow_unicode=True, width=10_000)).removesuffix("...\n").strip()
