"""The stream processors: ``ingest`` (raw to Bronze and typed batches) and ``views`` (typed batches to Silver)."""

import warnings

# Quix Streams imports a client of a service that is not used here, which warns on standard error at each start.
warnings.filterwarnings("ignore", message="The httpx module is deprecated")
