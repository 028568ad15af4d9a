"""The embedding server infinity, on packages of its own: it needs earlier ones than the project does."""

import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

REQUIREMENTS = Path(__file__).with_suffix(".txt")
LEFT_OUT = ("__pycache__", "datasets")
"""`datasets` of today cannot be imported beside infinity's huggingface_hub, which then does without it."""


def infinity_command(folder: Path) -> str:
    """Install infinity into ``folder`` and return the command that serves models, named by --model-id, on {port}.

    What it needs beyond its own packages, torch above all, are links to those that the tests run with.
    """
    own, shared = folder / "packages", folder / "shared"
    shared.mkdir(parents=True)
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(LEFT_OUT):
            (shared / entry.name).symlink_to(entry)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", own]
    subprocess.run([*pip, "--requirement", REQUIREMENTS], check=True, timeout=300)
    python = Path(sys.base_prefix) / "bin" / Path(sys.executable).name
    quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_HOME": str(folder)}
    environment = {"PYTHONPATH": f"{own}:{shared}", **quiet}
    settings = [f"{name}={value}" for name, value in environment.items()]
    options = ["--url-prefix", "/v1", "--host", "127.0.0.1", "--port", "{port}", "--engine", "torch", "--device", "cpu"]
    quick = ["--no-bettertransformer", "--no-model-warmup"]
    return shlex.join(["env", *settings, str(python), str(own / "bin" / "infinity_emb"), "v2", *options, *quick])
