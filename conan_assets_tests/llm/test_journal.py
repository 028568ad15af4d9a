from dataclasses import replace

import pytest

from conan_assets.llm.journal import Answer, AnswerJournal, JournalError, Submission

ANSWER = Answer("猫 \n purrs", "stop", 10, 5)


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


def test_a_line_that_a_kill_left_unfinished_is_cut_off_and_the_journal_goes_on(tmp_path):
    path = tmp_path / "journal.jsonl"
    with AnswerJournal(path) as journal:
        journal.record("k1", ANSWER)
    with path.open("ab") as file:
        file.write(b'{"key": "k2", "conte')
    with AnswerJournal(path) as journal:
        assert len(journal) == 1
        journal.record("k3", ANSWER)
    with AnswerJournal(path) as journal:
        assert (journal.find("k1"), journal.find("k2"), journal.find("k3")) == (ANSWER, None, ANSWER)


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text("not json\n")
    with pytest.raises(JournalError, match=r"journal\.jsonl: line 1 is damaged"), AnswerJournal(path):
        pass


def test_a_second_run_is_refused_while_the_first_writes(tmp_path):
    with (
        AnswerJournal(tmp_path / "j"),
        pytest.raises(JournalError, match="another run is writing"),
        AnswerJournal(tmp_path / "j"),
    ):
        pass


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
