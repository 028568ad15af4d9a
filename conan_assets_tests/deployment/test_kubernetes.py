"""The files of deploy/kubernetes/, validated without a cluster: known fields, and what they must agree on."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from click import Command
from dagster._config import process_config, resolve_to_config_type
from dagster_k8s import K8sRunLauncher
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict
from kubernetes import client
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.scripts.scripts import start

from conan_assets.bucket.address import CACHE, is_bucket, local_folder
from conan_assets.compute.ray_connection import ADDRESS
from conan_assets.settings import load_settings
from conan_assets_tests.deployment.compose import DEPLOY
from conan_assets_tests.deployment.kubernetes import (
    CLAIM,
    CLUSTER,
    CODE,
    HEAD,
    LAUNCHER,
    POLICY,
    SETTINGS,
    VALUES,
    WORKERS,
    container_of,
    image_of,
    job_of_a_run,
    launcher_config,
)
from conan_assets_tests.processes import ROOT

GROUPS = {"head": HEAD, **WORKERS}
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
BAKED = dict(re.findall(r"(\w+)=(/\S+)", DOCKERFILE))
PAGE = (ROOT / "docs" / "deployment.md").read_text()
OF_A_CLUSTER = {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
OF_A_GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
"""Fields of KubeRay's RayCluster (ray.io/v1, custom resource definition of KubeRay 1.x) that the manifest uses."""


@pytest.fixture
def pod(tmp_path: Path) -> dict:
    """The pod of a run."""
    return job_of_a_run(tmp_path, ["dagster", "api", "execute_run", "{}"])["spec"]["template"]


def known(model: type, manifest: dict) -> None:
    """Raise an error unless every field, at every depth, is one that Kubernetes knows, with a value of its type."""
    k8s_model_from_dict(model, k8s_snake_case_dict(model, manifest))


@pytest.mark.parametrize(
    ("model", "manifest"),
    [
        pytest.param(client.V1ConfigMap, SETTINGS, id="settings"),
        pytest.param(client.V1PersistentVolumeClaim, CLAIM, id="claim"),
        pytest.param(client.V1NetworkPolicy, POLICY, id="policy"),
        *(pytest.param(client.V1PodTemplateSpec, group["template"], id=name) for name, group in GROUPS.items()),
    ],
)
def test_every_field_of_the_manifests_is_one_that_kubernetes_knows(model: type, manifest: dict):
    known(model, manifest)
    with pytest.raises(Exception, match="Unexpected keys"):
        known(model, {**manifest, "spek": {}})


def test_the_cluster_has_fields_of_kuberay_and_starts_ray_with_options_that_it_has():
    assert (CLUSTER["apiVersion"], CLUSTER["kind"]) == ("ray.io/v1", "RayCluster")
    assert set(CLUSTER["spec"]) == OF_A_CLUSTER
    assert isinstance(start, Command)
    options = {option.removeprefix("--") for parameter in start.params for option in parameter.opts}
    for group in GROUPS.values():
        assert set(group) <= OF_A_GROUP
        assert set(group["rayStartParams"]) <= options
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_ray_reads_from_the_cluster_a_head_that_computes_nothing_and_workers_of_both_kinds():
    groups = _derive_autoscaling_config_from_ray_cr({**CLUSTER, "metadata": {"name": "conan", "namespace": "a"}})
    resources = {name: group["resources"] for name, group in groups["available_node_types"].items()}
    assert resources["headgroup"]["CPU"] == 0
    assert (resources["cpu"]["CPU"], resources["cpu"].get("GPU", 0)) == (4, 0)
    assert (resources["gpu"]["CPU"], resources["gpu"]["GPU"]) == (8, 1)
    assert [group["replicas"] for group in WORKERS.values()] == [2, 0], "one GPU would leave out the nodes without"


def test_the_versions_of_ray_are_the_same_everywhere():
    assert f"ray=={CLUSTER['spec']['rayVersion']}" in (ROOT / "constraints.txt").read_text().splitlines()


