"""``python -m hpsearch``: the command line."""

from hpsearch.cli import main

main()
