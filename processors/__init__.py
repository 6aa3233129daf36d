"""The stream processors: ``ingest`` (raw to Bronze and typed batches) and ``views`` (typed batches to Silver)."""
