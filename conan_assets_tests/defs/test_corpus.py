"""The sources as they are read: what a run that is killed meanwhile leaves behind."""

import multiprocessing
import os
import signal

import pytest

from conan_assets.defs import corpus
from conan_assets.files import remove_leftovers
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import run


def _die_while_reading(settings: Settings) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(corpus, "read_source", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        run(settings, 'key:"raw_corpus"')


@pytest.mark.slow
def test_what_a_killed_run_had_read_is_removed_and_a_finished_one_leaves_nothing(miniature: Settings):
    killed = multiprocessing.get_context("spawn").Process(target=_die_while_reading, args=(miniature,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    (left,) = miniature.home.glob(".sources*")
    assert left.is_dir()
    run(miniature, 'key:"raw_corpus"')
    assert list(miniature.home.glob(".sources*")) == [left]
    assert remove_leftovers(miniature.home) == 1
    assert not left.exists()
