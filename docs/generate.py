"""Write the reference pages that the code itself knows: commands, hooks, formats, errors, the Python interface.

Two pages are of figures: those that the benchmarks recorded.

python docs/generate.py            write them
python docs/generate.py --check    exit 1 if one on disk differs from what would be written
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.metadata
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from recorded import performance_page, performance_pictures, reliability_page
from tables import table

import lorry
from lorry import errors, plugin
from lorry.cli import cli
from lorry.ops.judging.findings import CHECKS, MOST
from lorry.ops.merging.settings import accepts
from lorry.plugin import BaseModel, Dialect, Kind, Loader, MergeMethod, hookspecs
from lorry.plugin.host import GROUPS, Host
from lorry.recipe.document import schema
from lorry_registry.home import layout

REFERENCE = Path(__file__).parent / "reference"
PICTURES = Path(__file__).parent / "images" / "performance"

WIDTH = 100
"""Columns of the help texts."""

MARK = "<!-- Written by docs/generate.py from the code. Change the code, then run: make docs -->"

# Annotations are strings in a signature; defaults that are strings keep their quotes.
_QUOTED = re.compile(r"(: |-> )'([^']*)'")


def built_in() -> Host:
    """Return a host of lorry's own plugins, whatever else is installed."""
    return Host(entry_points=importlib.metadata.distribution("lorry").entry_points)


def code(names: Iterable[str]) -> str:
    """Set names as code, in a list."""
    return ", ".join(f"`{name}`" for name in names)


def cli_page() -> str:
    """Show the help of every command as the command line prints it."""
    root = click.Context(cli, info_name="lorry", terminal_width=WIDTH, **cli.context_settings)
    parts = ["# Command line", "`python -m lorry` is the same command.", _help(root)]
    for name in cli.list_commands(root):
        parts += _command_parts(root, name, level=2)
    return "\n\n".join(parts)


def _command_parts(parent: click.Context, name: str, level: int) -> list[str]:
    group = parent.command
    command = group.get_command(parent, name) if isinstance(group, click.Group) else None
    if command is None:
        raise LookupError(f"{parent.command_path} {name} cannot be loaded")
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH)
    parts = [f"{'#' * level} {context.command_path}", _help(context)]
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            parts += _command_parts(context, child, level + 1)
    return parts


def _help(context: click.Context) -> str:
    return f"```text\n{context.command.get_help(context)}\n```"


def hooks_page() -> str:
    """Tabulate the hooks, then every descriptor and what descriptors are made of, with their fields."""
    rows = []
    descriptors = []
    for group, (_, where) in GROUPS.items():
        name = where.partition(":")[2]
        descriptors.append(getattr(plugin, name))
        hook = inspect.getdoc(getattr(hookspecs, f"lorry_{group}"))
        table_name = f'`project.entry-points."lorry.{group}"`'
        rows.append((f"`lorry_{group}`", table_name, f"[`{name}`](#{name.lower()})", str(hook)))
    exported = [getattr(plugin, name) for name in vars(plugin)["__all__"]]
    parts = [each for each in exported if inspect.isclass(each) and each not in descriptors]
    return "\n\n".join(
        [
            "# Hooks",
            (
                f"A plugin is a module that states `LORRY_API = {hookspecs.API}`, implements one or more of these "
                "hooks, and is named in the entry-point table of each. A hook takes nothing and returns an iterable "
                "of descriptors. [The tutorial](../tutorial/write-a-plugin.md) builds one."
            ),
            table(("hook", "entry-point table", "descriptor", "what it adds"), rows),
            "Everything on this page is imported from `lorry.plugin`.",
            *(text for each in (*descriptors, *parts) for text in _contract(each)),
        ]
    )


def _contract(found: type) -> list[str]:
    """Describe a class by its docstring and, where it has fields, a table of them."""
    texts = [f"## {found.__name__}", f"```text\n{inspect.getdoc(found)}\n```"]
    if dataclasses.is_dataclass(found):
        optional = {field.name for field in dataclasses.fields(found) if not _required(field)}
    elif issubclass(found, tuple):
        optional = set(getattr(found, "_field_defaults", {}))
    else:
        return texts
    # The two ways of writing a record keep their annotations as text of different kinds.
    kinds = {name: getattr(kind, "__forward_arg__", kind) for name, kind in inspect.get_annotations(found).items()}
    rows = [(f"`{name}`", f"`{kind}`", "optional" if name in optional else "required") for name, kind in kinds.items()]
    return [*texts, table(("field", "type", ""), rows)]


