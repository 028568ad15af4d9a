"""Which errors may be gone at the next attempt."""

TRANSIENT_STATUS = {408, 409, 425, 429, *range(500, 600)}
TRANSIENT_NAMES = {
    "APIConnectionError",  # openai
    "ConnectionError",
    "OutOfMemoryError",  # torch: another process has filled the GPU
    "TimeoutError",
    "TransportError",  # httpx2
}
"""Types of libraries that need not be installed here."""


def is_transient(error: BaseException) -> bool:
    """Return whether ``error``, or what caused it, may be gone at the next attempt: a network, an endpoint, a GPU.

    An error that says so itself, by an attribute ``is_transient``, speaks for its causes too.
    """
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    if any(type(link).__name__ == "OfflineModeIsEnabled" for link in chain):
        return False
    for link in chain:
        told = getattr(link, "is_transient", None)
        if told is not None or _is_transient(link):
            return told is not False
    return False


def _is_transient(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status_code", getattr(getattr(error, "response", None), "status_code", None))
    return bool(names & TRANSIENT_NAMES) or status in TRANSIENT_STATUS
