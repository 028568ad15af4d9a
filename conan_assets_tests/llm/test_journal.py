import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conan_assets.llm.journal import Answer, AnswerJournal, JournalError, Submission

ANSWER = Answer("猫 \n purrs", "stop", 10, 5, model="tiny")


def test_an_answer_is_found_in_a_later_run(tmp_path):
    with AnswerJournal(tmp_path / "new" / "journal.jsonl") as journal:
        journal.record("k1", ANSWER)
        assert journal.find("k2") is None
    with AnswerJournal(tmp_path / "new" / "journal.jsonl") as journal:
        assert journal.find("k1") == ANSWER


def test_an_answer_is_on_disk_before_the_journal_is_closed(tmp_path):
    with AnswerJournal(tmp_path / "journal.jsonl") as journal:
        journal.record("k1", ANSWER)
        assert (tmp_path / "journal.jsonl").read_bytes().endswith(b"\n")


@pytest.mark.parametrize("torn", [b'{"key": "k2", "conte', b"\x00\x00\x00", b"{"])
def test_a_line_that_a_kill_left_unfinished_is_cut_off_and_the_journal_goes_on(tmp_path, torn):
    path = tmp_path / "journal.jsonl"
    with AnswerJournal(path) as journal:
        journal.record("k1", ANSWER)
    with path.open("ab") as file:
        file.write(torn)
    with AnswerJournal(path) as journal:
        assert len(journal) == 1
        journal.record("k3", ANSWER)
    with AnswerJournal(path) as journal:
        assert (journal.find("k1"), journal.find("k2"), journal.find("k3")) == (ANSWER, None, ANSWER)


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "{}",
        "null",
        "[]",
        "7",
        '"text"',
        '{"batch": null}',
        '{"batch": {"name": 1, "endpoint": "e", "keys": []}}',
        '{"key": 1, "content": "", "finish_reason": "", "prompt_tokens": 1, "completion_tokens": 1}',
        '{"key": "k", "content": null, "finish_reason": "", "prompt_tokens": 1, "completion_tokens": 1}',
        '{"key": "k", "content": "", "finish_reason": "", "prompt_tokens": "1", "completion_tokens": 1}',
        '{"key": "k", "content": "", "finish_reason": "", "prompt_tokens": -1, "completion_tokens": 1}',
        '{"key": "k", "content": "", "finish_reason": "", "prompt_tokens": 1, "completion_tokens": 1, "more": 1}',
        '{"key": "k", "content": ""}',
        "[" * 100_000,
    ],
)
def test_a_damaged_line_is_named_with_the_way_out(tmp_path, line):
    path = tmp_path / "journal.jsonl"
    with AnswerJournal(path) as journal:
        journal.record("k1", ANSWER)
    with path.open("a") as file:
        file.write(f"{line}\n")
    damaged = rf"journal\.jsonl: line 2 is damaged \(.*\); delete that line, .*: sed -i 2d {path}"
    with pytest.raises(JournalError, match=damaged), AnswerJournal(path):
        pass
    with pytest.raises(JournalError, match=damaged):
        AnswerJournal.answers_in(path)


@given(st.data())
def test_whatever_byte_is_damaged_no_other_answer_is_read(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        with AnswerJournal(path) as journal:
            journal.record("k1", ANSWER)
            journal.record("k2", replace(ANSWER, content='{"pairs": [], "digest": "0"}', refusal="no"))
        written = AnswerJournal.answers_in(path)
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try:
            read = AnswerJournal.answers_in(path)
        except JournalError as error:
            assert "is damaged" in str(error)  # noqa: PT017 (either outcome is right)
        else:
            assert read.items() <= written.items()


def test_lines_without_a_digest_are_read_as_earlier_versions_wrote_them(tmp_path):
    old = {"key": "k", "content": "yes", "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 2}
    (tmp_path / "j").write_text(json.dumps(old | {"refusal": None}) + "\n")
    assert AnswerJournal.answers_in(tmp_path / "j") == {"k": Answer("yes", "stop", 1, 2)}


def test_a_line_that_could_not_be_written_whole_leaves_nothing_behind(tmp_path, monkeypatch):
    def writes_ten_bytes(file: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(5, "Input/output error")
        return real_write(file, data[:10])

    real_write = os.write
    with AnswerJournal(tmp_path / "j") as journal:
        journal.record("k1", ANSWER)
        monkeypatch.setattr(os, "write", writes_ten_bytes)
        with pytest.raises(JournalError, match=r"cannot write to the journal .*/j: Input/output error"):
            journal.record("k2", ANSWER)
        monkeypatch.undo()
        journal.record("k3", ANSWER)
    assert list(AnswerJournal.answers_in(tmp_path / "j")) == ["k1", "k3"]


def test_a_second_run_is_refused_while_the_first_writes(tmp_path):
    second = AnswerJournal(tmp_path / "j", reserve_bytes=10)
    with AnswerJournal(tmp_path / "j", reserve_bytes=10):
        with pytest.raises(JournalError, match="another run is writing"), second:
            pass
        assert (tmp_path / "j.reserve").stat().st_size == 10
    assert not (tmp_path / "j.reserve").exists()


def test_the_answers_can_be_read_while_a_run_writes_and_where_there_is_no_file(tmp_path):
    with AnswerJournal(tmp_path / "j") as journal:
        journal.record("k1", ANSWER)
        assert AnswerJournal.answers_in(tmp_path / "j") == {"k1": ANSWER}
    assert AnswerJournal.answers_in(tmp_path / "missing" / "j") == {}
    assert not (tmp_path / "missing").exists()


def test_a_batch_is_known_to_a_later_run_until_it_is_collected(tmp_path):
    sent = Submission("name", "here", ("k1", "k2"), "batch-1")
    with AnswerJournal(tmp_path / "j") as journal:
        journal.note(replace(sent, batch_id=None))
        journal.note(sent)
        journal.note(replace(sent, name="other", keys=("k3",)))
    with AnswerJournal(tmp_path / "j") as journal:
        assert journal.uncollected(["k2", "k9"], "here") == [sent]
        assert journal.uncollected(["k2"], "elsewhere") == []
        assert journal.uncollected(["k9"], "here") == []
        journal.note(replace(sent, collected=True))
    with AnswerJournal(tmp_path / "j") as journal:
        assert journal.uncollected(["k2"], "here") == []
        assert len(journal) == 0


def test_a_folder_in_the_place_of_a_journal_is_named(tmp_path: Path):
    (tmp_path / "j").mkdir()
    with pytest.raises(JournalError, match=r"j cannot be read: Is a directory"):
        AnswerJournal.answers_in(tmp_path / "j")
