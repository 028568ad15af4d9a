"""One log line every few seconds for long work: count, rate and time left."""

import logging
import time
from collections.abc import Callable

SECONDS_OF_SILENCE = 15.0

logger = logging.getLogger("conan_assets")


class Progress:
    """Count finished items and log how it goes.

    Parameters
    ----------
    what
        What is done to what, such as ``"encoding texts"``.
    total
        Number of items in all.
    every_seconds
        Least time between two lines.
    """

    def __init__(
        self, what: str, total: int, every_seconds: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.what = what
        self.total = total
        self.every_seconds = every_seconds
        self.done = 0
        self._clock = clock
        self._started = self._logged = clock()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    @property
    def per_second(self) -> float:
        """Finished items per second since the start."""
        return self.done / max(self.seconds, 1e-9)

    def pulse(self) -> None:
        """Log that work goes on, between two items, if the last line is :data:`SECONDS_OF_SILENCE` old."""
        now = self._clock()
        if now - self._logged >= SECONDS_OF_SILENCE:
            self._logged = now
            logger.info("%s: working on %s of %s", self.what, f"{self.done + 1:,}", f"{self.total:,}")

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Add ``count`` finished items; log a line, ending in ``detail``, if the last one is old enough."""
        self.done += count
        now = self._clock()
        if now - self._logged < self.every_seconds and self.done < self.total:
            return
        self._logged = now
        left = (self.total - self.done) / max(self.per_second, 1e-9)
        logger.info(
            "%s: %s of %s, %.1f per second, %.0f s left%s",
            self.what,
            f"{self.done:,}",
            f"{self.total:,}",
            self.per_second,
            left,
            f", {detail}" if detail else "",
        )
