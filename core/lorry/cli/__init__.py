"""The `lorry` command. Each command is one file beside this one, imported when it is run."""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import os
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

import click

from lorry import __version__
from lorry.cli.output import clean, complain, note, reason, shortened
from lorry.errors import LorryError, LorryWarning

if TYPE_CHECKING:
    from lorry.plugin.command import Command

COMMANDS: Mapping[str, str] = {
    "inspect": "Say what a file is, what it holds and what it fits.",
    "identify": "Name format, base and kinds, with every candidate's reasons.",
    "validate": "Check a file thoroughly: accept, warn or reject.",
    "metadata": "Show, set and mend the header of a file.",
    "convert": "Write an adapter in another format, with proof.",
    "convert-base": "Write a base model in another layout.",
    "extract": "Make an adapter of what a fine-tune changed.",
    "resize": "Change the ranks of an adapter.",
    "merge": "Make one adapter of several.",
    "bake": "Add adapters to a base model's weights.",
    "run-recipe": "Make what a recipe says, step by step.",
    "diff": "Compare two adapters layer by layer.",
    "generate": "Draw pictures with adapters attached.",
    "plugins": "List plugins and what they provide.",
}
"""Commands of core, with the line of help that `lorry --help` shows without importing them."""


_NO_MEMORY = "allocate memory"
"""What torch says where Python would raise MemoryError."""

_CLOSED_PIPE = 141
"""What a shell reports for a program that died of SIGPIPE."""


class LazyGroup(click.Group):
    """A group whose commands are found by name and imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """List core's commands, then those that plugins add."""
        return [*COMMANDS, *sorted(name for name in self._added() if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Import one command."""
        if cmd_name in COMMANDS:
            module = importlib.import_module(f"lorry.cli.{cmd_name.replace('-', '_')}")
            return _command(module, "command")
        added = self._added()
        if cmd_name not in added:
            return None
        module_name, _, attribute = added[cmd_name].load.partition(":")
        return _command(importlib.import_module(module_name), attribute)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; end quietly where whoever reads the output has left (click itself would say 1)."""
        try:
            result: object = super().invoke(ctx)
            if sys.stdout is not None:  # it is closed where a shell says >&-
                sys.stdout.flush()
        except BrokenPipeError:
            # Point stdout elsewhere, so that the interpreter's last flush is quiet too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(_CLOSED_PIPE)
        return result

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first argument, or offer the nearest names."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            import difflib

            near = difflib.get_close_matches(name, self.list_commands(ctx), n=3, cutoff=0.5)
            advice = f"did you mean {' or '.join(near)}?" if near else "see lorry --help"
            ctx.fail(f"no command is named {name!r}; {advice}{self._broken()}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's
        """Write the list of commands from their one-line helps alone."""
        added = self._added()
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        from lorry.plugin.command import NO_TOPIC

        for topic in sorted(dict.fromkeys(each.topic for each in added.values()), key=lambda each: each == NO_TOPIC):
            with formatter.section(topic):
                formatter.write_dl([(name, each.help) for name, each in added.items() if each.topic == topic])
        if broken := self._broken():
            formatter.write_text(broken.lstrip("; "))

    @staticmethod
    def _added() -> Mapping[str, Command]:
        from lorry.plugin.host import host

        return host().commands()

    @staticmethod
    def _broken() -> str:
        from lorry.plugin.host import host

        broken = host().broken("commands")
        return "".join(f"; plugin {label} cannot be loaded: {error}" for label, error in broken.items())


def _command(module: object, attribute: str) -> click.Command:
    command = getattr(module, attribute)
    if not isinstance(command, click.Command):
        raise TypeError(f"{module!r} has no click command {attribute!r}")
    return _hushable(command)


def _hushable(command: click.Command) -> click.Command:
    """Give a command and those below it the option -q, which people write behind the command as well as before it."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _hushable(each)
    elif all("-q" not in each.opts for each in command.params):
        hush = click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_hush,
            help="Print results only, no notes and no progress.",
        )
        command.params.append(hush)
    return command


def _hush(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001  click's signature
    if value:
        ctx.find_root().params["quiet"] = True


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Documentation of every command: lorry COMMAND --help",
)
@click.option("-q", "--quiet", is_flag=True, help="Print results only, no notes and no progress.")
@click.version_option(__version__, message="lorry %(version)s")
def cli(quiet: bool) -> None:
    """Read, convert, merge, publish, pull and run diffusion adapters of any make."""


def _show_warnings_as_notes() -> None:
    python_shows = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, LorryWarning):
            note(f"warning: {message}")
        else:
            python_shows(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def _show_notes(error: BaseException) -> bool:
    """Show what is noted on an error; return whether there was anything."""
    causes = (error, error.__cause__)  # click raises Abort from an interruption
    notes = [told for each in causes for told in getattr(each, "__notes__", ())]
    for told in notes:
        note(told)
    return bool(notes)


def main() -> None:
    """Run the command line; turn every lorry error into one line and its exit code."""
    # What a start makes (modules, classes, tables) lives to the end: collecting among it finds nothing and takes
    # a tenth of the time of a short command; so does the interpreter's last collection.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    _show_warnings_as_notes()
    try:
        code = cli.main(prog_name="lorry", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        complain("interrupted" if _show_notes(error) else "interrupted; nothing half-written is left")
        code = 130
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        click.echo(shortened(clean(told.getvalue())), err=True, nl=False)
        code = error.exit_code
    except LorryError as error:
        _show_notes(error)
        complain(str(error))
        code = error.exit_code
    except OSError as error:
        _show_notes(error)
        complain(reason(error))
        code = 1
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or _NO_MEMORY in str(error)):
            raise
        complain("there is not enough memory for this; nothing half-written is left")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
