"""Hard negatives: find what looks relevant to a query and is not, and show how that was decided."""
