"""The dashboard and its API: Flask over DuckDB, from the snapshots of Silver that the manifest names.

``app`` puts it together from ``snapshot`` (what is served), ``pipeline`` (what Kafka says), ``events`` (what changes)
and ``routes``; ``server`` runs it, through ``gateway``. An endpoint is declared as a value (``endpoints``) beside its
route; one that gives rows says which query answers a request, and ``rows`` does the rest. ``grouping`` makes the
queries of views, ``openapi`` describes it all.
"""

from web.app import create_app

__all__ = ["create_app"]
