"""Delta commits that carry positions: ``bronze`` (append) and ``silver`` (append, overwrite, manifest)."""
