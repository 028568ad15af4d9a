"""Pools and retries: what waits for the GPU, what is tried again, and what is not."""

from pathlib import Path

import dagster as dg
import httpx2
import openai
import pytest
import yaml
from huggingface_hub.errors import OfflineModeIsEnabled

from conan_assets.data.tables import TableError
from conan_assets.definitions import build_defs
from conan_assets.defs import limits
from conan_assets.defs.limits import retried
from conan_assets.failures import is_transient
from conan_assets.files import ArtifactError
from conan_assets.settings import Settings

ROOT = Path(__file__).parents[2]
REQUEST = httpx2.Request("GET", "http://localhost")


def caused(error: Exception, cause: Exception) -> Exception:
    try:
        raise error from cause
    except Exception as raised:
        return raised


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("reset"),
        TimeoutError("slow"),
        httpx2.ConnectError("refused"),
        openai.APITimeoutError(REQUEST),
        openai.InternalServerError("overloaded", response=httpx2.Response(503, request=REQUEST), body=None),
        caused(TableError("squad cannot be loaded"), httpx2.ReadTimeout("slow")),
    ],
)
def test_an_error_of_the_network_may_be_gone_at_the_next_attempt(error: Exception):
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        TableError("corpus.parquet lacks the column text"),
        ArtifactError("the disk is full"),
        openai.AuthenticationError("no", response=httpx2.Response(401, request=REQUEST), body=None),
        caused(FileNotFoundError("no such model"), OfflineModeIsEnabled("offline")),
        KeyError("loss"),
    ],
)
def test_an_error_that_will_come_again_is_not_retried(error: Exception):
    assert not is_transient(error)


@pytest.mark.parametrize(("error", "attempts"), [(ConnectionResetError("reset"), 3), (ValueError("broken"), 1)])
def test_only_transient_errors_are_retried(error: Exception, attempts: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "SECONDS_BETWEEN_ATTEMPTS", 0)
    tried = []

    @dg.asset
    @retried
    def model(context: dg.AssetExecutionContext) -> None:
        tried.append(context.retry_number)
        raise error

    result = dg.materialize([model], raise_on_error=False)
    assert not result.success
    assert len(tried) == attempts
    assert str(error) in str(result.failure_data_for_node("model").error)


def test_an_asset_that_asks_for_another_attempt_gets_it():
    tried = []

    @dg.asset
    @retried
    def model(context: dg.AssetExecutionContext) -> None:
        tried.append(context.retry_number)
        if not context.retry_number:
            raise dg.RetryRequested(max_retries=1)

    assert dg.materialize([model]).success
    assert tried == [0, 1]


def layers(node: dg.OpDefinition) -> list[str]:
    """The files that wrap what an asset computes, the outermost first, and its own."""
    found, function = [], node.compute_fn.decorated_fn
    while function is not None:
        found.append(Path(function.__code__.co_filename).stem)
        function = getattr(function, "__wrapped__", None)
    return found


def test_stages_that_encode_or_train_share_the_gpu_and_all_that_reach_out_are_retried(miniature: Settings):
    graph = build_defs(miniature).resolve_asset_graph()
    nodes = {key.to_user_string(): graph.get(key).assets_def.node_def for key in graph.get_all_asset_keys()}
    assert {key for key, node in nodes.items() if "gpu" in layers(node)} == {
        "teacher_scores/tiny",
        *(f"round_{number}/{name}" for number in (1, 2) for name in ("hard_negatives", "checkpoint", "beir_report")),
        "round_0/beir_report",
    }
    assert {key for key, node in nodes.items() if layers(node)[0] != "limits"} == {"leaderboard"}
    assert all(node.retry_policy is None for node in nodes.values()), "it would restart what somebody cancels"


def test_nothing_is_held_that_outlives_a_process(miniature: Settings):
    graph = build_defs(miniature).resolve_asset_graph()
    assert not {pool for key in graph.get_all_asset_keys() for pool in graph.get(key).assets_def.node_def.pools}
    assert "pools" not in yaml.safe_load((ROOT / "dagster.yaml").read_text())["concurrency"]


def test_written_pairs_that_an_encoder_gates_share_the_gpu(miniature: Settings):
    writer = {"kind": "openai", "model": "writer", "gates": {"teacher": "tiny"}}
    gated = Settings.model_validate(miniature.model_dump(mode="json") | {"generation": writer})
    node = build_defs(gated).resolve_asset_graph().get(dg.AssetKey("prompt_response_pairs")).assets_def.node_def
    assert "gpu" in layers(node)
