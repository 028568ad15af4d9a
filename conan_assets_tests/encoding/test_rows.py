"""Where rows lie and which parts there are, besides what test_store asks of the whole."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conan_assets.encoding.row_index import KEY, RowIndex, halves_of
from conan_assets.encoding.row_parts import Part, PartList, append_line, read_parts
from conan_assets.files import atomic_path

KEYS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2**64 - 1)), max_size=30)
"""Keys of which many share their first half."""


def keys_of(halves: list[tuple[int, int]]) -> np.ndarray:
    return np.array(halves, np.uint64).reshape(-1, 2).view(KEY).reshape(-1)


@given(KEYS, KEYS, st.integers(0, 10))
def test_every_key_is_found_where_it_was_added_and_no_other(first, second, asked):
    stored = keys_of([*first, *second])
    index = RowIndex(lambda numbers: stored[numbers])
    index.add([(0, halves_of(stored[: len(first)]))])
    index.add([(len(first), halves_of(stored[len(first) :]))])
    wanted = np.concatenate([stored, keys_of([(2, asked), (9, asked)])])
    for key, number in zip(wanted, index.find(wanted), strict=True):
        places = np.flatnonzero(stored == key)
        assert number == (places[0] if len(places) else -1)


@given(KEYS)
def test_what_is_removed_is_not_found_and_the_rest_still_is(keys):
    stored = keys_of(list(dict.fromkeys(keys)))
    index = RowIndex(lambda numbers: stored[numbers])
    index.add([(0, halves_of(stored))])
    index.remove(0, len(stored) // 2)
    expected = np.where(np.arange(len(stored)) < len(stored) // 2, -1, np.arange(len(stored)))
    np.testing.assert_array_equal(index.find(stored), expected)


def test_rows_beyond_the_numbers_of_32_bits_are_found():
    key = keys_of([(1, 2)])
    index = RowIndex(lambda numbers: np.where(numbers == 2**32 + 5, key, np.zeros(1, KEY)))
    index.add([(7, halves_of(keys_of([(1, 3)])))])
    index.add([(2**32 + 5, halves_of(key))])
    assert index.find(key).tolist() == [2**32 + 5]


def part(start: int) -> Part:
    return Part(start, 10, 4, "a", "b")


def test_a_list_says_what_was_appended_since_and_what_a_new_file_lacks(tmp_path):
    path = tmp_path / "parts"
    parts = PartList(path)
    for start in (0, 10):
        append_line(path, part(start).line())
    assert parts.update().added == [part(0), part(10)]
    append_line(path, part(20).line())
    assert parts.update().added == [part(20)]
    with atomic_path(path) as written:
        written.write_text(part(10).line() + part(30).line())
    changes = parts.update()
    assert (changes.added, changes.dropped) == ([part(30)], [part(0), part(20)])
    assert parts.parts == [part(10), part(30)]


def test_a_line_that_a_kill_cut_off_is_none_and_the_next_takes_its_place(tmp_path):
    path = tmp_path / "parts"
    path.write_text(part(0).line() + part(10).line()[:20])
    parts = PartList(path)
    assert parts.update().added == [part(0)]
    append_line(path, part(30).line())
    assert parts.update().added == [part(30)]
    assert read_parts(path) == ([part(0), part(30)], 0)


def test_a_line_that_was_changed_is_counted_and_not_read(tmp_path):
    path = tmp_path / "parts"
    path.write_text(part(0).line() + part(10).line().replace("10", "11") + part(20).line())
    assert read_parts(path) == ([part(0), part(20)], 1)
