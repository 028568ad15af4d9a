"""The model card of a release: front matter in the Hub's format, then what a reader needs to know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from conan_assets.encoding.models import locate_model
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.choice import Choice
from conan_assets.evaluation.report import BASE_MODEL, LeaderboardEntry
from conan_assets.files import atomic_path
from conan_assets.markdown import as_code, escaped
from conan_assets.redaction import redacted

LICENCE_FIELDS = ("license", "license_name", "license_link")
LINEAGE_FILE = "training_lineage.json"

BODY = """# {name}

{made}

{outcome}

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/released_model")
queries = model.encode(["a question"], prompt_name="query")
documents = model.encode(["a passage"], prompt_name="document")
scores = model.similarity(queries, documents)
```

`serving.md` beside this card says how to serve it.

## Evaluation

{scores}

Scored with mteb {mteb_version}; {prompts}, at most {max_tokens} tokens, weights in {dtype}. Intervals are 95 %
bootstrap intervals over queries.

## Training lineage

{lineage}

`{lineage_file}` beside this card holds the same with the settings of the whole programme.

## Licence

{licence}
"""


@dataclass(frozen=True)
class Origin:
    """Where a released checkpoint comes from.

    Attributes
    ----------
    name
        Name of the released model.
    base_model
        The model that the programme started from.
    lineage
        What made the checkpoint: versions of data, fingerprints of negatives and settings, versions of software.
    settings
        The settings of the programme, plain JSON values.
    matryoshka_dims
        Lengths that its embeddings were trained to be cut to.
    """

    name: str
    base_model: EncoderSettings
    lineage: Mapping[str, str]
    settings: Mapping[str, Any]
    matryoshka_dims: Sequence[int] = ()


def write_model_card(path: Path, choice: Choice, origin: Origin) -> None:
    """Write the card of the chosen checkpoint to ``path``."""
    base_model, best = origin.base_model, choice.best
    licence = base_licence(base_model)
    base_name = public_name(base_model.model)
    data = ModelCardData(
        model_name=origin.name,
        **licence,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "feature-extraction", "sentence-similarity", "mteb"],
        base_model=None if is_local(base_model.model) else base_name,
        eval_results=_eval_results(best),
    )
    report = best.report
    body = BODY.format(
        name=escaped(origin.name),
        made=_made(choice, base_name),
        outcome=choice.outcome(),
        scores=_score_table(best),
        lineage="\n".join(f"* {what}: {value}" for what, value in origin.lineage.items()),
        lineage_file=LINEAGE_FILE,
        licence=_licence_text(base_name, licence),
        mteb_version=report.mteb_version,
        prompts=", ".join(
            f"{role} prompt {as_code(prompt)}" if prompt else f"no {role} prompt"
            for role, prompt in (("query", report.query_prompt), ("document", report.document_prompt))
        ),
        max_tokens=report.max_tokens,
        dtype=report.dtype,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(f"---\n{data.to_yaml()}\n---\n\n{body}", encoding="utf-8")


def body_of(card: Path) -> str:
    """Return a card without its front matter, which is for machines."""
    text: str = ModelCard.load(card, ignore_metadata_errors=True).text
    return text.strip()


def _made(choice: Choice, base_name: str) -> str:
    checkpoint = f"the checkpoint of {choice.best.round} (`{choice.best.report.checkpoint_fingerprint}`)"
    if choice.best.model == BASE_MODEL:
        return (
            f"The text-embedding model {as_code(base_name)} as it is, none of it trained by Conan Assets: {checkpoint}."
        )
    return f"A text-embedding model trained by Conan Assets from {as_code(base_name)}: {checkpoint}."


def is_local(place: str) -> bool:
    """Return whether the name of a model or of data is a path on this machine and none on the Hub."""
    return place.startswith(("/", ".", "~")) or Path(place).is_dir()


def public_name(place: str) -> str:
    """Return the last part of a path or of a URL, which tells nobody where it lies; a name on the Hub as it is."""
    if "://" in place:
        return Path(urlsplit(redacted(place)).path).name
    return Path(place).name if is_local(place) else place


def base_licence(base_model: EncoderSettings) -> dict[str, Any]:
    """Return the fields about the licence in the base model's own card; none if it has no card or names none."""
    card = locate_model(base_model.model, base_model.revision) / "README.md"
    if not card.is_file():
        return {}
    data = ModelCard.load(card, ignore_metadata_errors=True).data
    return {name: value for name in LICENCE_FIELDS if (value := data.get(name))}


def _eval_results(best: LeaderboardEntry) -> list[EvalResult]:
    """Return the scores in the Hub's format, in points and named as mteb's results there are."""
    data = {(task.suite, task.task): task for task in best.report.data}
    results = []
    for row in best.report.rows:
        task = data.get((row.suite, row.task))
        results.append(
            EvalResult(
                task_type=row.type,
                dataset_type=task.dataset if task else row.task,
                dataset_name=f"MTEB {row.task}",
                dataset_config=row.subset,
                dataset_split=row.split,
                dataset_revision=task.revision if task else None,
                metric_type=row.metric,
                metric_value=round(100 * row.value, 3),
            )
        )
    return results


def _score_table(best: LeaderboardEntry) -> str:
    lines = ["| suite | task | split | metric | points | interval |", "| --- | --- | --- | --- | --: | --- |"]
    for row in best.report.rows:
        interval = "" if row.low is None or row.high is None else f"{100 * row.low:.2f} to {100 * row.high:.2f}"
        place = " | ".join((row.suite, row.label, row.split, row.metric))
        lines.append(f"| {place} | {100 * row.value:.2f} | {interval} |")
    written = sorted({f"`{data.suite}` by {data.written_by}" for data in best.report.data if data.written_by})
    if written:
        lines += ["", f"Questions written by a model, not by people: {', '.join(written)}."]
    return "\n".join(lines)


def _licence_text(base_model: str, licence: Mapping[str, Any]) -> str:
    base = f"the base model {as_code(base_model)}"
    if not licence:
        return f"The card of {base} names no licence; find out before you pass this model on."
    name = escaped(str(licence.get("license_name", licence.get("license"))))
    return f"{name}, the licence of {base}. The training data may have terms of its own."
