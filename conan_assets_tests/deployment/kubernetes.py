"""What deploy/kubernetes/ says, and what KubeRay's operator and Dagster's chart make of it."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import construct_dagster_k8s_job
from kubernetes.client import ApiClient

from conan_assets_tests.deployment.compose import DEPLOY

FOLDER = DEPLOY / "kubernetes"
SETTINGS, CLAIM = yaml.safe_load_all((FOLDER / "settings.yaml").read_text())
CLUSTER, POLICY = yaml.safe_load_all((FOLDER / "raycluster.yaml").read_text())
VALUES = yaml.safe_load((FOLDER / "dagster-values.yaml").read_text())
LAUNCHER = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
(CODE,) = VALUES["dagster-user-deployments"]["deployments"]
HEAD = CLUSTER["spec"]["headGroupSpec"]
WORKERS = {group["groupName"]: group for group in CLUSTER["spec"]["workerGroupSpecs"]}

NOWHERE = """
clusters: [{name: none, cluster: {server: "http://127.0.0.1:9"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
users: [{name: none, user: {}}]
current-context: none
"""
"""A kubeconfig of a cluster that is not there."""


def container_of(group: dict[str, Any]) -> dict[str, Any]:
    """Return the one container of a group of Ray's nodes."""
    (container,) = group["template"]["spec"]["containers"]
    return container


def ray_start(group: dict[str, Any], **parameters: str) -> list[str]:
    """Return the command that KubeRay (v1) makes of a group's ``rayStartParams``, and of parameters beside them."""
    default = {"metrics-export-port": "8080", "dashboard-agent-listen-port": "52365", "block": "true"}
    if group is HEAD:
        default["dashboard-host"] = "0.0.0.0"
    given = {**default, "num-cpus": container_of(group)["resources"]["limits"]["cpu"], **group["rayStartParams"]}
    given |= {name.replace("_", "-"): value for name, value in parameters.items()}
    flags = [f"--{name}" if value == "true" else f"--{name}={value}" for name, value in sorted(given.items())]
    return ["ray", "start", *(["--head"] if group is HEAD else []), *flags]


def launcher_config(kubeconfig: Path) -> dict[str, Any]:
    """Return the ``run_launcher`` that the chart writes into the instance, but for where the cluster is."""
    names = {kind: [entry["name"] for entry in LAUNCHER[kind]] for kind in ("envConfigMaps", "envSecrets")}
    taken = {name: LAUNCHER[name] for name in set(LAUNCHER) - {*names, "runK8sConfig"}}
    chart = {
        "dagster_home": VALUES["global"]["dagsterHome"],
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "service_account_name": "dagster",
        "run_k8s_config": {_snake(name): value for name, value in LAUNCHER["runK8sConfig"].items()},
    }
    kubeconfig.write_text(NOWHERE)
    place = {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    return {**{_snake(name): value for name, value in {**taken, **names}.items()}, **chart, **place}


def job_of_a_run(folder: Path, args: list[str]) -> dict[str, Any]:
    """Return the Job that Dagster's launcher sends for a run that is executed by ``args``."""
    launcher = K8sRunLauncher(**launcher_config(folder / "kubeconfig"))
    context = launcher.get_container_context_for_run(dg.DagsterRun(job_name="train_job"))
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config(job_image=image_of(CODE["image"]), run_launcher=launcher),
        args,
        "dagster-run-1",
        user_defined_k8s_config=context.run_k8s_config,
    )
    return ApiClient().sanitize_for_serialization(job)


def image_of(values: dict[str, str]) -> str:
    """Return an image's name as the chart writes it."""
    return f"{values['repository']}:{values['tag']}"


def _snake(name: str) -> str:
    return re.sub("(?=[A-Z])", "_", name.replace("K8s", "_k8s_")).strip("_").replace("__", "_").lower()
