"""Stage 8, smaller models: `export/<form>` writes the release in another form, `exports` shows what each is worth."""

from dataclasses import asdict
from pathlib import Path

import dagster as dg
import polars as pl

from conan_assets.artifacts import Artifact
from conan_assets.bucket.working_copy import upload
from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.defs.automation import RELEASE_KEY
from conan_assets.defs.corpus import CORPUS_KEY, judged_key
from conan_assets.defs.gpu import on_the_gpu
from conan_assets.defs.limits import retried
from conan_assets.defs.reuse import Report, code_version, reuse_or_build
from conan_assets.defs.storage import Storage
from conan_assets.encoding.settings import ENCODING_VERSION, EncoderSettings
from conan_assets.evaluation.report import EVALUATION_VERSION, EXPORTS_VERSION
from conan_assets.evaluation.settings import DevMetric, ModelExport
from conan_assets.files import atomic_path, naming_a_full_disk
from conan_assets.search.settings import SEARCH_VERSION
from conan_assets.settings import Settings

MODEL = "model"
TABLE, PICTURE = "exports.md", "exports.png"
LEADERBOARD_TEXT, LEADERBOARD_PAGE = "leaderboard.md", "leaderboard.html"


def build_export_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return an asset for each form that the profile names, and the table of all of them."""
    forms = settings.release.exports
    return [*(_build_export(form) for form in forms), *([_build_exports(settings)] if forms else [])]


def export_key(form: ModelExport) -> dg.AssetKey:
    """Return the key of a form of the release."""
    return dg.AssetKey(["export", form])


def _build_export(form: ModelExport) -> dg.AssetsDefinition:
    is_calibrated = form == "openvino_int8"

    @dg.asset(
        key=export_key(form),
        group_name="outcome",
        deps=[RELEASE_KEY, *([CORPUS_KEY] if is_calibrated else [])],
        kinds={"onnx" if form == "onnx" else "openvino" if is_calibrated else "huggingface"},
        code_version=code_version(exports=EXPORTS_VERSION),
        description=f"The released model as {form}.",
    )
    def export(context: dg.AssetExecutionContext, storage: Storage) -> dg.MaterializeResult[None]:
        from conan_assets.evaluation.exports import megabytes_of, write_export
        from conan_assets.evaluation.openvino_export import CALIBRATION_TEXTS

        def build(directory: Path) -> Report:
            documents = _spread(storage.table(CORPUS_KEY), CALIBRATION_TEXTS) if is_calibrated else []
            write_export(form, _release(storage), directory / MODEL, documents)
            calibrated = {"calibration_texts": len(documents)} if is_calibrated else {}
            return {"form": form, "megabytes": megabytes_of(directory / MODEL), **calibrated}

        return reuse_or_build(context, storage, {}, build)

    return export


def _spread(corpus: pl.LazyFrame, count: int) -> list[str]:
    """Return the texts of at most ``count`` documents at equal distances, from the first."""
    step = max(1, corpus.select(pl.len()).collect().item() // count)
    texts: list[str] = corpus.select(text=DOCUMENT_TEXT).gather_every(step).head(count).collect()["text"].to_list()
    return texts


def _build_exports(settings: Settings) -> dg.AssetsDefinition:
    forms, by = settings.release.exports, settings.dev_metric

    @dg.asset(
        ins={"raw_pairs": dg.AssetIn(judged_key(settings))},
        group_name="outcome",
        deps=[RELEASE_KEY, "leaderboard", *(export_key(form) for form in forms)],
        kinds={"markdown"},
        code_version=code_version(
            exports=EXPORTS_VERSION, evaluation=EVALUATION_VERSION, encoding=ENCODING_VERSION, search=SEARCH_VERSION
        ),
    )
    @retried
    @on_the_gpu
    def exports(
        context: dg.AssetExecutionContext, storage: Storage, raw_corpus: pl.LazyFrame, raw_pairs: pl.LazyFrame
    ) -> dg.MaterializeResult[None]:
        """Score and time every form of the release on the suite of the dev metric, beside the release in float32."""
        from conan_assets.encoding.encoder import Encoder
        from conan_assets.evaluation.export_rows import TIMED_TEXTS, WHOLE, Measured, measure_exports
        from conan_assets.evaluation.export_table import exports_table, plot_exports
        from conan_assets.evaluation.exports import open_export
        from conan_assets.evaluation.leaderboard_table import section_text

        def build(directory: Path) -> Report:
            release = EncoderSettings(str(_release(storage)), dtype="float32")
            folders: dict[str, Path] = {form: storage.current(export_key(form)).path / MODEL for form in forms}
            encoders: dict[str, Encoder] = {form: open_export(form, release, Path(folders[form])) for form in forms}
            corpus = raw_corpus.collect()
            texts = corpus.head(TIMED_TEXTS).select(text=DOCUMENT_TEXT)["text"].to_list()
            measured = Measured({by.suite: settings.all_suites[by.suite]}, by, corpus, raw_pairs.collect(), texts)
            rows = measure_exports(
                {WHOLE: Encoder(release), **encoders}, {WHOLE: Path(release.model), **folders}, measured, directory
            )
            (directory / TABLE).write_text(section_text(exports_table(rows, by)), encoding="utf-8")
            plot_exports(rows, by, directory / PICTURE)
            return {"table": TABLE, "plot": PICTURE, "rows": [asdict(row) for row in rows]}

        recipe = {"suite": settings.all_suites[by.suite], "metric": by}
        result = reuse_or_build(context, storage, recipe, build)
        _show_on_the_leaderboard(storage, storage.current(context.asset_key), by)
        return result

    return exports


def _release(storage: Storage) -> Path:
    return storage.release_of(storage.current(RELEASE_KEY).fingerprint)


def _show_on_the_leaderboard(storage: Storage, exports: Artifact, by: DevMetric) -> None:
    """Put the table and the picture at the end of the leaderboard's pages, and the picture beside them."""
    from conan_assets.evaluation.export_rows import ExportRow
    from conan_assets.evaluation.export_table import exports_table
    from conan_assets.evaluation.leaderboard_table import added_to, section_text

    leaderboard = storage.current(dg.AssetKey("leaderboard")).path
    picture = (exports.path / PICTURE).read_bytes()
    section = exports_table([ExportRow(**row) for row in exports.report["rows"]], by)
    text, page = ((leaderboard / name).read_text(encoding="utf-8") for name in (LEADERBOARD_TEXT, LEADERBOARD_PAGE))
    files = {
        LEADERBOARD_TEXT: f"{text}\n{section_text(section)}\n".encode(),
        LEADERBOARD_PAGE: added_to(page, section, "Quality of the exports against their cost", picture).encode(),
        PICTURE: picture,
    }
    with naming_a_full_disk("exports", storage.root):
        for name, content in files.items():
            with atomic_path(storage.root / name) as path:
                path.write_bytes(content)
            upload(storage.root / name)
