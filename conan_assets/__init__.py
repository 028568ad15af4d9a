"""Train text-embedding models with more and better negative samples, as one Dagster asset graph."""
