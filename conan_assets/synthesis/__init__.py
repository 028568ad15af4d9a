"""Pairs written by a generator: an LLM behind an OpenAI-compatible endpoint, or sentences of the passages."""
