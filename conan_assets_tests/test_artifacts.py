import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conan_assets.artifacts import ArtifactStore, fingerprint
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.files import ArtifactError, atomic_path, remove_leftovers, temporary_path
from conan_assets.integrity import seal, unseal
from conan_assets.verification import verify


def build(store: ArtifactStore, key: str, version: str, content: str = "x") -> None:
    with store.building(key, version) as directory:
        (directory / "content").write_text(content)
        store.finish(key, version, {"characters": len(content)})


def fail_to_build(store: ArtifactStore, key: str, version: str) -> None:
    with store.building(key, version) as directory:
        (directory / "half").write_text("half")
        raise RuntimeError("killed")


def fail_to_replace(target: Path) -> None:
    with atomic_path(target) as path:
        path.write_text("second")
        raise RuntimeError("killed")


def test_a_finished_artifact_is_found_with_its_report(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    build(store, "round_1/checkpoint", "aa", "hello")
    artifact = store.find("round_1/checkpoint", "aa")
    assert artifact is not None
    assert artifact.report == {"characters": 5}
    assert (artifact.path / "content").read_text() == "hello"
    assert store.current("round_1/checkpoint") == artifact


def test_another_fingerprint_is_not_found(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    build(store, "pairs", "aa")
    assert store.find("pairs", "bb") is None


def test_a_failed_build_is_never_read_and_leaves_its_directory_to_the_next_attempt(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    with pytest.raises(RuntimeError):
        fail_to_build(store, "pairs", "aa")
    assert store.find("pairs", "aa") is None
    with pytest.raises(ArtifactError, match="pairs has not been materialized"):
        store.current("pairs")
    with store.building("pairs", "aa") as directory:
        assert (directory / "half").read_text() == "half"


def test_finishing_removes_what_builds_of_other_versions_left(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    with pytest.raises(RuntimeError):
        fail_to_build(store, "pairs", "aa")
    build(store, "pairs", "bb")
    assert sorted(path.name for path in (tmp_path / "pairs").iterdir()) == [".lock", "bb", "current"]


def test_only_the_newest_versions_are_kept_and_reuse_counts_as_new(tmp_path: Path):
    store = ArtifactStore(tmp_path, keep_versions=2)
    build(store, "pairs", "aa")
    build(store, "pairs", "bb")
    first = store.find("pairs", "aa")
    assert first is not None
    store.select(first)
    build(store, "pairs", "cc")
    assert store.find("pairs", "aa") is not None
    assert store.find("pairs", "bb") is None
    assert store.current("pairs").fingerprint == "cc"


def test_a_clock_that_was_set_back_deletes_no_version_that_was_just_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = ArtifactStore(tmp_path, keep_versions=1)
    build(store, "pairs", "aa")
    monkeypatch.setattr("time.time", lambda: 0.0)
    build(store, "pairs", "bb")
    for manifest in tmp_path.rglob("manifest.json"):
        os.utime(manifest, (0, 0))
    build(store, "pairs", "cc")
    assert store.current("pairs").fingerprint == "cc"
    assert [path.name for path in sorted((tmp_path / "pairs").iterdir())] == [".lock", "cc", "current"]


def test_a_run_reads_the_version_it_read_first_whatever_others_make(tmp_path: Path):
    others = ArtifactStore(tmp_path / "assets", keep_versions=1)
    build(others, "pairs", "aa")
    ours = ArtifactStore(tmp_path / "assets", keep_versions=1, run=tmp_path / "runs" / "ours")
    assert ours.current("pairs").fingerprint == "aa"
    build(ArtifactStore(tmp_path / "assets", keep_versions=1, run=tmp_path / "runs" / "theirs"), "pairs", "bb")
    assert ours.current("pairs").fingerprint == "aa"
    assert others.current("pairs").fingerprint == "bb"
    build(ours, "pairs", "cc")
    assert ours.current("pairs").fingerprint == "cc"


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("name", ["content", "manifest.json"])
@pytest.mark.parametrize("harm", [damage, cut, Path.unlink, replace_by_a_folder, replace_by_a_link_to_itself])
def test_a_damaged_output_is_never_read_and_set_aside_to_be_made_again(
    tmp_path: Path, name: str, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
):
    store = ArtifactStore(tmp_path / "assets")
    build(store, "pairs", "aa", "a text that was written")
    file = tmp_path / "assets" / "pairs" / "aa" / name
    harm(file)
    with pytest.raises(ArtifactError, match=rf"{file} is (damaged|missing).*; materialize pairs again") as refused:
        store.require_intact(store.current("pairs"))
    assert "set aside" in str(refused.value)
    assert store.reusable("pairs", "aa") is None
    assert str(file) in caplog.text
    assert (tmp_path / "damaged" / "assets" / "pairs" / "aa").is_dir()
    build(store, "pairs", "aa", "a text that was written")
    assert store.reusable("pairs", "aa") == store.current("pairs")


@pytest.mark.parametrize("harm", [replace_by_a_folder, replace_by_a_link_to_itself, Path.unlink])
def test_a_pointer_that_is_no_file_is_written_again(tmp_path: Path, harm: Callable[[Path], None]):
    store = ArtifactStore(tmp_path / "assets")
    build(store, "pairs", "aa")
    harm(tmp_path / "assets" / "pairs" / "current")
    assert [problem.message for problem in verify(tmp_path)] == [] or harm is replace_by_a_folder
    with pytest.raises(ArtifactError, match="pairs has not been materialized"):
        store.current("pairs")
    artifact = store.reusable("pairs", "aa")
    assert artifact is not None
    store.select(artifact)
    assert store.current("pairs") == artifact


@pytest.mark.parametrize(
    "text", ["{}", "null", "[]", "1", '"', '{"digest": 1}', '{"key": "pairs", "digest": null}', ""]
)
def test_a_manifest_that_is_none_is_named(tmp_path: Path, text: str):
    store = ArtifactStore(tmp_path)
    build(store, "pairs", "aa")
    manifest = tmp_path / "pairs" / "aa" / "manifest.json"
    manifest.write_text(text)
    with pytest.raises(ArtifactError, match=f"{manifest} is damaged"):
        store.find("pairs", "aa")


def test_sealed_values_of_wrong_types_are_no_manifest(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    build(store, "pairs", "aa")
    manifest = tmp_path / "pairs" / "aa" / "manifest.json"
    manifest.write_text(seal({**unseal(manifest), "order": "first"}))
    with pytest.raises(ArtifactError, match="no manifest of this version"):
        store.find("pairs", "aa")


def test_a_report_with_numbers_as_keys_and_not_finite_values_is_read_back(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    with store.building("pairs", "aa"):
        store.finish("pairs", "aa", {"histogram": {10: 1, 2: 0.1}, "loss": float("inf")})
    assert store.current("pairs").report == {"histogram": {"10": 1, "2": 0.1}, "loss": float("inf")}


def test_a_moved_home_goes_on(tmp_path: Path):
    build(ArtifactStore(tmp_path / "here"), "pairs", "aa")
    (tmp_path / "here").rename(tmp_path / "there")
    store = ArtifactStore(tmp_path / "there")
    assert store.require_intact(store.current("pairs")).path == tmp_path / "there" / "pairs" / "aa"


def test_a_kill_while_old_versions_are_deleted_leaves_none_that_counts_as_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def killed(folder: Path) -> None:
        assert (Path(folder) / "manifest.json").exists()
        raise KeyboardInterrupt

    store = ArtifactStore(tmp_path, keep_versions=1)
    build(store, "pairs", "aa")
    monkeypatch.setattr("conan_assets.files.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        build(store, "pairs", "bb")
    assert store.find("pairs", "aa") is None
    assert store.current("pairs").fingerprint == "bb"


def _try_to_build(root: Path, answers: multiprocessing.Queue) -> None:
    try:
        build(ArtifactStore(root), "pairs", "aa")
        answers.put("built")
    except ArtifactError as error:
        answers.put(str(error))


def test_two_processes_never_build_the_same_key_at_once(tmp_path: Path):
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    with ArtifactStore(tmp_path).building("pairs", "aa"):
        other = spawn.Process(target=_try_to_build, args=(tmp_path, answers))
        other.start()
        assert "another run is materializing pairs" in answers.get(timeout=60)
        other.join()


def test_an_unwritable_root_names_the_way_out(tmp_path: Path):
    (tmp_path / "file").write_text("")
    store = ArtifactStore(tmp_path / "file" / "root")
    with (
        pytest.raises(ArtifactError, match=r"cannot write below .*set \$CONAN_HOME elsewhere"),
        store.building("a", "b"),
    ):
        pass


def test_a_folder_where_a_file_belongs_is_named_and_left_alone(tmp_path: Path):
    (tmp_path / "file").mkdir()
    with (
        pytest.raises(ArtifactError, match=r"file is a folder where a file belongs"),
        atomic_path(tmp_path / "file") as path,
    ):
        path.write_text("new")
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_an_atomic_path_replaces_on_success_and_leaves_nothing_on_failure(tmp_path: Path):
    target = tmp_path / "table"
    with atomic_path(target) as path:
        path.write_text("first")
    with pytest.raises(RuntimeError):
        fail_to_replace(target)
    assert [file.name for file in tmp_path.iterdir()] == ["table"]
    assert target.read_text() == "first"


def test_fingerprints_depend_on_every_part_but_not_on_the_order_of_keys():
    settings = EncoderSettings("model")
    assert fingerprint({"a": 1, "b": settings}) == fingerprint({"b": settings, "a": 1})
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint(settings) != fingerprint(EncoderSettings("model", query_prompt="query: "))
    with pytest.raises(TypeError, match="has no fingerprint"):
        fingerprint(object())


def test_the_folders_of_dead_writers_are_removed_with_what_is_in_them_and_those_of_living_ones_stay(tmp_path: Path):
    ended = multiprocessing.get_context("spawn").Process()
    ended.start()
    ended.join()
    ours = temporary_path(tmp_path / "sources")
    left = ours.with_name(ours.name.replace(f".{os.getpid()}@", f".{ended.pid}@"))
    for folder in (ours, left):
        folder.mkdir()
        (folder / "table").write_text("half")
        (folder / left.name).write_text("half")
    assert remove_leftovers(tmp_path) == 3
    assert [path.name for path in tmp_path.iterdir()] == [ours.name]
    assert [path.name for path in ours.iterdir()] == ["table"]


def test_what_a_killed_writer_left_in_a_build_is_no_part_of_what_it_becomes(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    with store.building("pairs", "aa") as directory:
        (directory / "table.parquet").write_text("x")
        (directory / ".picture.png.999999@elsewhere.tmp").write_text("half a picture")
        store.finish("pairs", "aa", {})
    for left in tmp_path.rglob(".*.tmp"):
        left.unlink()
    assert ArtifactStore(tmp_path).current("pairs").path.name == "aa"
