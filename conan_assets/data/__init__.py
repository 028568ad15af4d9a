"""Corpora, queries and pairs: where they come from, what their tables look like, what is filtered out of them."""
