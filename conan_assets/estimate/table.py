"""A plan as a table for a terminal, in units that a reader takes in."""

from collections.abc import Iterator, Sequence

from conan_assets.estimate.plan import Planned

HEADER = ("asset", "rows", "disk", "device", "one core", "memory", "requests", "cost")


def table_of(planned: Sequence[Planned], devices: int) -> Iterator[str]:
    """Yield the lines of a plan's table; ``devices`` share a device's time evenly."""
    for row in _rows(planned, devices):
        yield "  ".join([f"{row[0]:26}", *(f"{cell:>11}" for cell in row[1:])]).rstrip()


def _rows(planned: Sequence[Planned], devices: int) -> Iterator[tuple[str, ...]]:
    yield HEADER
    for each in planned:
        yield _row(each.asset, f"{each.rows:,}", each, devices)
    total = Planned(
        "in all",
        0,
        sum(each.stored for each in planned),
        sum(each.device_seconds for each in planned),
        sum(each.host_seconds for each in planned),
        max(each.memory for each in planned),
        sum(each.requests for each in planned),
        sum(each.cost for each in planned),
    )
    yield _row(total.asset, "", total, devices)


def _row(name: str, rows: str, planned: Planned, devices: int) -> tuple[str, ...]:
    return (
        name,
        rows,
        size_of(planned.stored),
        time_of(planned.device_seconds / devices),
        time_of(planned.host_seconds),
        size_of(planned.memory),
        f"{planned.requests:,}" if planned.requests else "",
        f"{planned.cost:,.2f}" if planned.cost else "",
    )


def size_of(count: float) -> str:
    """Return bytes for a reader: 512 MB, 1.2 TB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1000 else f"{count:,.0f} TB"


def time_of(seconds: float) -> str:
    """Return a time for a reader: 40 s, 12 min, 3.5 h, 90 d."""
    for limit, unit, length in ((120, "s", 1), (7200, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < limit:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 86400:,.3g} d" if seconds < 1000 * 86400 else f"{seconds / 86400:,.0f} d"
