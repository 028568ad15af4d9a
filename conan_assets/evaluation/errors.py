"""What goes wrong in an evaluation."""


class EvaluationError(ValueError):
    """A suite cannot be evaluated; the message names the suite, what was found and what to do."""