def test_all_pods_run_the_one_image_that_has_what_they_need():
    images = {image_of(part["image"]) for part in (CODE, VALUES["dagsterWebserver"], VALUES["dagsterDaemon"])}
    assert images == {container_of(group)["image"] for group in GROUPS.values()}
    assert next(iter(images)) in PAGE
    extras = set(re.search(r"'\.\[(.+)\]'", DOCKERFILE)[1].split(","))
    assert extras >= {"bucket", "kubernetes", "postgres", "ray"}
    assert extras <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def test_the_settings_are_those_that_the_code_reads(tmp_path: Path):
    environment = SETTINGS["data"]
    source = " ".join(path.read_text() for path in (ROOT / "conan_assets").rglob("*.py"))
    documented = (ROOT / "docs" / "ray.md").read_text()
    assert all(name in source or name in documented for name in environment)
    profile = yaml.safe_load((ROOT / "conan_assets" / "profiles" / "demo.yaml").read_text())
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump({**profile, "compute": {"kind": "ray"}}))
    settings = load_settings(environment={**environment, "CONAN_PROFILE": str(tmp_path / "profile.yaml")})
    assert is_bucket(settings.home)
    assert settings.compute.address is None, "the address is the environment's"


def test_the_profile_is_where_the_settings_say():
    (key,) = re.findall(r"create configmap conan-profile --from-file=([\w.]+)", PAGE)
    for part in (CODE, LAUNCHER):
        volumes = {volume["name"]: volume for volume in part["volumes"]}
        (mount,) = [m for m in part["volumeMounts"] if volumes[m["name"]].get("configMap") == {"name": "conan-profile"}]
        assert SETTINGS["data"]["CONAN_PROFILE"] == f"{mount['mountPath']}/{key}"


