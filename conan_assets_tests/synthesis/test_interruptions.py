"""What is paid for is kept: a run is interrupted, or its disk becomes full, while calls are in flight."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conan_assets.artifacts import ArtifactError, ArtifactStore
from conan_assets.llm.client import Asker
from conan_assets.llm.journal import JOURNAL, AnswerJournal, JournalError
from conan_assets.synthesis.generation import generate_pairs
from conan_assets_tests.defs.conftest import small_disk as small_disk
from conan_assets_tests.llm.server import ChatServer, Reply
from conan_assets_tests.synthesis.passages import CORPUS, PAIRS, settings, two_questions

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from pathlib import Path
from conan_assets.llm.client import Asker
from conan_assets.synthesis.generation import generate_pairs
from conan_assets_tests.synthesis.passages import *

address = type("Address", (), {"base_url": sys.argv[1]})
chosen = settings(address, {"concurrency": 8, "timeout_seconds": 5.0}, max_pairs=80)
if sys.argv[3] == "pairs":
    generate_pairs(chosen, CORPUS, PAIRS, Path(sys.argv[2]))
else:
    Asker(chosen, Path(sys.argv[2]))([[{"role": "user", "content": text}] for text in CORPUS["text"]])
"""


def slow(number: int, body: dict) -> Reply:
    return Reply(two_questions(number, body).content, delay_seconds=0.5)


def interruptible(command: list[str], **options: object) -> subprocess.Popen:
    """Start a process that an interrupt ends, even where a shell in the background has the tests ignore it."""
    return subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options)


def wait_for_requests(server: ChatServer, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(server.requests) < count and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.parametrize("asks_for", ["pairs", "verdicts"])
def test_an_interrupted_run_keeps_the_answers_to_the_calls_in_flight(tmp_path, asks_for):
    with ChatServer(slow) as server:
        command = [sys.executable, "-c", PROGRAM, server.base_url, str(tmp_path), asks_for]
        process = interruptible(command, stderr=subprocess.PIPE, text=True)
        wait_for_requests(server, 12)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        asked = len(server.requests)
    assert error.rstrip().endswith("KeyboardInterrupt")
    assert 12 <= asked < 30
    assert len(AnswerJournal.answers_in(tmp_path / JOURNAL)) == asked


def test_a_second_interrupt_does_not_wait(tmp_path):
    stuck = Reply("{}", delay_seconds=4.0)
    with ChatServer(lambda number, body: stuck) as server:
        process = interruptible([sys.executable, "-c", PROGRAM, server.base_url, str(tmp_path), "pairs"])
        wait_for_requests(server, 8)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    assert time.monotonic() - started < 2.5


class FullDisk:
    """A script that fills a disk while the calls that it answers are in flight."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, number: int, body: dict) -> Reply:
        if number == 12:
            with (self.folder / "filler").open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4_096)):
                        pass
                except OSError:
                    pass
        long = "x" * 3_000 if number >= 12 else ""
        return Reply(two_questions(number, body).content + long, delay_seconds=0.3)


@pytest.mark.parametrize("asks_for", ["pairs", "verdicts"])
def test_a_disk_that_becomes_full_keeps_the_answers_in_flight_and_is_named(small_disk, tmp_path, asks_for):
    folder = tmp_path / "home" / "journal"
    folder.parent.mkdir()
    folder.symlink_to(small_disk)
    store = ArtifactStore(tmp_path / "home" / "assets")
    full = pytest.raises(ArtifactError, match=rf"the disk is full: .*free some space for {small_disk / JOURNAL}")
    with ChatServer(FullDisk(small_disk)) as server:
        chosen = settings(server, {"concurrency": 8}, max_pairs=80)
        with full, store.building("prompt_response_pairs", "version"):
            if asks_for == "pairs":
                generate_pairs(chosen, CORPUS, PAIRS, folder)
            else:
                Asker(chosen, folder)([[{"role": "user", "content": text}] for text in CORPUS["text"]])
        asked = len(server.requests)
        assert 12 <= asked < 30
        assert len(AnswerJournal.answers_in(folder / JOURNAL)) == asked
        with pytest.raises(JournalError, match="its disk is full"):
            generate_pairs(chosen, CORPUS, PAIRS, folder)
        assert len(server.requests) == asked
        (small_disk / "filler").unlink()
        server.script = two_questions
        assert generate_pairs(chosen, CORPUS, PAIRS, folder)[0].height == 80
