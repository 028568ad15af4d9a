"""The asset graph: every module here is one stage, in the order the data flows."""
