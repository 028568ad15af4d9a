"""Push a release to the Hugging Face Hub, for programmes that ask for it."""

import os
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import HfApi

from conan_assets.evaluation.settings import EvaluationError, ReleaseSettings
from conan_assets.progress import logger

TOKEN_VARIABLE = "HF_TOKEN"


def hub_token(settings: ReleaseSettings, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the token to push with, None where nothing is pushed.

    Raises
    ------
    EvaluationError
        A repository is named and there is no token in the environment; none is read from anywhere else.
    """
    if settings.push_to is None:
        return None
    token = environment.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise EvaluationError(
            f"release.push_to is {settings.push_to!r} but ${TOKEN_VARIABLE} is not set: set it to a token that may "
            "write there, or set release.push_to to null"
        )
    return token


def push_release(folder: Path, settings: ReleaseSettings, token: str, message: str) -> str:
    """Make the repository hold what ``folder`` holds, in one commit, and return the address of the commit.

    The repository is created if need be. A folder that is there already makes no new commit.

    Raises
    ------
    huggingface_hub.errors.HfHubHTTPError
        The Hub refuses: the token may not write there, or the name is not valid.
    """
    hub = HfApi(token=token)
    repository = str(settings.push_to)
    hub.create_repo(repository, private=settings.private, exist_ok=True)
    commit = hub.upload_folder(
        repo_id=repository, folder_path=folder, commit_message=message, delete_patterns=["*"], ignore_patterns=[".*"]
    )
    logger.info("pushed %s to %s", folder.name, commit.commit_url)
    return str(commit.commit_url)
