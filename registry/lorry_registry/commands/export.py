"""lorry export: write versions to a file."""

from __future__ import annotations

from pathlib import Path

import click

from lorry.cli import options
from lorry.cli.output import count, echo, echo_json, progress
from lorry_registry.commands import arguments


@click.command("export")
@click.argument("references", metavar="NS/NAME[@VERSION]...", nargs=-1, required=True)
@click.option(
    "-o", "--output", "path", metavar="FILE.tar", required=True, type=click.Path(dir_okay=False, path_type=Path)
)
@click.option("--with-parents", is_flag=True, help="With all published versions that they were made from.")
@click.option("--force", is_flag=True, help="Replace FILE.tar.")
@options.as_json
def command(references: tuple[str, ...], path: Path, with_parents: bool, force: bool, as_json: bool) -> None:
    """Write versions to a file that lorry import reads, with what is said of them and their aliases.

    The file is an OCI image layout, which tools for registries read too. The same versions make the same bytes.
    """
    from lorry_registry import Registry
    from lorry_registry.bundle.carry import Export

    work = Export(Registry().store, references, path, with_parents=with_parents, force=force)
    done = list(progress(work.run(), len(work.versions), "exporting"))
    if as_json:
        versions = [{"reference": str(each.reference), "manifest": each.digest} for each in done]
        echo_json({"path": str(path), "versions": versions})
        return
    for each in done:
        echo(str(each.reference))
    echo(f"{count(len(done), 'version')} in {path}: {arguments.size(path.stat().st_size)}")
