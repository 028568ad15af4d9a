"""The best checkpoint as a sentence-transformers folder with its model card, and the pointer to it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.models import fingerprint_model
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.leaderboard import LeaderboardEntry
from conan_assets.evaluation.model_card import write_model_card

RELEASE_FOLDER = "model"


def write_release(
    best: LeaderboardEntry,
    checkpoint: EncoderSettings,
    base_model: EncoderSettings,
    lineage: Mapping[str, str],
    name: str,
    workdir: Path,
) -> dict[str, Any]:
    """Write ``model/`` with its card into ``workdir`` and return the report.

    The folder carries the prompts and the length limit that the checkpoint was scored with, so that
    ``SentenceTransformer(folder)`` gives the same embeddings with ``prompt_name="query"`` and ``"document"``.

    Parameters
    ----------
    best
        The chosen checkpoint with its evaluation.
    checkpoint, base_model
        The checkpoint's folder and preparation of inputs, and the model that the programme started from.
    lineage
        What made the checkpoint, shown in the card: data versions, fingerprints of negatives and settings.
    name
        Name of the released model.
    """
    from sentence_transformers import SentenceTransformer

    encoder = Encoder(checkpoint, device="cpu")
    folder = workdir / RELEASE_FOLDER
    model = SentenceTransformer(str(encoder.path), device="cpu", trust_remote_code=checkpoint.trust_remote_code)
    if checkpoint.max_tokens is not None:
        model.max_seq_length = checkpoint.max_tokens
    model.prompts = {"query": checkpoint.query_prompt, "document": checkpoint.document_prompt}
    model.save(str(folder), create_model_card=False)
    write_model_card(folder / "README.md", best, base_model, lineage, name)
    return {
        "model": name,
        "round": best.round,
        "checkpoint": best.checkpoint,
        "weights_fingerprint": fingerprint_model(str(folder)),
        "model_card": f"{RELEASE_FOLDER}/README.md",
    }


def publish(folder: Path, target: Path) -> None:
    """Make ``target`` a symbolic link to ``folder`` in one step; whoever reads it sees the old or the new release.

    Earlier releases stay where they are.

    Raises
    ------
    FileExistsError
        ``target`` is a folder or a file of its own and not a link that this function made.
    """
    if target.exists() and not target.is_symlink():
        raise FileExistsError(f"{target} is not a link to a release; move it away, then release again")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(folder.resolve(), target.parent.resolve()))
    os.replace(temporary, target)
