"""``python -m salesviews``: the command line."""

from salesviews.cli import main

main()
