"""`python -m hookline.cli` is the `hookline` command."""

from hookline.cli import main

main()
