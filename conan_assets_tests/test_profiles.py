"""Every shipped profile makes a graph, and every hub source in it reads a folder in the layout of its repository."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from conan_assets.data.settings import HubClassificationSource, HubPairsSource, HubSource, HubStsSource, HubTable
from conan_assets.data.sources import load_source
from conan_assets.definitions import build_defs
from conan_assets.settings import load_settings
from conan_assets.settings.shipped import PROFILES

Hub = HubSource | HubPairsSource | HubStsSource | HubClassificationSource

PAPERS = ("conan_zh", "nv_retriever_en")
ROWS = 2_010
"""More than a profile holds out by slicing a split."""


def numbered(word: str) -> list[str]:
    return [f"{word} {number}" for number in range(ROWS)]


NAMES = [str(number) for number in range(ROWS)]
EXAMPLES = {
    HubPairsSource: {
        "query": numbered("question"),
        "positive": [[text] for text in numbered("answer")],
        "negatives": numbered("no answer"),
    },
    HubStsSource: {
        "sentence1": numbered("one"),
        "sentence2": numbered("other"),
        "score": [number % 2 for number in range(ROWS)],
    },
    HubClassificationSource: {"text": numbered("text"), "label": [number % 3 for number in range(ROWS)]},
}
BEIR = {
    "corpus": {"_id": NAMES, "title": [""] * ROWS, "text": numbered("document")},
    "queries": {"_id": NAMES, "text": numbered("question")},
    "judgements": {"query-id": NAMES, "corpus-id": NAMES, "score": [1] * ROWS},
}


def hub_sources() -> list[tuple[str, str]]:
    found = [
        (profile, name, source) for profile in PAPERS for name, source in load_settings(profile, {}).sources.items()
    ]
    return [(profile, name) for profile, name, source in found if isinstance(source, Hub)]


def tables_of(source: Hub) -> Iterator[tuple[HubTable, dict[str, list]]]:
    """Yield each table of a source with the columns it is read for."""
    if not isinstance(source, HubSource):
        yield from ((table, EXAMPLES[type(source)]) for table in source.tables.values())
        return
    yield source.corpus, BEIR["corpus"]
    yield source.queries, BEIR["queries"]
    yield from ((table, BEIR["judgements"]) for table in source.judgements.values())


def write_repository(source: Hub, folder: Path) -> None:
    """Write what the hub would hold: a Parquet file per table, under the repository's names of its columns."""
    configs: dict[str, dict[str, str]] = {}
    for table, columns in tables_of(source):
        config, split = table.config or "default", table.split.split("[")[0]
        file = f"{config}-{split}.parquet"
        configs.setdefault(config, {})[split] = file
        pl.DataFrame({table.columns.get(name, name): values for name, values in columns.items()}).write_parquet(
            folder / file
        )
    listed = [
        {"config_name": config, "data_files": [{"split": split, "path": file} for split, file in files.items()]}
        for config, files in configs.items()
    ]
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': listed})}---\n")


@pytest.mark.parametrize("profile", sorted(path.stem for path in PROFILES.glob("*.yaml")))
def test_every_profile_makes_a_graph_that_loads(profile: str):
    settings = load_settings(profile, {})
    definitions = build_defs(settings)
    dg.Definitions.validate_loadable(definitions)
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert {f"round_{settings.rounds}/checkpoint", "leaderboard", "released_model"} <= keys


@pytest.mark.slow
@pytest.mark.parametrize(("profile", "name"), hub_sources())
def test_every_hub_source_of_a_paper_reads_a_repository_of_its_layout(profile: str, name: str, tmp_path: Path):
    source = load_settings(profile, {}).sources[name]
    assert isinstance(source, Hub)
    assert source.revision is not None
    write_repository(source, tmp_path)
    corpus, pairs = load_source(name, source.model_copy(update={"path": str(tmp_path), "revision": None}))
    splits = source.judgements if isinstance(source, HubSource) else source.tables
    assert set(pairs["split"]) == set(splits)
    assert {"question 9", "one 9", "text 9"} & set(pairs["query"])
    assert corpus.is_empty() == isinstance(source, HubStsSource | HubClassificationSource)


def test_the_papers_constants_stand_in_their_profiles():
    conan, retriever = (load_settings(profile, {}) for profile in PAPERS)
    (balanced,) = conan.training
    assert balanced.losses == {"info_nce": 1.0, "cosent": 0.8}
    assert balanced.matryoshka_dims[-1] == conan.architecture.head_dim == 1792
    assert (balanced.learning_rate, balanced.warmup_ratio, balanced.weight_decay) == (1e-5, 0.05, 0.001)
    assert conan.pretraining is not None
    assert conan.pretraining.negatives_per_query == 0
    first, second = retriever.training
    assert (first.negatives_per_query, second.negatives_per_query) == (1, 5)
    assert (first.retrieval_batch_size, second.retrieval_batch_size) == (32, 8)
    assert first.trained_tasks == ("retrieval",)
    assert retriever.architecture.lora is not None
    assert (retriever.architecture.lora.rank, retriever.architecture.lora.alpha) == (16, 32)


@pytest.mark.slow
@pytest.mark.parametrize(("profile", "name"), [("demo", "python_docs"), ("demo_zh", "sentences")])
def test_graded_pairs_of_the_demos_go_from_0_to_1(profile: str, name: str):
    _, pairs = load_source(name, load_settings(profile, {}).sources[name])
    graded = pairs.filter(task="sts", split="train")
    assert (graded["score"].min(), graded["score"].max()) == (0.0, 1.0)
