import logging

import pytest

from conan_assets.progress import Progress


def test_a_line_is_logged_every_few_seconds_with_rate_and_time_left(caplog: pytest.LogCaptureFixture):
    now = [0.0]
    with caplog.at_level(logging.INFO, logger="conan_assets"):
        progress = Progress("encoding texts", 1000, every_seconds=5, clock=lambda: now[0])
        for _ in range(10):
            now[0] += 1
            progress.advance(50)
    assert [record.message for record in caplog.records] == [
        "encoding texts: 250 of 1,000, 50.0 per second, 15 s left",
        "encoding texts: 500 of 1,000, 50.0 per second, 10 s left",
    ]


def test_the_end_is_always_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="conan_assets"):
        Progress("scoring pairs", 3).advance(3, "loss 0.5")
    assert caplog.records[-1].message.startswith("scoring pairs: 3 of 3")
    assert caplog.records[-1].message.endswith("0 s left, loss 0.5")


def test_an_item_that_takes_long_is_spoken_of(caplog: pytest.LogCaptureFixture):
    now = [0.0]
    with caplog.at_level(logging.INFO, logger="conan_assets"):
        progress = Progress("training", 9, clock=lambda: now[0])
        for _ in range(40):
            now[0] += 1
            progress.pulse()
    assert [record.message for record in caplog.records] == ["training: working on 1 of 9"] * 2
