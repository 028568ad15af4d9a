"""``python -m conan_assets init FOLDER``: look at documents and at this machine, and write a profile that fits both.

Nothing is asked that has a good default; every choice stands in the profile with its reason. The documents are read,
no model is asked.
"""

import argparse
import os
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import polars as pl
import yaml

from conan_assets.data.document_groups import split_passages
from conan_assets.data.settings import DocumentsSource
from conan_assets.data.sources import read_source
from conan_assets.data.tables import PAIRS
from conan_assets.settings import Settings, SettingsError, load_settings
from conan_assets.synthesis.estimate import estimate_generation
from conan_assets.synthesis.settings import OpenAIGeneration

TEMPLATE = Path(__file__).parent / "profiles" / "documents.template"
SAMPLED_TEXTS = 64
CALLS_AT_A_TIME, SECONDS_A_CALL = 16, 3.0
"""What the estimate of time takes for the endpoint; a small local model may take longer."""

BACKWARD = 3
"""A step of training takes about three times its forward pass."""

MOST_PAIRS = {"openai": 20_000, "extractive": 5_000}
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


def main(arguments: list[str]) -> None:
    """Write a profile and say what it will take; SettingsError and TableError say what is wrong."""
    options = _parser().parse_args(arguments)
    name = (
        options.name
        or re.sub(r"[^A-Za-z0-9_-]+", "_", Path(options.folder.rstrip("/*")).name).strip("_-")
        or "documents"
    )
    profile = options.output or Path(f"{name}.yaml")
    if profile.exists():
        raise SettingsError(f"{profile} is there already and is not overwritten: name another with --output")
    if (options.endpoint is None) != (options.model is None):
        raise SettingsError("--endpoint and --model belong together: where questions are written, and by which model")
    source = DocumentsSource(kind="documents", path=options.folder)
    corpus, _, report = read_source(name, source)
    language = options.language or _language(corpus["text"])
    base = Base(options.base_model, 1_000) if options.base_model else BASES.get(language, MULTILINGUAL)
    if base.passage_chars != source.passage_chars:
        source = source.model_copy(update={"passage_chars": base.passage_chars})
        corpus, _, report = read_source(name, source)
    split = split_passages(name, corpus, source)
    values = _values(options, name, language, base, split)
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)
    profile.parent.mkdir(parents=True, exist_ok=True)
    with profile.open("x", encoding="utf-8") as file:
        file.write(text)
    settings = load_settings(str(profile), environment={})
    sys.stdout.write("\n".join(_told(settings, profile, name, corpus, split, report, language)) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conan_assets init", description="Write a profile for documents.")
    parser.add_argument("folder", help="a folder, a file or a glob of documents; a path or a URL that fsspec opens")
    parser.add_argument("--endpoint", help="URL of an OpenAI-compatible server: http://127.0.0.1:11434/v1")
    parser.add_argument("--model", help="name of the model there that writes questions")
    parser.add_argument("--prices", nargs=2, type=float, default=(0.0, 0.0), metavar=("PROMPT", "COMPLETION"))
    parser.add_argument("--max-pairs", type=int, help="most questions to write; by default two for each passage")
    parser.add_argument("--name", help="of the source and the programme; by default the folder's")
    parser.add_argument("--output", type=Path, help="the profile to write; by default NAME.yaml here")
    parser.add_argument("--language", help="ISO 639-1 code of the documents; by default what most of them are in")
    parser.add_argument("--base-model", help="the model to train; by default a small one for the language")
    parser.add_argument("--rounds", type=int, help="rounds of mining and training; by default 1, or 2 with a GPU")
    return parser


def _language(texts: pl.Series) -> str:
    from py3langid import classify

    sample = texts.sample(min(len(texts), 200), seed=0)
    return str(Counter(classify(text[:1_000])[0] for text in sample).most_common(1)[0][0])


def _values(options: argparse.Namespace, name: str, language: str, base: Base, split: pl.DataFrame) -> dict[str, Any]:
    """Return what the template needs: sizes by the corpus, batches and lengths by the machine."""
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
    return {
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
            f"  max_pairs: {pairs}                 # two for each passage, at most {MOST_PAIRS['openai']:,}",
            f"  prompt_language: {'zh' if language == 'zh' else 'en'}",
            f"  calls: {{concurrency: {CALLS_AT_A_TIME}}}",
            "  budget:",
            f"    price_per_million_prompt_tokens: {prompt}",
            f"    price_per_million_completion_tokens: {completion}",
            "  # A training question must find its passage among the first 20 by the base model, and one of dev and",
            "  # test be graded 4 of 5 or better, with every passage that answers it.",
            "  gates: {teacher: base, top_k: 20, min_teacher_score: 0.25, min_grade: 3}",
        ]
    )


