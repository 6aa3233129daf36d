"""The dashboard and its API: Flask over DuckDB, from the snapshots of Silver that the manifest names.

``app`` puts it together from ``snapshot`` (what is served), ``pipeline`` (what Kafka says) and ``routes``; ``server``
runs it.
"""

from web.app import create_app

__all__ = ["create_app"]
