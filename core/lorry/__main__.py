"""The `lorry` command, and `python -m lorry`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C while Python still imports it ends as it does later."""
    try:
        from lorry.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("lorry: interrupted; nothing half-written is left\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
