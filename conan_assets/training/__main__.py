"""``python -m conan_assets.training CONFIG.json``: train alone, or as one of the processes of ``torchrun``."""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from conan_assets.training.config import read_config
from conan_assets.training.launch import end_with_launcher, report_to_dagster, telling_launcher
from conan_assets.training.run import train


def main() -> None:
    """Train what the config says, and print the report."""
    end_with_launcher()
    parser = argparse.ArgumentParser(prog="python -m conan_assets.training", description=__doc__)
    parser.add_argument("config", type=Path, help="config.json in the directory of the run")
    arguments = parser.parse_args()
    is_main = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if is_main else logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        with telling_launcher(), report_to_dagster() as send:
            report = train(read_config(arguments.config))
            send(report)
    except (ValueError, OSError, ArithmeticError, RuntimeError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    if is_main:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
