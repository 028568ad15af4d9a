"""Small changes of the usual kinds, each in the files that CONTRIBUTING.md names, and a proof that it works."""

from dataclasses import dataclass

Edits = dict[str, list[tuple[str, str]]]
"""By file: texts that stand in it once, and what takes their place. A file without edits is a new one."""


@dataclass(frozen=True)
class Change:
    """A toy change as a section describes it, and a script that ends with an error where it does not work."""

    section: str
    edits: Edits
    new_files: dict[str, str]
    script: str


FRAMES = """
import polars as pl
from conan_assets.mining.api import mine

birds = "wren kite crow gull heron raven falcon ostrich".split()
documents = [f"owl {bird * number} {bird}" for number, bird in enumerate(birds, start=1)]
corpus = pl.DataFrame({"doc_id": [f"d{number}" for number in range(8)], "text": documents})
queries = pl.DataFrame({"query_id": ["q"], "text": ["owl"]})
positives = pl.DataFrame({"query_id": ["q"], "doc_id": ["d0"]})
"""

RULE = Change(
    "A rule that vetoes candidates",
    {
        "conan_assets/mining/rules.py": [
            (
                "RULES: dict",
                'def every_other(scores, anchors, ranks, *, keep):\n    return ranks % 2 == keep\n\n\nRULES: dict',
            ),
            ("for rule in (", "for rule in (every_other, "),
        ],
        "conan_assets/mining/settings.py": [
            (
                "VetoSettings = Annotated[",
                "class EveryOther(_Veto):\n    rule: Literal['every_other'] = 'every_other'\n    keep: int = 0\n\n\n"
                "VetoSettings = Annotated[EveryOther | ",
            )
        ],
    },
    {},
    FRAMES
    + "kept = mine(queries, corpus, positives, rule='every_other', keep=1).filter(verdict='kept')\n"
    + "assert kept['rank'].to_list() == [1, 3, 5, 7], kept\n",
)  # fmt: skip

TEACHER = Change(
    "A teacher",
    {
        "conan_assets/search/settings.py": [
            (
                "TeacherSettings = Annotated[",
                "class LengthTeacher(_Teacher):\n    kind: Literal['length'] = 'length'\n\n\n"
                "TeacherSettings = Annotated[LengthTeacher | ",
            )
        ],
        "conan_assets/search/teachers.py": [
            (
                "    if isinstance(settings, BM25Teacher):\n",
                "    if settings.kind == 'length':\n        from conan_assets.search.length import LengthRetriever\n\n"
                "        return LengthRetriever(documents, retrievable)\n"
                "    if isinstance(settings, BM25Teacher):\n",
            )
        ],
    },
    {
        "conan_assets/search/length.py": """
import numpy as np
from conan_assets.search.retriever import ExhaustiveRetriever

class LengthRetriever(ExhaustiveRetriever):
    def __init__(self, documents, retrievable=None):
        super().__init__(documents, retrievable)
        self.lengths = np.array([len(text) for text in documents], np.float32)

    def scores(self, query):
        return self.lengths
"""
    },
    FRAMES
    + "from conan_assets.search.settings import LengthTeacher\n"
    + "found = mine(queries, corpus, positives, teacher=LengthTeacher(), rule='top_k').sort('rank')\n"
    + "assert found['doc_id'].to_list() == ['d7', 'd6', 'd5', 'd4', 'd3', 'd2', 'd1'], found\n",
)

SOURCE = Change(
    "A source",
    {
        "conan_assets/data/settings.py": [
            (
                "SourceSettings = Annotated[\n",
                "class LinesSource(_Source):\n    kind: Literal['lines']\n    path: Location\n\n\n"
                "SourceSettings = Annotated[\n    LinesSource |\n",
            )
        ],
        "conan_assets/data/sources.py": [
            (
                "        case PythonDocsSource():\n            return *read_python_docs",
                "        case _ if settings.kind == 'lines':\n"
                "            from conan_assets.data.lines_source import read_lines\n\n"
                "            return *read_lines(name, settings), {}\n"
                "        case PythonDocsSource():\n            return *read_python_docs",
            ),
            (
                "        case PythonDocsSource():\n            found",
                "        case _ if settings.kind == 'lines':\n            found = {'train'}\n"
                "        case PythonDocsSource():\n            found",
            ),
            (
                "        case PythonDocsSource():\n            return fingerprint_python_docs",
                "        case _ if settings.kind == 'lines':\n            return digest(Path(settings.path))\n"
                "        case PythonDocsSource():\n            return fingerprint_python_docs",
            ),
            ("import logging\n", "import logging\nfrom pathlib import Path\n"),
        ],
    },
    {
        "conan_assets/data/lines_source.py": """
import polars as pl
from conan_assets.data.examples import assemble_examples
from conan_assets.data.settings import PairsSource

def read_lines(name, settings):
    rows = [line.split("=") for line in open(settings.path)]
    table = pl.DataFrame({"query": [row[0] for row in rows], "positive": [row[1] for row in rows]})
    table = table.with_columns(negatives=pl.lit(None, pl.List(pl.String)))
    pairs = PairsSource(kind="pairs", path=settings.path)
    return assemble_examples(name, pairs, {"train": (table, settings.path)})
"""
    },
    """
import pathlib
from conan_assets.data.sources import load_source, source_fingerprint, source_splits
from conan_assets.settings import Settings

pathlib.Path("lines.txt").write_text("who purrs=Cats purr.")
programme = Settings.model_validate({
    "name": "toy", "sources": {"lines": {"kind": "lines", "path": "lines.txt"}}, "base_model": {"model": "m"},
    "mining": {"veto": []}, "rounds": 1, "suites": {"beir": {"b": {"kind": "mteb", "benchmark": "BEIR"}}},
    "dev_metric": {"suite": "b"},
})
source = programme.sources["lines"]
corpus, pairs = load_source("lines", source)
assert corpus["text"].to_list() == ["Cats purr."] and pairs["query"].to_list() == ["who purrs"]
before = source_fingerprint("lines", source)
pathlib.Path("lines.txt").write_text("who barks=Dogs bark.")
assert source_fingerprint("lines", source) != before and source_splits("lines", source) == {"train"}
""",
)

LOSS = Change(
    "A loss",
    {
        "conan_assets/training/losses.py": [
            (
                "def cosent(",
                "def closeness(scores):\n    return 1 - scores\n\n\ndef cosent(",
            )
        ],
        "conan_assets/training/settings.py": [("LossName = Literal[", "LossName = Literal['closeness', ")],
        "conan_assets/training/objective.py": [
            ("from conan_assets.training.losses import ", "from conan_assets.training.losses import closeness, "),
            (
                '    if "info_nce" in settings.losses:\n',
                '    if "closeness" in settings.losses:\n'
                '        yield "closeness", closeness(scores.own[:, 0]).mean()\n'
                '    if "info_nce" in settings.losses:\n',
            ),
        ],
    },
    {},
    """
import sys
from pathlib import Path
from conan_assets.training.metrics import read_metrics
from conan_assets.training.run import train
from conan_assets.training.settings import TrainingSettings
from conan_assets_tests.training.samples import make_config, write_random_data

write_random_data(Path("data"))
stage = TrainingSettings(max_steps=2, retrieval_batch_size=4, negatives_per_query=2, losses={"closeness": 1.0})
train(make_config(Path.cwd(), sys.argv[1], stage))
assert all(0 < record["closeness"] < 2 for record in read_metrics(Path.cwd()))
""",
)

CHANGES = (RULE, TEACHER, SOURCE, LOSS)
