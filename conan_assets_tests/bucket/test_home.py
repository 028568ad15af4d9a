"""What is refused before anything is computed, and what keeps two writers apart."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from conan_assets.artifacts import ArtifactError, ArtifactStore
from conan_assets.bucket import lease, working_copy
from conan_assets.bucket.cleaning import delete_oldest, delete_unread, folders_of
from conan_assets.bucket.errors import BucketError
from conan_assets.bucket.working_copy import WorkingCopy, open_home, working_copy_of
from conan_assets.integrity import digest_of, seal, unseal_bytes
from conan_assets.verification import verify
from conan_assets_tests.bucket.conftest import BUCKET, SECRET, ask, environment
from conan_assets_tests.forked import fork, kill

pytestmark = pytest.mark.slow


def build(store: ArtifactStore, version: str, text: str = "made", key: str = "table") -> None:
    with store.building(key, version) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "part.txt").write_text(text)
        store.finish(key, version, {"text": text})


def read(store: ArtifactStore, key: str = "table") -> Path:
    return store.require_intact(store.current(key)).path


def store_of(home: str, keep: int = 3) -> ArtifactStore:
    return ArtifactStore(open_home(home) / "assets", keep)


def test_what_one_machine_finishes_another_finds_and_reads(address, machine):
    build(store_of(address), "a1")
    machine("second")
    found = store_of(address).current("table")
    assert (found.fingerprint, found.report) == ("a1", {"text": "made"})
    assert (read(store_of(address)) / "sub" / "part.txt").read_text() == "made"
    assert store_of(address).reusable("table", "a1") == found


def test_old_versions_are_pruned_in_the_bucket_too_and_half_uploads_with_them(address, machine):
    store = store_of(address, keep=2)
    copy = working_copy_of(store.root)
    copy.bucket.put("assets/table/e9/sub/part.txt", b"half")
    build(store, "d4", key="table/below")
    for version in ("a1", "b2", "c3"):
        build(store, version)
    assert {name.partition("/")[0] for name in copy.names(store.root / "table")} == {
        *("b2", "c3", "below", "current", "lease")
    }
    assert store.current("table/below").fingerprint == "d4"
    machine("second")
    assert store_of(address).find("table", "a1") is None


def test_a_version_that_is_taken_up_again_becomes_current_everywhere(address, machine):
    first = store_of(address)
    build(first, "a1")
    machine("second")
    build(store_of(address), "b2")
    assert first.current("table").fingerprint == "b2"
    machine("first")
    first.select(first.reusable("table", "a1"))
    machine("second")
    second = store_of(address)
    assert second.current("table").fingerprint == "a1"
    build(second, "c3")
    assert second.current("table").order > second.find("table", "a1").order


def test_a_second_writer_on_another_machine_is_told_who_the_first_is(address, machine):
    with store_of(address).building("table", "a1"):
        machine("second")
        with pytest.raises(ArtifactError, match=r"another run is materializing table under s3://.*process \d+ on"):
            build(store_of(address), "a1")
    build(store_of(address), "a1")


@pytest.mark.parametrize("is_late", [False, True], ids=["before the other has published", "after it"])
def test_a_lease_that_nobody_renews_is_taken_over_and_the_loser_publishes_nothing(
    address, machine, monkeypatch, is_late
):
    monkeypatch.setattr(lease, "SECONDS_BETWEEN_RENEWALS", 3600)
    slow = store_of(address)
    with slow.building("table", "a1") as folder:
        (folder / "part.txt").write_text("slow")
        machine("second")
        monkeypatch.setattr(lease, "SECONDS_OF_A_LEASE", -1)
        fast = store_of(address)
        with fast.building("table", "a1") as other:
            (other / "part.txt").write_text("fast")
            if is_late:
                fast.finish("table", "a1", {})
            with pytest.raises(ArtifactError, match="another run is materializing table"):
                slow.finish("table", "a1", {})
            if not is_late:
                fast.finish("table", "a1", {})
    assert (slow.reusable("table", "a1").path / "part.txt").read_text() == "fast"
    machine("third")
    assert (read(store_of(address)) / "part.txt").read_text() == "fast"


def test_what_is_taken_up_again_takes_no_lease_from_a_builder_of_the_same_machine(address, machine):
    store, builder = store_of(address), store_of(address)
    build(store, "a1")
    working_copy_of(store.root).bucket.delete(["assets/table/a1/manifest.json"])  # as when an upload was cut
    with builder.building("table", "b2") as folder:
        (folder / "part.txt").write_text("b")
        with pytest.raises(ArtifactError, match="another run is materializing table"):
            store.select(store.reusable("table", "a1"))
        builder.finish("table", "b2", {})
    store.select(store.reusable("table", "a1"))
    machine("second")
    assert store_of(address).current("table").fingerprint == "a1"


def test_a_lease_is_renewed_as_long_as_its_holder_lives(address, machine, monkeypatch):
    monkeypatch.setattr(lease, "SECONDS_BETWEEN_RENEWALS", 0.05)
    store = store_of(address)
    copy = working_copy_of(store.root)
    with store.building("table", "a1"):
        before = json.loads(copy.bucket.get("assets/table/lease").content)["renewals"]
        while json.loads(copy.bucket.get("assets/table/lease").content)["renewals"] < before + 2:
            pass
    assert copy.bucket.get("assets/table/lease").content == lease.FREE


def test_a_part_that_is_damaged_in_the_bucket_is_named_and_made_again(address, machine):
    first = store_of(address)
    build(first, "a1")
    copy = working_copy_of(first.root)
    copy.bucket.put("assets/table/a1/sub/part.txt", b"rotten")
    machine("second")
    with pytest.raises(ArtifactError, match=r"assets/table/a1/sub/part.txt is damaged.*materialize table again"):
        read(store_of(address))
    assert not list((open_home(address) / "assets").rglob("part.txt"))
    assert store_of(address).reusable("table", "a1") is None
    build(store_of(address), "a1")
    machine("third")
    assert (read(store_of(address)) / "sub" / "part.txt").read_text() == "made"


@pytest.mark.parametrize("after_bytes", [0, 3000], ids=["before", "in the midst"])
def test_a_connection_that_is_lost_while_it_is_published_loses_nothing_and_the_next_run_goes_on(
    address, machine, proxy, after_bytes
):
    store = store_of(address)
    with store.building("table", "a1") as folder:
        (folder / "part.txt").write_bytes(bytes(200_000))
        proxy.cut(after_bytes)
        with pytest.raises(ArtifactError, match=r"s3://programmes/home cannot be reached: .*kept in the working copy"):
            store.finish("table", "a1", {})
    proxy.mend()
    machine("second")
    with pytest.raises(ArtifactError, match="has not been materialized"):
        store_of(address).current("table")
    machine("first")
    again = store_of(address)
    again.select(again.reusable("table", "a1"))
    machine("second")
    assert (read(store_of(address)) / "part.txt").stat().st_size == 200_000


def test_a_connection_that_is_lost_while_a_version_is_fetched_leaves_no_half_of_it(address, machine, proxy):
    build(store_of(address), "a1", "x" * 100_000)
    machine("second")
    store = store_of(address)
    proxy.cut(900)
    with pytest.raises(BucketError, match="cannot be reached"):
        read(store)
    assert not list(store.root.rglob("*.txt"))
    proxy.mend()
    assert (read(store) / "sub" / "part.txt").stat().st_size == 100_000


def refusal(home: str) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_home(home)
    assert SECRET not in f"{caught.value}{caught.value.__cause__}"
    return str(caught.value)


def test_a_bucket_that_does_not_exist_is_refused(address, machine):
    assert refusal("s3://another/home").startswith("s3://another/home: the bucket does not exist")


@pytest.fixture
def user(address, s3_port):
    """The keys of somebody who may do nothing, at a server that from now on asks who is there."""
    iam = boto3.client("iam", "us-east-1", endpoint_url=f"http://127.0.0.1:{s3_port}")
    iam.create_user(UserName="guest")
    keys = iam.create_access_key(UserName="guest")["AccessKey"]
    ask(s3_port, "POST", "moto-api/reset-auth", b"0")
    yield keys
    ask(s3_port, "POST", "moto-api/reset-auth", b"Infinity")


def test_wrong_credentials_are_refused(address, machine, user):
    assert "the credentials are wrong or have expired: set AWS_ACCESS_KEY_ID" in refusal(address)


def test_a_bucket_without_permission_is_refused(address, machine, user, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", user["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", user["SecretAccessKey"])
    assert "s3://programmes/home: permission is denied: reading, writing, listing and deleting" in refusal(address)


def test_an_endpoint_that_nobody_answers_at_is_refused(address, machine, proxy):
    proxy.cut()
    assert "cannot be reached" in refusal(address)


def test_a_clock_that_is_wrong_is_refused(address, machine, monkeypatch):
    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(UTC) + timedelta(hours=2)

    monkeypatch.setattr(working_copy, "datetime", Ahead)
    assert "this machine's clock is 120 minutes ahead of the bucket's" in refusal(address)


def test_a_working_copy_keeps_no_credentials(address, machine, tmp_path: Path):
    build(store_of(address), "a1")
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert texts
    assert not [text for text in texts if SECRET in text]
    assert BUCKET in "".join(texts)


def test_every_object_is_read_when_a_home_is_verified_and_what_is_damaged_is_made_again(address, machine):
    store = store_of(address)
    build(store, "a1")
    assert list(verify(open_home(address))) == []
    working_copy_of(store.root).bucket.put("assets/table/a1/sub/part.txt", b"rotten")
    (problem,) = verify(open_home(address))
    assert problem.message.startswith("s3://programmes/home/assets/table/a1/sub/part.txt is damaged")
    problem.repair()
    assert list(verify(open_home(address))) == []
    store.select(store.reusable("table", "a1"))
    machine("second")
    assert (read(store_of(address)) / "sub" / "part.txt").read_text() == "made"


def build_for_ever(home: str, begun: Path) -> None:
    with store_of(home).building("table", "a1") as folder:
        (folder / "left.txt").write_text("by the dead")
        begun.touch()
        time.sleep(600)


def test_a_holder_that_was_killed_is_not_waited_for_on_his_own_machine(address, machine, proxy, tmp_path):
    here = {**environment(proxy.port), "CONAN_CACHE": os.environ["CONAN_CACHE"]}
    process = fork(tmp_path / "log", build_for_ever, address, tmp_path / "begun", **here)
    while not (tmp_path / "begun").exists():
        assert process.is_alive(), (tmp_path / "log").read_text()
        time.sleep(0.05)
    with pytest.raises(ArtifactError, match="another run is materializing table"):
        build(store_of(address), "a1")
    kill(process)
    build(store_of(address), "a1")
    assert (read(store_of(address)) / "left.txt").read_text() == "by the dead"


def test_what_nobody_reads_and_old_releases_are_deleted_from_the_bucket(address, machine, monkeypatch):
    root = open_home(address)
    copy = working_copy_of(root)
    for name in ("releases/a1", "releases/b2", "releases/c3", "embeddings/read", "embeddings/unread"):
        copy.bucket.put(f"{name}/object", b"")
        time.sleep(1.1)  # the server's times are whole seconds
    copy.bucket.put("embeddings/read/read", b"")
    was_read = folders_of(copy, root / "embeddings")["read"]
    monkeypatch.setattr(WorkingCopy, "clock", lambda _: was_read + timedelta(days=30))
    delete_oldest(copy, root / "releases", 1, ["a1"])
    delete_unread(copy, root / "embeddings", 30)
    left = {name.rpartition("/")[0] for name in copy.bucket.list("") if not name.startswith("writers")}
    assert left == {"releases/a1", "releases/c3", "embeddings/read"}


@pytest.mark.parametrize("condition", [b"if-none-match", b"if-match"], ids=["create", "replace"])
def test_a_store_that_does_not_hold_conditions_is_refused(address, machine, proxy, condition):
    proxy.hides = condition
    assert "its store does not hold If-None-Match and If-Match, so that two runs would overwrite" in refusal(address)


def test_a_manifest_that_names_a_part_elsewhere_writes_nothing_there(address, machine):
    store = store_of(address)
    build(store, "a1")
    copy = working_copy_of(store.root)
    name = "assets/table/a1/manifest.json"
    manifest = unseal_bytes(copy.bucket.get(name).content, name)
    copy.bucket.put("assets/table/evil.txt", b"evil")
    copy.bucket.put(name, seal({**manifest, "parts": {"../evil.txt": digest_of(b"evil")}}).encode())
    machine("second")
    with pytest.raises(ArtifactError, match=r"names \.\./evil\.txt, which lies elsewhere"):
        read(store_of(address))
    assert not list(open_home(address).rglob("evil.txt"))
