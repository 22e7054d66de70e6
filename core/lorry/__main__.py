"""`python -m lorry` is the `lorry` command."""

from lorry.cli import main

main()
