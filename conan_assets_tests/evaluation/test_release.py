"""The release of the best checkpoint: folder, model card, pointer."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import yaml
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.models import DEMO_MODEL, DEMO_PACKAGE
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.choice import choose
from conan_assets.evaluation.folder_tasks import folder_task
from conan_assets.evaluation.model_card import Origin, base_licence, body_of, public_name
from conan_assets.evaluation.models import EncoderModel
from conan_assets.evaluation.release import publish, write_release
from conan_assets.evaluation.settings import FolderSuite
from conan_assets.markdown import as_code
from conan_assets_tests.evaluation.plain import plain_scores

LINEAGE = {"training_pairs": "0123", "round_1/hard_negatives": "4567"}
SETTINGS = {
    "rounds": 2,
    "sources": {
        "docs": {"kind": "beir", "path": "/srv/secret-place/docs"},
        "support": {"kind": "pairs", "path": "../clients/acme/support", "weight": 2.0},
        "bucket": {"kind": "pairs", "path": "s3://key:secret@acme/data/faq?token=1"},
        "sample": {"kind": "sts", "path": "sample:zh/sts"},
        "scifact": {
            "kind": "hub",
            "path": "mteb/scifact",
            "revision": "refs/pr/16",
            "corpus": {"path": "~/acme/corpus", "data_files": "parts/*.parquet"},
        },
    },
    "base_model": {"model": "intfloat/e5-small", "query_prompt": "/search: "},
    "teachers": {
        "own": {"encoder": {"model": "/srv/secret-place/teacher", "query_prompt": "~ query: "}},
        "cross": {"model": "BAAI/bge-reranker-base", "first_stage": {"model": "./first"}},
    },
    "curation": {"blocked_words": ["https://example.org/a", "/etc/passwd"]},
    "training": [{"epochs": 1}],
    "generation": {"base_url": "http://user:secret@inside:8000/v1", "model": "meta/llama"},
}
PUBLIC = {
    "rounds": 2,
    "sources": {
        "docs": {"kind": "beir", "path": "docs"},
        "support": {"kind": "pairs", "path": "support", "weight": 2.0},
        "bucket": {"kind": "pairs", "path": "faq"},
        "sample": {"kind": "sts", "path": "sample:zh/sts"},
        "scifact": {
            "kind": "hub",
            "path": "mteb/scifact",
            "revision": "refs/pr/16",
            "corpus": {"path": "corpus", "data_files": "parts/*.parquet"},
        },
    },
    "base_model": {"model": "intfloat/e5-small", "query_prompt": "/search: "},
    "teachers": {
        "own": {"encoder": {"model": "teacher", "query_prompt": "~ query: "}},
        "cross": {"model": "BAAI/bge-reranker-base", "first_stage": {"model": "first"}},
    },
    "curation": {"blocked_words": ["https://example.org/a", "/etc/passwd"]},
    "training": [{"epochs": 1}],
    "generation": {"base_url": "v1", "model": "meta/llama"},
}
"""The same without what tells where things lie: prompts, names on the Hub and words are as they were."""


def chosen(entries):
    """Return the choice of the base model, which here has no round to compare with."""
    return choose(entries[:2], "docs", "dev", "ndcg_at_10")


@pytest.fixture
def release(entries, tiny_model, tmp_path):
    checkpoint = EncoderSettings(tiny_model, query_prompt="query: ", max_tokens=16, dtype="float32")
    origin = Origin("demo-model", EncoderSettings(tiny_model), LINEAGE, SETTINGS)
    report = write_release(chosen(entries), checkpoint, origin, tmp_path)
    return tmp_path / "model", checkpoint, report


def test_the_released_model_gives_the_embeddings_that_were_evaluated(release):
    folder, checkpoint, _ = release
    texts = ["what is a list", "a very long text that goes on and on " * 5]
    ours = Encoder(checkpoint, device="cpu").encode(texts, "query")
    released = SentenceTransformer(str(folder), device="cpu")
    theirs = released.encode(texts, prompt_name="query")
    assert np.allclose(ours, theirs, atol=1e-5)


def test_mteb_scores_the_released_model_as_it_was_scored_here(entries, store, tiny_model, tmp_path):
    checkpoint = EncoderSettings(tiny_model, query_prompt="query: ", document_prompt="a text: ", dtype="float32")
    origin = Origin("demo-model", EncoderSettings(tiny_model), LINEAGE, SETTINGS)
    write_release(chosen(entries), checkpoint, origin, tmp_path)
    first, second = ["a cat sleeps", "the sun", "count words", "hash keys"], ["a cat", "rain", "words", "open files"]
    pl.DataFrame({"sentence1": first, "sentence2": second, "score": [3.0, 1.0, 4.0, 2.0]}).write_parquet(
        tmp_path / "test.parquet"
    )
    task = folder_task("sts", FolderSuite(kind="folder", path=tmp_path, task="sts"))
    released = plain_scores(SentenceTransformer(str(tmp_path / "model"), device="cpu"), task)
    ours = plain_scores(EncoderModel(Encoder(checkpoint, device="cpu"), store), task)
    metric = ("test", "default", "cosine_pearson")
    assert released[metric] == pytest.approx(ours[metric], abs=1e-5)


def test_the_model_card_has_the_results_in_the_hubs_format(release, entries):
    folder, _, _ = release
    card = ModelCard.load(folder / "README.md")
    rows, (data,) = entries[1].report.rows, entries[1].report.data
    assert card.data.model_name == "demo-model"
    for result, row in zip(card.data.eval_results, rows, strict=True):
        assert (result.metric_type, result.metric_value) == (row.metric, round(100 * row.value, 3))
        assert (result.task_type, result.dataset_type, result.dataset_name) == ("Retrieval", "python", "MTEB python")
        assert (result.dataset_config, result.dataset_split) == (row.subset, row.split)
        assert result.dataset_revision == data.revision
    (index,) = yaml.safe_load((folder / "README.md").read_text().split("---")[1])["model-index"]
    assert index["name"] == "demo-model"
    for result in index["results"]:
        assert set(result) == {"task", "dataset", "metrics"}
        assert {"type", "name", "config", "split", "revision"} == set(result["dataset"])
        assert all(isinstance(metric["value"], float) for metric in result["metrics"])


def test_the_release_says_what_it_was_made_from_and_nothing_of_the_machine(release):
    folder, _, _ = release
    assert "* round_1/hard_negatives: 4567" in (folder / "README.md").read_text()
    made_from = json.loads((folder / "training_lineage.json").read_text())
    assert made_from["lineage"] == LINEAGE
    assert made_from["settings"] == PUBLIC


@pytest.mark.parametrize(("url", "shown"), [("https://user:secret@host", ""), ("https://host/v1/", "v1")])
def test_of_a_url_nothing_but_the_last_part_of_its_path_is_told(url, shown):
    assert public_name(url) == shown


def test_a_relative_folder_is_told_by_its_last_part_and_a_name_on_the_hub_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "data" / "support").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert public_name("data/support") == "support"
    assert public_name("intfloat/e5-small") == "intfloat/e5-small"


def test_a_base_model_in_the_home_folder_is_no_name_on_the_hub(entries, tiny_model, tmp_path, monkeypatch):
    shutil.copytree(tiny_model, tmp_path / "private" / "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    origin = Origin("demo-model", EncoderSettings("~/private/mine"), LINEAGE, SETTINGS)
    write_release(chosen(entries), EncoderSettings(tiny_model), origin, tmp_path)
    card = tmp_path / "model" / "README.md"
    assert ModelCard.load(card).data.get("base_model") is None
    assert "trained by Conan Assets from `mine`" in card.read_text()
    assert "private" not in card.read_text()


def test_a_base_model_on_the_hub_is_named_in_the_card(entries, tiny_model, tmp_path):
    pytest.importorskip(DEMO_PACKAGE)
    origin = Origin("demo-model", EncoderSettings(DEMO_MODEL), LINEAGE, SETTINGS)
    write_release(chosen(entries), EncoderSettings(tiny_model), origin, tmp_path)
    assert ModelCard.load(tmp_path / "model" / "README.md").data.get("base_model") == DEMO_MODEL


def test_the_licence_is_the_one_in_the_base_models_card(entries, tiny_model, tmp_path):
    assert base_licence(EncoderSettings(tiny_model)) == {}
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    named = {"license": "other", "license_name": "research-only", "license_link": "https://example.org/licence"}
    (base / "README.md").write_text(f"---\n{yaml.safe_dump(named)}---\n# base\n")
    origin = Origin("demo-model", EncoderSettings(str(base)), LINEAGE, SETTINGS)
    write_release(chosen(entries), EncoderSettings(tiny_model), origin, tmp_path)
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert {name: card.data.get(name) for name in named} == named
    assert "research-only, the licence of the base model" in card.text


def test_the_base_models_own_words_are_no_markup_in_the_card(entries, tiny_model, tmp_path):
    base = shutil.copytree(tiny_model, tmp_path / "base")
    hostile = "![x](http://evil.example/p.png) <img src=x> [y](javascript:z)"
    (base / "README.md").write_text(f"---\n{yaml.safe_dump({'license': 'other', 'license_name': hostile})}---\n")
    origin = Origin(hostile, EncoderSettings(str(base)), LINEAGE, SETTINGS)
    write_release(chosen(entries), EncoderSettings(tiny_model), origin, tmp_path)
    card = body_of(tmp_path / "model" / "README.md")
    assert "evil.example" in card
    assert not any(mark in card for mark in ("![x]", "<img", "[y]", "http://evil"))


def test_no_backtick_ends_a_span_of_code():
    assert as_code("plain ") == "`plain `"
    assert as_code("a`` ![x](y)\n\n![z](y)") == "```a`` ![x](y) ![z](y)```"
    assert as_code("`a") == "`` `a ``"


def test_an_unknown_licence_is_said_to_be_unknown(release):
    card = ModelCard.load(release[0] / "README.md")
    assert card.data.get("license") is None
    assert "names no licence; find out" in card.text


def test_publishing_moves_the_pointer_and_keeps_the_earlier_release(tmp_path):
    first, second = tmp_path / "releases" / "1", tmp_path / "releases" / "2"
    for folder in (first, second):
        folder.mkdir(parents=True)
        (folder / "name").write_text(folder.name)
    target = tmp_path / "home" / "released_model"
    publish(first, target)
    assert (target / "name").read_text() == "1"
    publish(second, target)
    assert (target / "name").read_text() == "2"
    assert (first / "name").exists()
    assert [path.name for path in target.parent.iterdir()] == ["released_model"]


def test_publishing_never_replaces_a_real_folder(tmp_path):
    (tmp_path / "released_model").mkdir()
    with pytest.raises(FileExistsError, match="is not a link"):
        publish(tmp_path / "release", tmp_path / "released_model")
