"""Shared vocabulary (fields, motifs, views, tables, settings) and the command line.

Imports go one way: ``salesviews`` <- ``sinks`` <- ``processors`` and ``salesviews`` <- ``web``.
"""

__version__ = "0.1.0"
