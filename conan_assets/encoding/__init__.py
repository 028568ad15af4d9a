"""Turning texts into embeddings: find a model, load it, batch it well, and never encode the same text twice."""
