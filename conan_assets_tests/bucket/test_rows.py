"""Stored rows that several machines share through a bucket."""

import numpy as np
import pytest

from conan_assets.bucket.errors import BucketError
from conan_assets.bucket.working_copy import open_home, working_copy_of
from conan_assets.encoding.row_index import KEY
from conan_assets.encoding.rows import StoredRows

pytestmark = pytest.mark.slow

WIDTH = 8


def keys_of(*numbers: int) -> np.ndarray:
    return np.array([f"text {number:010d}".encode() for number in numbers], KEY)


def rows_of(*numbers: int) -> np.ndarray:
    return np.array([np.full(WIDTH, number) for number in numbers], np.float32)


def opened(home: str) -> StoredRows:
    return StoredRows(open_home(home) / "embeddings" / "space-float32", np.dtype("float32"))


def append(rows: StoredRows, *numbers: int) -> None:
    rows.append(keys_of(*numbers), rows_of(*numbers))


def assert_holds(rows: StoredRows, *numbers: int) -> None:
    found = rows.locate(keys_of(*numbers))
    assert (found >= 0).all()
    np.testing.assert_array_equal(rows.map()[found], rows_of(*numbers))


def test_rows_of_one_machine_are_found_on_another_and_only_the_parts_that_are_asked_for(address, machine):
    first = opened(address)
    append(first, 1, 2, 3)
    append(first, 4, 5)
    assert_holds(first, 1, 2, 3, 4, 5)
    machine("second")
    second = opened(address)
    assert_holds(second, 2)
    assert len(second.map()) == 3
    append(second, 6)
    assert_holds(second, 1, 5, 6)
    machine("first")
    assert_holds(first, 6)
    assert_holds(opened(address), 1, 6)


def test_rows_that_could_not_be_uploaded_are_put_there_when_they_are_opened_next(address, machine, proxy):
    first = opened(address)
    proxy.cut()
    append(first, 1, 2)
    with pytest.raises(BucketError, match="cannot be reached"):
        first.locate(keys_of(1))
    proxy.mend()
    assert (opened(address).locate(keys_of(1, 3)) >= 0).tolist() == [True, False]
    machine("second")
    assert_holds(opened(address), 1, 2)


@pytest.mark.parametrize("suffix", [".rows", ".keys"])
def test_damaged_rows_are_named_and_computed_again(address, machine, suffix, caplog):
    first = opened(address)
    append(first, 1, 2)
    assert_holds(first, 1)
    copy = working_copy_of(open_home(address))
    (name,) = (name for name in copy.bucket.list("embeddings") if name.endswith(suffix))
    copy.bucket.put(name, b"rotten")
    machine("second")
    second = opened(address)
    assert (second.locate(keys_of(1, 2)) < 0).all()
    assert f"s3://programmes/home/{name} is damaged" in caplog.text
    append(second, 1, 2)
    assert_holds(second, 1, 2)
    machine("third")
    assert_holds(opened(address), 1, 2)
