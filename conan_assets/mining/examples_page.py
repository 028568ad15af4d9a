"""Mined candidates worth reading, as the page of a round."""

from collections.abc import Iterator, Mapping, Sequence

from conan_assets.markdown import as_table, escaped, shortened
from conan_assets.mining.shown import POSITIVE, Asked, Shown

SHOWN_OF_A_KIND = 3
LONGEST_TEXT = 240


def examples_page(examples: Sequence[Mapping[str, str]], asked: Mapping[str, Asked]) -> str:
    """Return the examples as Markdown: each query with its positives and the first of what was kept and removed."""
    return "\n\n".join(
        f"### {number}. {example['why']}\n\n{_example(asked[example['query_id']], example['doc_id'])}"
        for number, example in enumerate(examples, start=1)
    )


def _example(query: Asked, doc_id: str) -> str:
    head = ("", "document", "score (place)", "why")
    lines = [
        (
            f"➤ {document.what}" if document.doc_id == doc_id else document.what,
            shortened(document.text, LONGEST_TEXT),
            ", ".join(f"{name} {score:.3f} ({place})" for name, (score, place) in document.scores.items()),
            " — ".join(part for part in (document.why, document.found_by and f"found by {document.found_by}") if part),
        )
        for document in _first(query.documents, doc_id)
    ]
    asked = f"**{escaped(shortened(query.query, LONGEST_TEXT))}** ({escaped(query.query_id)})"
    return f"{asked}\n\n{as_table(head, lines)}"


def _first(documents: Sequence[Shown], doc_id: str) -> Iterator[Shown]:
    """Yield the first of the positives, the kept and the removed ones, and the one that the example is about."""
    counts = dict.fromkeys((POSITIVE, "kept", "removed"), 0)
    for document in documents:
        kind = document.what.split()[0]
        counts[kind] += 1
        if counts[kind] <= SHOWN_OF_A_KIND or document.doc_id == doc_id:
            yield document
