"""What a profile names is looked for before anything is read or computed: folders, their splits, models."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from conan_assets.data.files import locate
from conan_assets.data.settings import SourceSettings
from conan_assets.data.sources import source_splits
from conan_assets.data.tables import TableError
from conan_assets.encoding.models import ModelNotFoundError, require_model
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.settings import FolderSuite, LocalSuite, MtebSuite, SuiteSettings
from conan_assets.search.settings import BiEncoderTeacher, CrossEncoderTeacher
from conan_assets.settings import Settings, SettingsError


class InputError(SettingsError):
    """Something that a profile names is not there; the message has a line for each."""


def check_inputs(settings: Settings) -> None:
    """Check that every source and suite has its folder and its splits, and that every model can be had.

    No table is read and no weights are downloaded; datasets on the hub are taken to hold the tables that are named.

    Raises
    ------
    InputError
        Something is not there.
    """
    _refuse([*_missing_data(settings), *_missing_models(settings)])


def check_data(settings: Settings) -> None:
    """Check what :func:`check_inputs` does, but for the models."""
    _refuse([*_missing_data(settings)])


def _refuse(problems: list[str]) -> None:
    if problems:
        raise InputError("\n".join(problems))


def _missing_data(settings: Settings) -> Iterator[str]:
    splits: dict[str, set[str]] = {}
    yield from _missing_sources(settings.sources, splits)
    yield from _missing_suites(settings.all_suites, splits)


def _missing_sources(sources: Mapping[str, SourceSettings], splits: dict[str, set[str]]) -> Iterator[str]:
    """Yield what sources lack, and fill in the splits of those that are there."""
    for name, source in sources.items():
        try:
            splits[name] = source_splits(name, source)
        except TableError as error:
            yield str(error)
            continue
        if source.train and "train" not in splits[name]:
            yield f"source {name}: there is no split train; add one, or set sources.{name}.train to false"


def _missing_suites(suites: Mapping[str, SuiteSettings], splits: Mapping[str, set[str]]) -> Iterator[str]:
    for name, suite in suites.items():
        if isinstance(suite, LocalSuite):
            known = splits.get(suite.dataset, set(suite.splits))
            for split in suite.splits:
                if split not in known:
                    yield (
                        f"suite {name!r} scores the split {split} of source {suite.dataset!r}, which has "
                        f"{', '.join(sorted(known)) or 'none'}: add {split}, or name another"
                    )
        elif (folder := _folder(suite)) is not None and not folder.is_dir():
            yield f"suite {name!r}: there is no folder {folder.absolute()}; correct its path in the profile"


def _folder(suite: FolderSuite | MtebSuite) -> Path | None:
    return Path(locate(str(suite.path))) if isinstance(suite, FolderSuite) else suite.folder


def _missing_models(settings: Settings) -> Iterator[str]:
    for key, model in _models(settings).items():
        try:
            require_model(model.model, model.revision)
        except ModelNotFoundError as error:
            yield f"{key}: {error}"


def _models(settings: Settings) -> dict[str, EncoderSettings | CrossEncoderTeacher]:
    """Return every model that is loaded, by the key that names it."""
    named: dict[str, EncoderSettings | CrossEncoderTeacher] = {}
    if settings.from_scratch is None:
        named["base_model"] = settings.base_model
    for name, teacher in settings.teachers.items():
        if isinstance(teacher, BiEncoderTeacher):
            named[f"teachers.{name}.encoder"] = teacher.encoder
        elif isinstance(teacher, CrossEncoderTeacher):
            named[f"teachers.{name}"] = teacher
            if teacher.first_stage is not None:
                named[f"teachers.{name}.first_stage"] = teacher.first_stage
    if settings.curation.teacher_score is not None:
        named["curation.teacher_score.encoder"] = settings.curation.teacher_score.encoder
    return named
