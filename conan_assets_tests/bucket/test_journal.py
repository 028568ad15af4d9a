"""The answers of an LLM that several machines share through a bucket."""

import json
import os
import time
from pathlib import Path

import pytest

from conan_assets.bucket.errors import BucketError
from conan_assets.bucket.working_copy import open_home
from conan_assets.llm import shared_journal
from conan_assets.llm.journal import Answer, AnswerJournal, JournalError, Submission
from conan_assets_tests.bucket.conftest import Proxy, environment
from conan_assets_tests.forked import fork, kill

pytestmark = pytest.mark.slow

ANSWER = Answer("猫 \n purrs", "stop", 10, 5, model="tiny")


def path_of(home: str) -> Path:
    return open_home(home) / "journal" / "answers.jsonl"


def test_an_answer_of_one_machine_is_not_paid_for_on_another(address, machine):
    with AnswerJournal(path_of(address)) as journal:
        journal.record("k1", ANSWER)
    with AnswerJournal(path_of(address)) as journal:
        journal.record("k2", ANSWER)
    machine("second")
    assert set(AnswerJournal.answers_in(path_of(address))) == {"k1", "k2"}
    with AnswerJournal(path_of(address)) as journal:
        assert journal.find("k1") == journal.find("k2") == ANSWER
        journal.record("k3", ANSWER)
    machine("first")
    with AnswerJournal(path_of(address)) as journal:
        assert len(journal) == 3


def test_a_batch_that_one_machine_handed_in_is_collected_by_another_while_that_is_still_at_it(address, machine):
    batch = Submission("batch", "endpoint", ("k1",), "id")
    with AnswerJournal(path_of(address)) as journal:
        journal.note(batch)
        machine("second")
        deadline = time.monotonic() + 20
        found = []
        while not found and time.monotonic() < deadline:
            with AnswerJournal(path_of(address)) as other:
                found = other.uncollected(["k1"], "endpoint")
        assert found == [batch]


def ask_until_killed(home: str) -> None:
    shared_journal.SECONDS_BETWEEN_PARTS = 0.05
    with AnswerJournal(path_of(home)) as journal:
        for number in range(1_000_000):
            journal.record(f"k{number}", ANSWER)
            time.sleep(0.005)


def test_a_machine_that_is_killed_loses_what_it_had_not_sent_and_sends_that_when_it_is_back(
    address, machine, proxy, tmp_path
):
    home = {**environment(proxy.port), "CONAN_CACHE": os.environ["CONAN_CACHE"]}
    process = fork(tmp_path / "log", ask_until_killed, address, **home)
    machine("second")
    deadline = time.monotonic() + 60
    while len(AnswerJournal.answers_in(path_of(address))) < 10 and time.monotonic() < deadline:
        time.sleep(0.1)
    kill(process)
    seen = AnswerJournal.answers_in(path_of(address))
    assert len(seen) >= 10, (tmp_path / "log").read_text()
    machine("first")
    with AnswerJournal(path_of(address)) as journal:
        count = len(journal)
    machine("second")
    assert len(AnswerJournal.answers_in(path_of(address))) == count >= len(seen)


def record_without_a_connection(path: Path, proxy: Proxy) -> None:
    with AnswerJournal(path) as journal:
        proxy.cut()
        journal.record("k1", ANSWER)


def test_answers_that_could_not_be_sent_are_sent_by_the_next_run(address, machine, proxy):
    path = path_of(address)
    with pytest.raises(BucketError, match="cannot be reached"):
        record_without_a_connection(path, proxy)
    proxy.mend()
    with AnswerJournal(path) as journal:
        assert journal.find("k1") == ANSWER
    machine("second")
    assert set(AnswerJournal.answers_in(path_of(address))) == {"k1"}


def test_a_line_that_is_damaged_here_is_not_sent_and_without_it_the_rest_is(address, machine):
    path = path_of(address)
    with AnswerJournal(path) as journal:
        for name in ("k1", "k2"):
            journal.record(name, ANSWER)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0].replace(b"purrs", b"barks") + lines[1])
    with pytest.raises(JournalError, match="line 1 is damaged"), AnswerJournal(path):
        pass
    path.write_bytes(lines[1])
    with AnswerJournal(path) as journal:
        journal.record("k3", ANSWER)
        assert journal.find("k1") == ANSWER
    listed = path.with_name(f"{path.name}{shared_journal.LIST}").read_text().splitlines()
    assert sum(length for _, length in map(json.loads, listed)) == path.stat().st_size
