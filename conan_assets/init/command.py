"""``python -m conan_assets init FOLDER``: look at documents and at this machine, and write a profile that fits both.

Nothing is asked that has a good default; every choice stands in the profile with its reason. The documents are read,
no model is asked.
"""

import argparse
import re
import sys
from pathlib import Path

from conan_assets.data.document_groups import split_passages
from conan_assets.data.settings import DocumentsSource
from conan_assets.data.sources import read_source
from conan_assets.init.forecast import forecast
from conan_assets.init.profile import BASES, MULTILINGUAL, Base, fill_template, main_language
from conan_assets.settings import SettingsError, load_settings


def main(arguments: list[str]) -> None:
    """Write a profile and say what it will take; SettingsError and TableError say what is wrong."""
    options = _parser().parse_args(arguments)
    name = (
        options.name
        or re.sub(r"[^A-Za-z0-9_-]+", "_", Path(options.folder.rstrip("/*")).name).strip("_-")
        or "documents"
    )
    profile = options.output or Path(f"{name}.yaml")
    if profile.exists():
        raise SettingsError(f"{profile} is there already and is not overwritten: name another with --output")
    if (options.endpoint is None) != (options.model is None):
        raise SettingsError("--endpoint and --model belong together: where questions are written, and by which model")
    source = DocumentsSource(kind="documents", path=options.folder)
    corpus, _, report = read_source(name, source)
    language = options.language or main_language(corpus["text"])
    base = Base(options.base_model, 1_000) if options.base_model else BASES.get(language, MULTILINGUAL)
    if base.passage_chars != source.passage_chars:
        source = source.model_copy(update={"passage_chars": base.passage_chars})
        corpus, _, report = read_source(name, source)
    split = split_passages(name, corpus, source)
    text = fill_template(options, name, language, base, split)
    profile.parent.mkdir(parents=True, exist_ok=True)
    with profile.open("x", encoding="utf-8") as file:
        file.write(text)
    settings = load_settings(str(profile), environment={})
    sys.stdout.write("\n".join(forecast(settings, profile, corpus, split, report)) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conan_assets init", description="Write a profile for documents.")
    parser.add_argument("folder", help="a folder, a file or a glob of documents; a path or a URL that fsspec opens")
    parser.add_argument("--endpoint", help="URL of an OpenAI-compatible server: http://127.0.0.1:11434/v1")
    parser.add_argument("--model", help="name of the model there that writes questions")
    parser.add_argument("--prices", nargs=2, type=float, default=(0.0, 0.0), metavar=("PROMPT", "COMPLETION"))
    parser.add_argument("--max-pairs", type=int, help="most questions to write; by default two for each passage")
    parser.add_argument("--examples", type=Path, help="a text file of real queries, a line each: written ones sound so")
    parser.add_argument("--name", help="of the source and the programme; by default the folder's")
    parser.add_argument("--output", type=Path, help="the profile to write; by default NAME.yaml here")
    parser.add_argument("--language", help="ISO 639-1 code of the documents; by default what most of them are in")
    parser.add_argument("--base-model", help="the model to train; by default a small one for the language")
    parser.add_argument("--rounds", type=int, help="rounds of mining and training; by default 1, or 2 with a GPU")
    return parser
