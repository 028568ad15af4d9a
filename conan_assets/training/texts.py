"""The texts of a step: each once for every role it plays."""

QUERY, DOCUMENT = 0, 1

Text = tuple[int, str]
"""A role, which decides prompt and length limit, and a text."""


class TextNumbers:
    """Numbers texts in the order they are first seen."""

    def __init__(self) -> None:
        self._numbers: dict[Text, int] = {}

    def number(self, role: int, text: str) -> int:
        """Return the number of a text."""
        return self._numbers.setdefault((role, text), len(self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def texts(self) -> list[Text]:
        """All texts in the order of their numbers."""
        return list(self._numbers)
