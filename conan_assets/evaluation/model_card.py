"""The model card of a release: front matter in the Hub's format, then what a reader needs to know."""

from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from conan_assets.artifacts import atomic_path
from conan_assets.encoding.models import locate_model
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.leaderboard import LeaderboardEntry

UNKNOWN_LICENCE = "unknown"

BODY = """# {name}

A text-embedding model trained by Conan Assets from `{base_model}`; the checkpoint of {round} (`{checkpoint}`), the best
one of its programme by the development metric.

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/released_model")
queries = model.encode(["a question"], prompt_name="query", normalize_embeddings=True)
documents = model.encode(["a passage"], prompt_name="document", normalize_embeddings=True)
scores = model.similarity(queries, documents)
```

## Evaluation

{scores}

Scored with mteb {mteb_version}; query prompt `{query_prompt}`, document prompt `{document_prompt}`, at most
{max_tokens} tokens, weights in {dtype}. Intervals are 95 % bootstrap intervals over queries.

## Training lineage

{lineage}

## Licence

{licence}
"""


def write_model_card(
    path: Path, best: LeaderboardEntry, base_model: EncoderSettings, lineage: Mapping[str, str], name: str
) -> None:
    """Write the card of ``best`` to ``path``."""
    licence = base_licence(base_model)
    data = ModelCardData(
        model_name=name,
        license=None if licence == UNKNOWN_LICENCE else licence,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "feature-extraction", "sentence-similarity", "mteb"],
        base_model=None if Path(base_model.model).is_dir() else base_model.model,
        eval_results=_eval_results(best),
    )
    report = best.report
    body = BODY.format(
        name=name,
        base_model=base_model.model,
        round=best.round,
        checkpoint=best.checkpoint,
        scores=_score_table(best),
        lineage="\n".join(f"* {what}: {value}" for what, value in lineage.items()) or "Not recorded.",
        licence=_licence_text(base_model, licence),
        **{key: report[key] for key in ("mteb_version", "query_prompt", "document_prompt", "max_tokens", "dtype")},
    )
    with atomic_path(path) as temporary:
        temporary.write_text(f"---\n{data.to_yaml()}\n---\n\n{body}", encoding="utf-8")


def base_licence(base_model: EncoderSettings) -> str:
    """Return the licence in the base model's own card, or ``"unknown"`` if it has no card or names none."""
    card = locate_model(base_model.model, base_model.revision) / "README.md"
    if not card.is_file():
        return UNKNOWN_LICENCE
    return ModelCard.load(card, ignore_metadata_errors=True).data.get("license") or UNKNOWN_LICENCE


def _eval_results(best: LeaderboardEntry) -> list[EvalResult]:
    """Return the scores in the Hub's format; values in points, as mteb's leaderboard has them."""
    revisions = {(data["suite"], data["task"]): data["revision"] for data in best.report["data"]}
    return [
        EvalResult(
            task_type=row["type"],
            dataset_type=row["task"],
            dataset_name=f"{row['task']} ({row['suite']})",
            dataset_config=row["subset"],
            dataset_split=row["split"],
            dataset_revision=revisions.get((row["suite"], row["task"])),
            metric_type=row["metric"],
            metric_value=round(100 * row["value"], 3),
        )
        for row in best.report["rows"]
    ]


def _score_table(best: LeaderboardEntry) -> str:
    lines = ["| suite | task | split | metric | points | interval |", "| --- | --- | --- | --- | --: | --- |"]
    for row in best.report["rows"]:
        interval = "" if row["low"] is None else f"{100 * row['low']:.2f} to {100 * row['high']:.2f}"
        place = " | ".join(row[column] for column in ("suite", "task", "split", "metric"))
        lines.append(f"| {place} | {100 * row['value']:.2f} | {interval} |")
    return "\n".join(lines)


def _licence_text(base_model: EncoderSettings, licence: str) -> str:
    if licence == UNKNOWN_LICENCE:
        return (
            f"The card of the base model `{base_model.model}` names no licence; find out before you pass this model on."
        )
    return (
        f"{licence}, the licence of the base model `{base_model.model}`. The training data may have terms of its own."
    )
