"""How a language model is asked: requests, limits, budget, and the journal of its answers."""
