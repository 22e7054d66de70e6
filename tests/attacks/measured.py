"""Run command lines one after the other, each in a process of its own, and tell what each took.

The processes are copies of one that has started already, so that what is measured is the work alone, and a corpus of
hundreds of files takes seconds. Reads a JSON list of command lines on stdin; prints a line of JSON for each:
{"code", "out", "cpu" (seconds, with those of processes it started), "memory" (bytes at the peak, of the largest one)}.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence

from lorry.cli import main
from lorry.ops.judging import validate as _validate  # noqa: F401  what a start imports is no work of the command
from lorry.plugin.host import host


def run(arguments: Sequence[str]) -> dict[str, object]:
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.argv = ["lorry", *arguments]
            code = 70
            try:
                main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
            finally:
                sys.stdout.flush()
                os._exit(code)
        _, status, used = os.wait4(child, 0)
        said.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "out": said.read().decode(),
            "cpu": used.ru_utime + used.ru_stime,
            "memory": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        }


if __name__ == "__main__":
    plugins = host()
    for group in (plugins.containers, plugins.dialects, plugins.kinds, plugins.base_models):
        group()
    for each in json.load(sys.stdin):
        print(json.dumps(run(each)), flush=True)  # noqa: T201  its result is what it prints
