"""The best checkpoint as a sentence-transformers folder with its model card, and the pointer to it."""

import json
from collections.abc import Mapping
from pathlib import Path

from conan_assets.cleaning import LAST_PUBLISHED
from conan_assets.encoding.models import fingerprint_model
from conan_assets.encoding.prompts import prompts_of
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.choice import Choice
from conan_assets.evaluation.model_card import LINEAGE_FILE, Origin, public_name, write_model_card
from conan_assets.evaluation.report import ReleaseReport
from conan_assets.evaluation.serving import SERVING_FILE, make_readable, write_serving_files
from conan_assets.files import atomic_path, point

RELEASE_FOLDER = "model"
PLACES = ("path", "folder", "data_files", "model", "base_url")
"""Settings that say where data, a model or an endpoint is: by a path, by a URL, or by a name on the Hub."""


def write_release(choice: Choice, checkpoint: EncoderSettings, origin: Origin, workdir: Path) -> ReleaseReport:
    """Write ``model/`` with its card and lineage into ``workdir`` and return the report.

    The folder carries the prompts, the length limit and the unit length that the checkpoint was scored with, so that
    ``SentenceTransformer(folder)`` gives the same embeddings with ``prompt_name="query"`` and ``"document"``. Without a
    name it takes the document prompt, as texts that are neither were scored.

    Parameters
    ----------
    choice
        The chosen checkpoint with its evaluation, and what it gained.
    checkpoint
        The checkpoint's folder and preparation of inputs.
    origin
        What made it, shown in the card.
    """
    from sentence_transformers.models import Normalize

    from conan_assets.encoding.loading import load_model

    folder = workdir / RELEASE_FOLDER
    model = load_model(checkpoint)
    if not isinstance(model[-1], Normalize):
        model.append(Normalize())
    prompts = prompts_of(checkpoint)
    model.prompts = prompts._asdict()
    model.default_prompt_name = "document" if prompts.document else None
    model.save(str(folder), create_model_card=False)
    refused = write_serving_files(folder, model, origin.name, origin.matryoshka_dims)
    write_model_card(folder / "README.md", choice, origin)
    with atomic_path(folder / LINEAGE_FILE) as path:
        made_from = {"lineage": dict(origin.lineage), "settings": _without_folders(origin.settings)}
        path.write_text(json.dumps(made_from, indent=1, ensure_ascii=False), encoding="utf-8")
    make_readable(folder)
    return ReleaseReport(
        model=origin.name,
        round=choice.best.round,
        checkpoint=choice.best.report.checkpoint_fingerprint,
        weights_fingerprint=fingerprint_model(str(folder)),
        model_card=f"{RELEASE_FOLDER}/README.md",
        serving=f"{RELEASE_FOLDER}/{SERVING_FILE}",
        refused_for_servers=refused or None,
        evaluated_on=choice.best.report.data,
    )


def _without_folders(value: object, name: str = "") -> object:
    """Return settings with the last part of every path and URL alone: a release tells nobody where things lie."""
    if isinstance(value, Mapping):
        return {key: _without_folders(item, key) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(item) for item in value]
    return public_name(value) if name in PLACES and isinstance(value, str) else value


def publish(folder: Path, target: Path) -> Path:
    """Make ``target`` a symbolic link to ``folder`` in one step; whoever reads it sees the old or the new release.

    Earlier releases stay where they are. If someone pointed ``target`` to one of them after ``folder`` was published,
    the link stays as it is: ``folder`` was withdrawn. Returns the folder that ``target`` links to.

    Raises
    ------
    FileExistsError
        ``target`` is a folder or a file of its own and not a link that this function made.
    """
    if target.exists() and not target.is_symlink():
        raise FileExistsError(f"{target} is not a link to a release; move it away, then release again")
    last = folder.parent / LAST_PUBLISHED
    is_withdrawn = target.exists() and target.resolve() != folder.resolve()
    if is_withdrawn and last.exists() and last.read_text(encoding="utf-8") == folder.name:
        return target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    point(target, folder)
    with atomic_path(last) as path:
        path.write_text(folder.name, encoding="utf-8")
    return folder
