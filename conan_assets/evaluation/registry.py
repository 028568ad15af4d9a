"""Register a release in MLflow's model registry, for programmes that ask for it."""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from conan_assets.evaluation.model_card import body_of
from conan_assets.evaluation.settings import EvaluationError, ReleaseSettings
from conan_assets.progress import logger
from conan_assets.redaction import redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
TELEMETRY_VARIABLE = "MLFLOW_DISABLE_TELEMETRY"
QUIET_VARIABLE = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"
"""Without it the client prints the address of a run that is finished, with the password in it."""
RELEASE_TAG = "release"
IN_USE = "released"
"""The alias of the version that is the release: what serves names `models:/NAME@released`."""
LONGEST_DESCRIPTION = 5_000
"""Characters that the registry's database has for one."""
EMBEDDINGS = "llm/v1/embeddings"


def require_registry(settings: ReleaseSettings, environment: Mapping[str, str] = os.environ) -> None:
    """Check that a release can be registered, if it is to be.

    Raises
    ------
    EvaluationError
        A name is given, and MLflow's client is not installed or there is no address in the environment.
    """
    if settings.register_as is None:
        return
    asked = f"release.register_as is {settings.register_as!r}"
    if importlib.util.find_spec("mlflow") is None:
        raise EvaluationError(
            f"{asked}, which needs mlflow: pip install 'conan-assets[mlflow]' --constraint constraints.txt, or set it "
            "to null"
        )
    if not environment.get(TRACKING_VARIABLE, "").strip():
        raise EvaluationError(
            f"{asked} but ${TRACKING_VARIABLE} is not set: set it to the address of MLflow, such as "
            "http://127.0.0.1:5000, or set release.register_as to null"
        )


def register_release(folder: Path, name: str, scores: Mapping[str, float]) -> str:
    """Make the newest version of a registered model hold what ``folder`` holds, and return its address.

    The version carries the model card as its description, the release as a tag and the alias ``released``, its run the
    ``scores``; ``mlflow.sentence_transformers.load_model`` opens it. A release that has a version gets no other one.

    Raises
    ------
    EvaluationError
        MLflow does not answer, or refuses.
    """
    os.environ.setdefault(TELEMETRY_VARIABLE, "true")
    os.environ[QUIET_VARIABLE] = "true"
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient()
        version = _version_of(client, folder.name, name) or _add_version(client, folder, name, scores)
        client.set_registered_model_alias(name, IN_USE, version)
    except (MlflowException, OSError) as error:
        raise EvaluationError(
            f"MLflow at {redacted(os.environ[TRACKING_VARIABLE])} does not register {folder.name} as {name!r}: "
            f"{redacted(str(error))}"
        ) from None
    logger.info("registered %s as version %s of %s", folder.name, version, name)
    return f"models:/{name}/{version}"


def _version_of(client: "MlflowClient", release: str, name: str) -> str | None:
    found = client.search_model_versions(f"name = '{name}'")
    return next((str(version.version) for version in found if version.tags.get(RELEASE_TAG) == release), None)


def _add_version(client: "MlflowClient", folder: Path, name: str, scores: Mapping[str, float]) -> str:
    tags = {RELEASE_TAG: folder.name}
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    experiment = client.get_experiment_by_name(name)
    run = client.create_run(experiment.experiment_id if experiment else client.create_experiment(name), tags=tags)
    for metric, value in scores.items():
        client.log_metric(run.info.run_id, metric, value)
    with tempfile.TemporaryDirectory() as place:
        _write_model(folder, Path(place, "model"))
        client.log_artifacts(run.info.run_id, place)
    client.set_terminated(run.info.run_id)
    card = body_of(folder / "README.md")[:LONGEST_DESCRIPTION]
    source = f"{run.info.artifact_uri}/model"
    return str(client.create_model_version(name, source, run.info.run_id, tags, description=card).version)


def _write_model(release: Path, folder: Path) -> None:
    """Write MLflow's description of a model, with the release's own files in the place of those that MLflow saves."""
    import mlflow.sentence_transformers as flavour
    import sentence_transformers

    model = sentence_transformers.SentenceTransformer(str(release), device="cpu")
    needed = [f"sentence-transformers=={sentence_transformers.__version__}"]
    flavour.save_model(model, str(folder), task=EMBEDDINGS, pip_requirements=needed)
    data = folder / flavour.SENTENCE_TRANSFORMERS_DATA_PATH
    shutil.rmtree(data)
    shutil.copytree(release, data)