def _required(field: dataclasses.Field[object]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def formats_page() -> str:
    """Tabulate containers and dialects, and which dialect holds which kind for which base."""
    host = built_in()
    kinds, bases = host.kinds(), host.base_models()
    read = [each for each in host.dialects().values() if not each.unreadable]
    refused = [each for each in host.dialects().values() if each.unreadable]
    containers = [
        (f"`{each.name}`", each.title, code(each.suffixes), "read, write" if each.write else "read")
        for each in host.containers().values()
    ]
    return "\n\n".join(
        [
            "# Formats",
            (
                "A format is a container and a dialect. What stands here comes with lorry; `lorry plugins` lists "
                "what your installation adds."
            ),
            "## Containers",
            table(("container", "", "suffixes", ""), containers),
            "## Dialects",
            table(
                ("dialect", "", "containers, default first"),
                [(f"`{each.name}`", each.title, code(each.containers)) for each in read],
            ),
            "## Which dialect holds which kind",
            table(
                ("dialect", "kinds"),
                [(f"`{each.name}`", code(kind.name for kind in kinds.values() if _holds(each, kind))) for each in read],
            ),
            "## Which dialect names the modules of which base",
            table(
                ("dialect", *(f"`{name}`" for name in bases)),
                [
                    (f"`{each.name}`", *(code(_named(each, base)) for base in bases.values()))
                    for each in read
                    if each.spellings
                ],
            ),
            "## Named and refused",
            "Files that are often taken for adapters. lorry says what they are, and reads none of them.",
            table(("name", "", "why"), [(f"`{each.name}`", each.title, each.unreadable) for each in refused]),
            "## Kinds",
            table(("kind", ""), [(f"`{each.name}`", each.title) for each in kinds.values()]),
            "## Bases",
            table(
                ("base", "", "components"),
                [(f"`{each.id}`", each.title, code(part.name for part in each.components)) for each in bases.values()],
            ),
        ]
    )


def _named(dialect: Dialect, base: BaseModel) -> list[str]:
    return [part.name for part in base.components if not dialect.naming or dialect.naming in part.naming]


def _holds(dialect: Dialect, kind: Kind) -> bool:
    spelled = any(spelling.family in dialect.spellings for spelling in kind.spellings)
    return spelled or any(layout.name in dialect.tokens for layout in kind.token_layouts)


def loaders_page() -> str:
    """Tabulate what every known tool loads: its rules, in the order in which they are tried."""
    return "\n\n".join(
        [
            "# Tools and what they load",
            (
                "`lorry inspect` ends with a line for each of these tools: whether it loads the adapter, and if not, "
                "why, and the command that mends it. The first rule that holds decides; [`Rule`](hooks.md#rule) says "
                "how the first column is read. Where none holds the answer is *not known*. *Loads wrong* means in "
                "part, or at another strength. Rules that are *measured* say what the tool did with a file of each "
                "layout."
            ),
            *(_loader(each) for each in built_in().loaders().values()),
        ]
    )


def _loader(tool: Loader) -> str:
    rows = [
        (
            " ".join(f"`{each}`" for each in rule.when.split()),
            rule.verdict,
            rule.because,
            code([rule.mend] if rule.mend else []),
        )
        for rule in tool.rules
    ]
    heading = f"## {tool.title} {tool.version}\n\n{tool.evidence.capitalize()}."
    return f"{heading}\n\n{table(('where', 'loads it?', 'because', 'mended by'), rows)}"


def validate_page() -> str:
    """Tabulate what `lorry validate` looks for, and how bad each is."""
    rows = [(each.level, each.what, each.why) for each in CHECKS.values()]
    return "\n\n".join(
        [
            "# Validate",
            (
                "`lorry validate PATH` prints what it finds and a verdict, the worst level among the findings: "
                "`accept` and `warn` exit with 0, `reject` with 8. With `--json` it is "
                '`{"verdict": …, "findings": [{"level": …, "where": …, "what": …}]}`, with `-r` one such line for each '
                "adapter, its `path` before it. `lorry.validate` returns the same as a `Verdict`."
            ),
            (
                "Every tensor is read, and a file again whose header tells a hash. Pickles are read "
                "[in a process of limited means](../decisions/0005-pickles-in-a-room-of-their-own.md). Of more than "
                f"{MOST} findings of one kind the rest are counted."
            ),
            (
                "*Reject* is what lorry would not use, or could only use to do harm; *warn* is what can be used and "
                "may not be what was meant."
            ),
            table(("level", "what", "why"), rows),
        ]
    )


def merge_methods_page() -> str:
    """Show what every merge method computes, where that comes from and what can be set."""
    return "\n\n".join(
        [
            "# Merge methods",
            (
                "`lorry merge --method NAME --set OPTION=VALUE`. ΔWᵢ is what the i-th adapter does to a parameter, wᵢ "
                "its weight there. Methods marked *factors* compute on up and down alone, whatever the size of the "
                "weights; the others give full differences unless a rank is asked for. "
                "[Merge](../how-to/merge.md) says which method when."
            ),
            *(_method(each) for each in built_in().merge_methods().values()),
        ]
    )


def _method(method: MergeMethod) -> str:
    on = ["factors"] * bool(method.factored) + ["any kind"] * bool(method.dense)
    facts = [("formula", method.formula), ("source", method.source), ("works on", ", ".join(on))]
    lines = "\n".join(f"- {name}: {text}" for name, text in facts)
    options = [
        (f"`{each.name}`", each.help, accepts(each), "" if each.default is None else str(each.default))
        for each in method.options
    ]
    listed = f"\n\n{table(('option', '', 'takes', 'default'), options)}" if options else ""
    return f"## {method.name}\n\n{method.title[0].upper()}{method.title[1:]}.\n\n{lines}{listed}"


def errors_page() -> str:
    """Show the exception tree as its own docstring draws it, then every class."""
    first, _, rest = str(inspect.getdoc(errors)).partition("\n\n")
    tree, _, rest = textwrap.dedent(rest).partition("\n\n")
    rows = [
        (f"`lorry.errors.{name}`", str(found.exit_code), str(inspect.getdoc(found)).replace("\n", " "))
        for name, found in vars(errors).items()
        if inspect.isclass(found) and issubclass(found, errors.LorryError)
    ]
    return "\n\n".join(
        [
            "# Errors",
            first,
            f"```text\n{textwrap.dedent(tree)}\n```",
            rest,
            "[Exit codes](exit-codes.md) shows what leads to each on the command line.",
            table(("class", "exit code", ""), rows),
        ]
    )


def python_page() -> str:
    """List the front door: every public function and class of `lorry`, as it documents itself."""
    parts = ["# Python", str(inspect.getdoc(lorry))]
    for name in sorted(set(lorry.__all__), key=lambda name: (inspect.isclass(getattr(lorry, name)), name.lower())):
        found = getattr(lorry, name)
        if inspect.isclass(found) and issubclass(found, errors.LorryError):
            continue
        parts += [f"## lorry.{name}", f"```python\n{_signature(name, found)}\n```"]
        parts += [f"```text\n{inspect.getdoc(found)}\n```"]
    return "\n\n".join(parts)


def _signature(name: str, found: object) -> str:
    if inspect.isclass(found):
        return f"class lorry.{name}"
    if callable(found):
        return f"lorry.{name}" + _QUOTED.sub(r"\1\2", str(inspect.signature(found)))
    return f"lorry.{name}"


def registry_page() -> str:
    """Show where everything stands in a registry's home, as the code that lays it out says."""
    first, _, rest = str(inspect.getdoc(layout)).partition("\n\n")
    return "\n\n".join(
        [
            "# Registry files",
            first,
            f"```text\n{rest}\n```",
            "[Why plain files](../decisions/0004-plain-files-are-the-truth.md)",
        ]
    )


def recipe_schema() -> str:
    """Write the JSON schema of recipes, for editors."""
    return json.dumps(schema(), indent=2, sort_keys=True)


PAGES = {
    "cli.md": cli_page,
    "errors.md": errors_page,
    "formats.md": formats_page,
    "hooks.md": hooks_page,
    "loaders.md": loaders_page,
    "merge-methods.md": merge_methods_page,
    "performance.md": performance_page,
    "python.md": python_page,
    "recipe-schema.json": recipe_schema,
    "registry.md": registry_page,
    "reliability.md": reliability_page,
    "validate.md": validate_page,
}


def _marked(name: str, text: str) -> str:
    return f"{text}\n" if name.endswith(".json") else f"{MARK}\n\n{text}\n"


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or compare them under --check; return the exit code."""
    stale = False
    wanted_by_path = {REFERENCE / name: _marked(name, write()) for name, write in PAGES.items()}
    wanted_by_path |= {PICTURES / name: f"{drawn}\n" for name, drawn in performance_pictures().items()}
    for path, wanted in wanted_by_path.items():
        name = path.name
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        if found == wanted:
            continue
        if "--check" in arguments:
            stale = True
            lines = found.splitlines(), wanted.splitlines()
            print("\n".join(difflib.unified_diff(*lines, f"{name} on disk", f"{name} from the code", n=1, lineterm="")))
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted, encoding="utf-8", newline="\n")
            print(f"wrote {path}")
    if stale:
        print("the generated pages differ from the code; run: make docs", file=sys.stderr)
    return int(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