def test_runs_and_nodes_see_the_working_copy_and_the_models_under_one_path(pod: dict):
    folders = [local_folder(SETTINGS["data"]["CONAN_HOME"], BAKED), Path(BAKED["HF_HOME"])]
    assert folders[0].is_relative_to(BAKED[CACHE])
    for spec in (pod["spec"], *(group["template"]["spec"] for group in GROUPS.values())):
        (claimed,) = [volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
        assert claimed["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
        (container,) = spec["containers"]
        (path,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == claimed["name"]]
        assert all(folder.is_relative_to(path) for folder in folders)
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]


def test_runs_are_sent_to_the_heads_service_and_port():
    host, _, port = SETTINGS["data"][ADDRESS].partition(":")
    assert host == f"{CLUSTER['metadata']['name']}-head-svc", "the name that KubeRay gives it"
    assert container_of(HEAD)["ports"] == [{"name": "gcs-server", "containerPort": int(port)}]


def test_every_node_and_every_run_has_the_clusters_token_and_the_code_server_has_it_not(pod: dict):
    for group in GROUPS.values():
        taken = {entry["name"]: entry["valueFrom"] for entry in container_of(group)["env"]}
        assert taken["RAY_AUTH_TOKEN"]["secretKeyRef"] == {"name": "conan-ray", "key": "RAY_AUTH_TOKEN"}
        assert taken["RAY_AUTH_MODE"]["configMapKeyRef"] == {"name": "conan-settings", "key": "RAY_AUTH_MODE"}
    assert SETTINGS["data"]["RAY_AUTH_MODE"] == "token"
    (container,) = pod["spec"]["containers"]
    assert {"secretRef": {"name": "conan-ray"}} in container["envFrom"]
    assert CODE["includeConfigInLaunchedRuns"] == {"enabled": False}
    assert {"name": "conan-ray"} not in CODE["envSecrets"]


def test_what_the_pods_refer_to_is_in_the_settings_or_made_by_the_documented_commands(pod: dict):
    text = str([pod, CLUSTER, CODE, VALUES["postgresql"], VALUES["global"]])
    referred = set(re.findall(r"conan-(?:ray|secrets|postgres|profile|settings|work)\b", text))
    here = {SETTINGS["metadata"]["name"], CLAIM["metadata"]["name"]}
    made = set(re.findall(r"kubectl create (?:secret generic|configmap) (\S+)", PAGE))
    labels = {POLICY["metadata"]["name"]}
    assert referred | labels == here | made
    for key in re.findall(r"--from-literal=(\S+?)=", PAGE):
        assert key in text or key == "RAY_AUTH_TOKEN"


def test_only_nodes_of_the_cluster_reach_its_ports_and_there_is_no_dashboard(pod: dict):
    selected = POLICY["spec"]["podSelector"]["matchLabels"]
    assert POLICY["spec"]["ingress"] == [{"from": [{"podSelector": {"matchLabels": selected}}]}]
    for template in (pod, *(group["template"] for group in GROUPS.values())):
        assert selected.items() <= template["metadata"]["labels"].items()
    assert HEAD["rayStartParams"]["include-dashboard"] == "false"
    assert VALUES["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    assert "ingress" not in VALUES


def test_kuberay_adds_no_probe_that_asks_the_dashboard():
    for group in GROUPS.values():
        container = container_of(group)
        ports = {port["name"] for port in container["ports"]}
        for probe in ("readinessProbe", "livenessProbe"):
            assert container[probe]["tcpSocket"]["port"] in ports
    for group in WORKERS.values():
        (port,) = container_of(group)["ports"]
        assert group["rayStartParams"]["node-manager-port"] == str(port["containerPort"])


def test_every_pod_runs_as_the_images_user_without_capabilities(pod: dict):
    (uid,) = re.findall(r"^USER (\d+):\1$", DOCKERFILE, flags=re.MULTILINE)
    specs = [pod["spec"], *(group["template"]["spec"] for group in GROUPS.values())]
    for spec in specs:
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == int(uid)
        assert spec["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for part in (CODE, VALUES["dagsterWebserver"], VALUES["dagsterDaemon"]):
        assert part["podSecurityContext"] == specs[1]["securityContext"]
        known(client.V1SecurityContext, part["securityContext"])


def test_the_launcher_takes_the_configuration_that_the_chart_makes(tmp_path: Path):
    config = process_config(
        resolve_to_config_type(K8sRunLauncher.config_type()), launcher_config(tmp_path / "kubeconfig")
    )
    assert config.success, config.errors


def test_the_job_of_a_run_joins_the_cluster_before_it_runs(pod: dict):
    (container,) = pod["spec"]["containers"]
    assert container["image"] == image_of(CODE["image"])
    assert container["args"] == ["dagster", "api", "execute_run", "{}"]
    assert container["command"] == LAUNCHER["runK8sConfig"]["containerConfig"]["command"]
    assert container["resources"] == LAUNCHER["resources"]
    assert {"name": "shared-memory", "mountPath": "/dev/shm"} in container["volumeMounts"]
    known(client.V1PodTemplateSpec, pod)


def test_the_code_server_loads_the_module_of_the_compose_file_and_its_instance_is_that_of_the_image():
    module = CODE["dagsterApiGrpcArgs"][CODE["dagsterApiGrpcArgs"].index("--module-name") + 1]
    assert f"--module-name {module}" in (DEPLOY / "compose.yaml").read_text()
    assert VALUES["global"]["dagsterHome"] == BAKED["DAGSTER_HOME"]
    instance = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    daemon = VALUES["dagsterDaemon"]
    runs = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]["maxConcurrentRuns"]
    assert runs == instance["concurrency"]["runs"]["max_concurrent_runs"]
    assert daemon["runMonitoring"] == instance["run_monitoring"]
    assert VALUES["telemetry"] == instance["telemetry"]
    assert VALUES["additionalInstanceConfig"] == {"nux": instance["nux"]}
    logs = VALUES["pythonLogs"]
    assert [logs["managedPythonLoggers"], logs["pythonLogLevel"]] == list(instance["python_logs"].values())
    assert VALUES["postgresql"]["postgresqlScheme"] == instance["storage"]["postgres"]["postgres_db"]["scheme"]
