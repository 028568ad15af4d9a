"""Checkpoints and saved states are used again only by code that would train the same ones.

The numbers are those of float32 without dropout: other processors and versions of torch add in another order, which
changes a loss of these few steps by less than 1e-5 of itself. Any change of the order of samples, a loss, the optimizer
or the schedule changes it by more than 1e-3: the tolerance lies between.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sentence_transformers import SentenceTransformer

from conan_assets.training.architecture import CHARACTER_BERT_VERSION, CharacterBertSettings
from conan_assets.training.character_bert import build_character_bert
from conan_assets.training.metrics import read_metrics
from conan_assets.training.run import train
from conan_assets.training.settings import TRAINING_VERSION, DynamicNegativeSettings, TrainingSettings
from conan_assets_tests.conftest import build_tiny_model
from conan_assets_tests.encoding.test_version import set_weights
from conan_assets_tests.training.samples import make_config, write_random_data

STAGE = TrainingSettings(
    max_steps=6,
    epochs=10,
    retrieval_batch_size=6,
    sts_batch_size=4,
    negatives_per_query=2,
    temperature=0.1,
    learning_rate=1e-3,
    matryoshka_dims=(16,),
    dynamic_negatives=DynamicNegativeSettings(rule="v2", v2_floor=0.9, v2_ceiling=1.0),
    dropout=0.0,
    dtype="float32",
)
GOLDEN = {
    4: {
        "loss": [3.90647, 3.58802, 3.37408, 3.66749, 2.7104, 3.08784],
        "gradient_norm": [2.53993, 3.45769, 6.14693, 8.5361, 6.77684, 5.59298],
        "negatives_replaced": [4, 6, 5, 6, 5, 4],
        "embedding": [-0.32885, 0.24685, -0.14383, -0.00491, 0.1336, 0.17334],
    }
}
"""What each step said, and the first components of an embedding at the end, by version."""

CHARACTERS = {1: [-0.29524, 1.82601, -0.26035, -0.20071, -0.47039, -0.40347, -0.03601, -0.15984]}
"""The embedding of a text by version."""


def test_the_numbers_of_this_version_are_the_known_ones(tmp_path: Path):
    model = SentenceTransformer(build_tiny_model(tmp_path), device="cpu")
    set_weights(model)
    model.save(str(tmp_path / "set"))
    write_random_data(tmp_path / "run" / "data", samples=14, pool=6, sts=8)
    labelled = {"text": [f"{a}{b}" for a in "abc" for b in "xyz"], "label": [*"pqrpqrpqr"]}
    pq.write_table(pa.table(labelled), tmp_path / "run" / "data" / "classification.parquet")
    train(make_config(tmp_path / "run", str(tmp_path / "set"), STAGE))
    records = read_metrics(tmp_path / "run")
    found = {name: [record[name] for record in records] for name in ("loss", "gradient_norm", "negatives_replaced")}
    found["embedding"] = (
        SentenceTransformer(str(tmp_path / "run" / "model"), device="cpu").encode("abcd xyz")[:6].tolist()
    )
    for name, values in GOLDEN[TRAINING_VERSION].items():
        np.testing.assert_allclose(
            found[name], values, rtol=1e-3, atol=1e-4,
            err_msg=f"the numbers changed ({name}): raise TRAINING_VERSION, or undo the change",
        )  # fmt: skip


def test_the_base_model_from_scratch_of_this_version_is_the_known_one(tmp_path: Path):
    folder = build_character_bert(["ab 中", "cab"], tmp_path, CharacterBertSettings(hidden_size=8, layers=1, heads=2))
    model = SentenceTransformer(str(folder), device="cpu")
    found = model.encode("cab 中").tolist()
    np.testing.assert_allclose(
        found,
        CHARACTERS[CHARACTER_BERT_VERSION],
        atol=1e-4,
        err_msg="the numbers changed: raise CHARACTER_BERT_VERSION, or undo the change",
    )
