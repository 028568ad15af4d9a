"""Deleting objects of which some are gone already: the others go, whether the store minds or not."""

import pytest

from conan_assets.bucket.objects import Bucket

pytestmark = pytest.mark.slow


def require_deleted(bucket: Bucket) -> None:
    names = [f"folder/{number}" for number in range(30)]
    for name in names[::2]:
        bucket.put(name, b"content")
    bucket.put("folder/kept", b"content")
    bucket.delete(names)
    bucket.delete(names[:1])
    assert [*bucket.list("folder")] == ["folder/kept"]


def test_what_is_gone_already_does_not_keep_the_others_in_s3(address):
    require_deleted(Bucket(address))


def test_what_is_gone_already_does_not_keep_the_others_in_a_store_that_minds(tmp_path):
    import obstore
    from obstore.store import from_url

    address = tmp_path.as_uri()
    with pytest.raises(FileNotFoundError):
        obstore.delete(from_url(address), ["folder/0"])
    require_deleted(Bucket(address))