def _yaml(value: str) -> str:
    """Return a text as a scalar of YAML, in quotes where it needs them."""
    return str(yaml.safe_dump(value, allow_unicode=True, width=10_000)).removesuffix("...\n").strip()


def _told(
    settings: Settings,
    profile: Path,
    name: str,
    corpus: pl.DataFrame,
    split: pl.DataFrame,
    report: dict[str, Any],
    language: str,
) -> list[str]:
    """Return what was found, what it will take, and the next two commands."""
    read, counts = report["documents"][0], dict(split.group_by("split").len().iter_rows())
    lines = [
        f"{read['passages']:,} passages of {read['documents']:,} documents, language {language}; to train on, dev and "
        f"test: {counts.get('train', 0):,}, {counts.get('dev', 0):,}, {counts.get('test', 0):,}",
        *(
            f"left out: {row['files']} files ({row['reason']}), the first: {row['first']}"
            for row in report["files_left_out"]
        ),
    ]
    calls = 0
    if isinstance(settings.generation, OpenAIGeneration):
        no_pairs = pl.DataFrame(schema=dict(PAIRS.columns))
        estimate = estimate_generation(
            settings.generation, corpus, no_pairs, settings.home / "journal", settings.documents
        )
        calls = estimate["calls"]
        lines.append(
            f"model calls: {calls:,}; prompt tokens about {estimate['prompt_tokens_expected']:,}, completion tokens "
            f"about {estimate['completion_tokens_expected']:,}; cost about {estimate['cost_expected']:.2f}"
            + ("" if settings.generation.budget.has_prices else " (name --prices to see it)")
        )
    else:
        lines.append(WITHOUT_MODEL)
    minutes = _minutes(settings, corpus["text"], calls)
    lines.append(
        f"time: about {minutes:.0f} minutes here" if minutes else "time: not known before the base model is here"
    )
    home = f"CONAN_HOME=$PWD/conan_home_{name}"
    return [
        *lines,
        f"wrote {profile}; next:",
        f"  make demo PROFILE={profile} {home}    # everything, up to the leaderboard",
        f"  make ui PROFILE={profile} {home}      # the graph, every pair and every figure",
    ]


def _minutes(settings: Settings, texts: pl.Series, calls: int) -> float | None:
    """Return how long a programme takes, by encoding a few of its texts; None where its base model is not here."""
    from conan_assets.encoding.encoder import Encoder
    from conan_assets.encoding.models import ModelNotFoundError

    (stage,) = settings.training
    try:
        encoder = Encoder(settings.base_model)
    except ModelNotFoundError:
        return None
    sample = texts.sample(min(SAMPLED_TEXTS, len(texts)), seed=0).to_list()
    encoder.encode(sample[:4], "document")
    started = time.monotonic()
    encoder.encode(sample, "document")
    each = (time.monotonic() - started) / len(sample)
    encoded = len(texts) * (1 + settings.rounds)
    trained = settings.rounds * (stage.max_steps or 0) * stage.retrieval_batch_size * (1 + stage.negatives_per_query)
    shorter = (stage.max_tokens or 1) / (settings.base_model.max_tokens or stage.max_tokens or 1)
    return (each * (encoded + BACKWARD * shorter * trained) + calls * SECONDS_A_CALL / CALLS_AT_A_TIME) / 60
