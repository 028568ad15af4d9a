"""What was mined for a query: who found each document, its scores, and what became of it, round by round."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from conan_assets.data.training_files import judgements_of
from conan_assets.look.home import Home, find_query, paragraph
from conan_assets.mining.shown import POSITIVE, POSITIVES, Asked, Shown, read_mined

ASSET = "hard_negatives"


def look_at_round(home: Home, number: int, wanted: str | None, show: int, longest: int) -> str:
    """Return what was mined in a round for the query ``wanted``, or for a dozen that are worth reading.

    Parameters
    ----------
    show
        How many kept and how many removed documents.
    longest
        Characters of each text.

    Raises
    ------
    LookError
        There is no such round or query.
    ArtifactError
        The round is not mined yet.
    """
    home.require_round(number, first=1)
    examples = home.artifact(f"round_{number}/{ASSET}", POSITIVES).report["examples"]
    pairs = judgements_of(home.table("training_pairs"), home.table(home.settings.judged_table))
    if wanted is not None:
        mined_for = pairs.filter(pl.col("task") == "retrieval", pl.col("score") > 0)
        examples = [{"query_id": find_query(mined_for, wanted, "queries that negatives are mined for")}]
    query_ids = [example["query_id"] for example in examples]
    corpus = home.table("raw_corpus")
    rounds = {
        each: read_mined(mined, corpus, pairs, query_ids) for each, mined in home.rounds(ASSET, POSITIVES).items()
    }
    told = []
    for query_id, example in zip(query_ids, examples, strict=True):
        reading = _Reading(number, {each: asked[query_id] for each, asked in rounds.items()}, show, longest)
        told.append("\n".join(reading.lines(example)))
    return "\n\n\n".join(told)


@dataclass(frozen=True)
class _Reading:
    """One query in a round, and what became of its documents in the others."""

    number: int
    rounds: Mapping[int, Asked]
    show: int
    longest: int

    def lines(self, example: Mapping[str, str]) -> Iterator[str]:
        """Yield the query, its positives, and the first documents that were kept and removed, and the example's own."""
        asked = self.rounds[self.number]
        if "why" in example:
            yield f"{example['why']}: {example['doc_id']}"
        yield f"query {asked.query_id}"
        yield paragraph(asked.query, self.longest)
        yield f"round {self.number}, mined with round_{self.number - 1}/checkpoint: {_counted(asked.documents)}"
        yield "a score's place among these candidates is in brackets"
        for kind in (POSITIVE, "kept", "removed"):
            documents = [document for document in asked.documents if document.what.startswith(kind)]
            shown = [*documents[: self.show], *(d for d in documents[self.show :] if d.doc_id == example.get("doc_id"))]
            for document in shown:
                yield from self._document(document)
            if len(documents) > len(shown):
                yield f"\n{len(documents) - len(shown)} more: --show {len(documents)} shows all that are {kind}"
        yield from self._gone({document.doc_id for document in asked.documents})

    def _document(self, document: Shown) -> Iterator[str]:
        scores = ", ".join(f"{name} {score:.3f} ({place})" for name, (score, place) in document.scores.items())
        yield f"\n{document.what:<9} {document.doc_id}  {scores}"
        if document.why:
            yield f"  why: {document.why}"
        if document.found_by:
            yield f"  found by: {document.found_by}"
        if document.what != POSITIVE:
            yield from (f"  round {number}: {_became(document, other)}" for number, other in self._others())
        yield paragraph(document.text, self.longest)

    def _gone(self, known: set[str]) -> Iterator[str]:
        """Yield what other rounds kept and this one did not even find."""
        for number, other in self._others():
            kept = [each.doc_id for each in other.documents if each.what.startswith("kept")]
            if gone := [doc_id for doc_id in kept if doc_id not in known]:
                listed = ", ".join(gone[: self.show])
                yield f"\n{len(gone)} kept in round {number} are no candidates in round {self.number}: {listed}"

    def _others(self) -> Iterator[tuple[int, Asked]]:
        return ((number, asked) for number, asked in self.rounds.items() if number != self.number)


def _became(document: Shown, other: Asked) -> str:
    found = next((each for each in other.documents if each.doc_id == document.doc_id), None)
    return "no candidate" if found is None else f"{found.what}{found.why and f' ({found.why})'}"


def _counted(documents: Sequence[Shown]) -> str:
    counts = Counter(document.what.split()[0] for document in documents)
    reasons = Counter(document.why.partition(":")[0] for document in documents if document.what == "removed")
    by = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    candidates = counts["kept"] + counts["removed"]
    return f"{candidates} candidates, {counts['kept']} kept, {counts['removed']} removed{by and f' ({by})'}"
