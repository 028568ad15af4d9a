"""The files of deploy/, validated without a container engine: what they say, and the commands they run."""

import fnmatch
import re
import subprocess
import tomllib

import pytest
import yaml

from conan_assets_tests.deployment.compose import DEPLOY, load_compose
from conan_assets_tests.processes import BIN, ROOT

DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
OURS = ("code", "webserver", "daemon")


@pytest.fixture(scope="module")
def compose() -> dict:
    return load_compose({"CONAN_POSTGRES_PASSWORD": "secret"})


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} +(.+)$", DOCKERFILE, flags=re.MULTILINE)


def test_the_dockerfile_is_free_of_hadolints_findings():
    result = subprocess.run([BIN / "hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_the_dockerfile_copies_what_exists_and_what_the_build_context_lets_through():
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    copied = [path for line in instructions("COPY") for path in line.split()[:-1]]
    assert {"constraints.txt", "pyproject.toml", "conan_assets"} <= set(copied)
    for path in copied:
        assert (ROOT / path).exists(), path
        assert any(fnmatch.fnmatch(path, pattern[1:]) for pattern in ignored if pattern.startswith("!")), path


def test_the_image_installs_existing_extras_by_constraint_and_runs_without_root():
    (install,) = [line for line in instructions("RUN") if "pip install" in line]
    extras = re.search(r"'\.\[(.+)\]'", install)[1].split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= set(project["optional-dependencies"])
    assert "--constraint constraints.txt" in install
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {"torch", "dagster", "dagster-postgres", "psycopg2-binary"} <= pinned
    assert instructions("USER") == ["10001:10001"]
    assert f"python:{project['requires-python'].removeprefix('>=')}-slim" in instructions("FROM")


def test_the_instance_is_the_one_of_the_repository_with_its_storage_in_postgres_and_a_queue_that_waits_for_code():
    deployed = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    storage = {name: deployed.pop(name) for name in ("storage", "compute_logs")}
    queue = deployed.pop("run_queue")
    assert queue["max_user_code_failure_retries"] * queue["user_code_failure_retry_delay"] >= 120
    assert deployed == yaml.safe_load((ROOT / "dagster.yaml").read_text())
    connection = storage["storage"]["postgres"]["postgres_db"]
    assert connection.pop("scheme") == "postgresql+psycopg2"
    assert all(set(value) == {"env"} for value in connection.values())


def test_ports_are_published_on_loopback_only(compose: dict):
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:3000:3000"]


def test_every_service_has_a_health_check_restarts_and_waits_for_what_it_needs(compose: dict):
    services = compose["services"]
    assert set(services) == {"postgres", *OURS}
    for service in services.values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"
        assert all(wait == {"condition": "service_healthy"} for wait in service.get("depends_on", {}).values())
        assert set(service.get("depends_on", {})) <= set(services)
    named = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    assert set(compose["volumes"]) <= named


def test_the_code_service_ends_the_runs_that_were_killed_with_it_and_passes_signals_on_to_its_server(compose: dict):
    shell, option, script = compose["services"]["code"]["command"]
    first, server = script.split(" && ")
    assert (shell, option, first) == ("sh", "-c", "python -m conan_assets.defs.dead_runs --all")
    assert server.startswith("exec dagster code-server start ")


def test_no_secret_is_written_in_the_files_and_the_password_has_no_default(compose: dict):
    with pytest.raises(KeyError, match="CONAN_POSTGRES_PASSWORD: set it in"):
        load_compose({})
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "CONAN_FAILURE_WEBHOOK"):
        assert compose["services"]["code"]["environment"][name] is None, "passed through from the environment"
        assert not any(name in compose["services"][other]["environment"] for other in ("webserver", "daemon"))
    assert "\nCONAN_POSTGRES_PASSWORD=\n" in (DEPLOY / ".env.example").read_text()


def test_the_example_environment_names_every_variable_that_the_compose_file_reads():
    text = (DEPLOY / "compose.yaml").read_text()
    read = set(re.findall(r"\$\{(\w+)", text)) | set(re.findall(r"(\w+): null", text))
    assert set(re.findall(r"^#? ?([A-Z_]+)=", (DEPLOY / ".env.example").read_text(), flags=re.MULTILINE)) == read


def test_the_services_read_the_variables_that_the_instance_and_the_workspace_name(compose: dict):
    files = [yaml.safe_load((DEPLOY / name).read_text()) for name in ("dagster.yaml", "workspace.yaml")]
    named = set(re.findall(r"'env': '(\w+)'", str(files)))
    baked = set(re.findall(r"(\w+)=", " ".join(instructions("ENV"))))
    for name in OURS:
        assert named <= baked | set(compose["services"][name]["environment"])


def test_the_documented_copy_of_the_released_model_follows_the_link_that_it_is():
    text = " ".join((ROOT / "docs" / "deployment.md").read_text().split())
    (copied,) = re.findall(r"docker compose [^`]*\bcp [^`]*released_model[^`]*", text)
    assert "--follow-link" in copied
