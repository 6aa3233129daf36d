"""Delta tables as files: where they are, what is in them, and what of them is damaged or gone."""
