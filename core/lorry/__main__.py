"""The `lorry` command, and `python -m lorry`."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it in one line, while Python still imports it and whoever swallows it too."""
    interruptions: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        interruptions.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        from lorry.cli import main as run

        run()
    except KeyboardInterrupt:
        _end_interrupted()
    except Exception:
        if not interruptions:
            raise
        _end_interrupted()  # a library that is interrupted while it is imported fails later, with other words
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # there is nothing left to stop


def _end_interrupted() -> None:
    sys.stderr.write("lorry: interrupted; nothing half-written is left\n")
    sys.exit(130)


if __name__ == "__main__":
    main()
