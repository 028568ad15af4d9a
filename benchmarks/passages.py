"""``python -m benchmarks.passages FOLDER``: how fast splitters cut documents, and what they cut through.

FOLDER holds Markdown or HTML. chonkie is no dependency: ``pip install chonkie`` first. Chinese texts come with the
package. A cut counts as inside a sentence where neither a sentence nor a block ends there.
"""

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from markdown_it import MarkdownIt

from conan_assets.data.document_text import READABLE, markdown_of
from conan_assets.data.files import SAMPLES

CHARS = {"english": 1_000, "chinese": 350}
SENTENCE_ENDS = re.compile(r"[.!?:;。！？；：…][\"'”’)）\]」』*_`]*$")
BLOCKS = {"fence": "code", "code_block": "code", "table_open": "tables"}
PARSER = MarkdownIt().enable("table")

Split = Callable[[str], list[tuple[int, str]]]


def splitters(chars: int) -> Iterator[tuple[str, Split]]:
    """Yield each splitter's name and what returns (offset, passage) of a text."""
    from chonkie import RecursiveChunker, SentenceChunker
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    ends = [". ", "! ", "? ", "\n", "。", "！", "？"]
    yield "semantic-text-splitter MarkdownSplitter", MarkdownSplitter(chars).chunk_indices
    yield "semantic-text-splitter TextSplitter", TextSplitter(chars).chunk_indices
    for chunker in (RecursiveChunker(chunk_size=chars), SentenceChunker(chunk_size=chars, delim=ends)):
        yield (
            f"chonkie {type(chunker).__name__}",
            lambda text, chunker=chunker: [(chunk.start_index, chunk.text) for chunk in chunker(text)],
        )


def protected(text: str) -> list[tuple[int, int, str]]:
    """Return (start, end, what) of the code blocks and tables of a text."""
    starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]
    tokens = [token for token in PARSER.parse(text) if token.type in BLOCKS and token.map]
    return [
        (starts[token.map[0]], starts[min(token.map[1], len(starts) - 1)], BLOCKS[token.type])
        for token in tokens
        if token.map
    ]


def cut_through(text: str, end: int, blocks: list[tuple[int, int, str]]) -> str | None:
    """Return what a cut at ``end`` goes through, None if nothing."""
    left = text[:end].rstrip()
    for first, last, what in blocks:
        if first < len(left) < len(text[:last].rstrip()):
            return what
    ends_block = "\n\n" in text[len(left) : end + 2] or re.match(r"\s*\n\s*([#*+>|-]|\d+\.)", text[len(left) :])
    return None if ends_block or SENTENCE_ENDS.search(left[-8:]) else "sentences"


def measure(texts: list[str], chars: int) -> Iterator[dict[str, object]]:
    """Yield what each splitter does to the texts."""
    blocks = [protected(text) for text in texts]
    for name, split in splitters(chars):
        started = time.perf_counter()
        passages = [split(text) for text in texts]
        seconds = time.perf_counter() - started
        cuts = [
            cut_through(text, offset + len(passage), spans)
            for text, found, spans in zip(texts, passages, blocks, strict=True)
            for offset, passage in found[:-1]
        ]
        longest = max(len(passage) for found in passages for _, passage in found)
        through = {what: round(100 * cuts.count(what) / len(cuts), 2) for what in ("sentences", "code", "tables")}
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        yield {
            "splitter": name,
            "megabytes_per_second": round(megabytes / seconds, 2),
            "passages": len(cuts) + len(texts),
            "mean_chars": round(sum(len(p) for found in passages for _, p in found) / (len(cuts) + len(texts))),
            "longest": longest,
            "percent_of_cuts_through": through,
        }


def main() -> None:
    """Print a line for each splitter and language, then all of it as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.passages", description=__doc__)
    parser.add_argument("folder", type=Path)
    files = [path for path in sorted(parser.parse_args().folder.rglob("*")) if path.suffix in READABLE]
    english = [markdown_of(path.suffix, path.read_text(encoding="utf-8", errors="replace")).text for path in files]
    lines = (SAMPLES / "zh" / "retrieval" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    chinese = "".join(json.loads(line)["text"] for line in lines)
    results = []
    for language, texts in (("english", english), ("chinese", [chinese] * 20)):
        for row in measure([text for text in texts if text.strip()], CHARS[language]):
            results.append({"language": language, **row})
            print(results[-1])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
