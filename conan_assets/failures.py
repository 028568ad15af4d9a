"""Which errors may be gone at the next attempt."""

TRANSIENT_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}
TRANSIENT_NAMES = {
    "APIConnectionError",  # openai
    "ConnectionError",
    "OutOfMemoryError",  # torch: another process has filled the GPU
    "TimeoutError",
    "TransportError",  # httpx2
}
"""Types of libraries that need not be installed here."""


def is_transient(error: BaseException) -> bool:
    """Return whether ``error``, or what caused it, may be gone at the next attempt: a network, an endpoint, a GPU."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    if any(type(link).__name__ == "OfflineModeIsEnabled" for link in chain):
        return False
    return any(_is_transient(link) for link in chain)


def _is_transient(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status_code", getattr(getattr(error, "response", None), "status_code", None))
    return bool(names & TRANSIENT_NAMES) or status in TRANSIENT_STATUS or getattr(error, "is_transient", False)
