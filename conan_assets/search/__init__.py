"""Finding and scoring documents behind one seam, the `Retriever`: BM25, embeddings, cross-encoders, stored scores."""
