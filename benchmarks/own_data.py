"""README's own-data profile from source to leaderboard: ``python -m benchmarks.own_data [FOLDER] [--home HOME]``.

FOLDER is a collection in BEIR layout with the splits train, dev and test; by default one of 450 documents of some 250
tokens, as abstracts have, and 80 training, 40 dev and 40 test queries is made from the Python documentation. The
profile is the block of README, literally, but for its path. Bars: 10 minutes on two cores, 4 GiB.

Ends with one line of JSON: seconds, peak resident memory of all processes together, and both for each asset.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from itertools import cycle
from pathlib import Path

import polars as pl
import psutil
import yaml

from conan_assets.data.python_docs import read_python_docs
from conan_assets.data.settings import PythonDocsSource

ROOT = Path(__file__).parents[1]
DOCUMENTS, QUERIES = 450, {"train": 80, "dev": 40, "test": 40}
CHARS = 1_200
IN_PROCESS = '{"execution": {"config": {"in_process": {}}}}'
STEP = re.compile(r" - [0-9a-f-]{36} - (?:\d+ - )?(\w+) - ")
"""Where a line of the run's log names the asset that it is about."""


def write_collection(folder: Path) -> None:
    """Write documents of abstracts' length, each with the question whose answer it begins with."""
    corpus, pairs = read_python_docs("python_docs", PythonDocsSource(kind="python_docs"))
    asked = pairs.filter(task="retrieval").unique("doc_id", maintain_order=True).unique("query", maintain_order=True)
    asked = asked.join(corpus.select("doc_id", answer="text"), on="doc_id", maintain_order="left").head(DOCUMENTS)
    more, texts = cycle(corpus["text"].to_list()), []
    for answer in asked["answer"].to_list():
        while len(answer) < CHARS:
            answer = f"{answer}\n{next(more)}"
        texts.append(answer)
    ids = [f"d{number}" for number in range(len(texts))]
    (folder / "qrels").mkdir(parents=True)
    documents = pl.DataFrame({"_id": ids, "title": "", "text": texts})
    documents.write_parquet(folder / "corpus.parquet")
    chosen = asked["query"].head(sum(QUERIES.values())).to_list()
    names = [f"q{number}" for number in range(len(chosen))]
    pl.DataFrame({"_id": names, "text": chosen}).write_parquet(folder / "queries.parquet")
    start = 0
    for split, count in QUERIES.items():
        judged = {"query-id": names[start : start + count], "corpus-id": ids[start : start + count]}
        pl.DataFrame({**judged, "score": [1] * count}).write_parquet(folder / "qrels" / f"{split}.parquet")
        start += count


def readme_profile(folder: Path) -> dict[str, object]:
    """Return the profile of README's own-data example with ``folder`` in the place of its own."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (profile,) = (values for values in map(yaml.safe_load, blocks) if "kind: beir" in yaml.safe_dump(values))
    (source,) = profile["sources"].values()
    source["path"] = str(folder)
    return profile


def resident(process: psutil.Process) -> int:
    """Return the memory of a process and all its children, 0 where it has ended."""
    try:
        return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def materialize(profile: Path, home: Path) -> dict[str, object]:
    """Run the graph as README says, in one process; return what it took, in all and by asset."""
    (home / "dagster").mkdir(parents=True)
    (home / "dagster" / "dagster.yaml").write_bytes((ROOT / "dagster.yaml").read_bytes())
    environment = {
        **os.environ,
        "CONAN_PROFILE": str(profile),
        "CONAN_HOME": str(home / "home"),
        "DAGSTER_HOME": str(home / "dagster"),
    }
    command = ["asset", "materialize", "-m", "conan_assets.definitions", "--select", "*", "--config-json", IN_PROCESS]
    run = subprocess.Popen(
        [sys.executable, "-m", "dagster", *command], env=environment, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assets: dict[str, dict[str, float]] = defaultdict(lambda: {"seconds": 0.0, "peak_mib": 0.0})
    current = "start"

    def sample() -> None:
        process = psutil.Process(run.pid)
        while run.poll() is None:
            asset = assets[current]
            asset["peak_mib"] = max(asset["peak_mib"], round(resident(process) / 2**20))
            asset["seconds"] = round(asset["seconds"] + 0.2, 1)
            time.sleep(0.2)

    started = time.monotonic()
    threading.Thread(target=sample, daemon=True).start()
    assert run.stderr is not None
    for line in run.stderr:
        if step := STEP.search(line):
            current = step[1]
    code = run.wait()
    seconds = round(time.monotonic() - started, 1)
    if code:
        raise SystemExit(f"the run ended with {code}")
    peak = max(asset["peak_mib"] for asset in assets.values())
    return {"seconds": seconds, "peak_mib": peak, "assets": {k: v for k, v in assets.items() if v["seconds"] >= 1}}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = options.home or Path(temporary)
        folder = options.folder or home / "collection"
        if options.folder is None:
            write_collection(folder)
        profile = home / "profile.yaml"
        profile.write_text(yaml.safe_dump(readme_profile(folder.resolve())), encoding="utf-8")
        print(json.dumps(materialize(profile, home)))


if __name__ == "__main__":
    main()
