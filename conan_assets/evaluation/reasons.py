"""Reasons why a task does not run."""

NO_EMBEDDINGS = "BM25 ranks documents and gives no embeddings"
"""The one reason that another attempt does not remove."""
