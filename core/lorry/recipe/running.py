"""Running a plan: step by step, each result whole or not there, so that a run that was stopped goes on."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lorry.algebra.device import checked_device
from lorry.errors import Conflict, Incompatible, InvalidArgument, LorryWarning, NotRepresentable
from lorry.ir.adapter import Adapter
from lorry.ops.bases.base import Base, open_base
from lorry.ops.disk.alone import alone
from lorry.ops.disk.output import check_target, remove
from lorry.ops.disk.tensor_digest import digest_of
from lorry.ops.reading.read import open_adapter, opened_as
from lorry.ops.writing.write import chosen
from lorry.plugin.host import Host, host
from lorry.recipe.comparing import Compared, compare
from lorry.recipe.document import Output
from lorry.recipe.finding import Finder, Found
from lorry.recipe.plan import Step, plan
from lorry.recipe.reading import Read, read_recipe
from lorry.recipe.steps import Job, Watch, do

T = TypeVar("T")

_STEP = re.compile(r"[0-9a-f]{16}")
_DEVICES = ("cuda", "xpu", "mps")


class Ran(NamedTuple):
    """What a recipe made, how, and how it compares with what had been made before (None where nothing tells)."""

    path: Path
    steps: tuple[Step, ...]
    compared: Compared | None


def run_recipe(  # noqa: PLR0913  every option is a keyword with a default
    recipe: str | Path | Mapping[str, Any],
    output: str | Path,
    *,
    inputs: Mapping[str, str | Path] | None = None,
    find_in: Sequence[str | Path] = (),
    device: str | None = None,
    force: bool = False,
    plugins: Host | None = None,
) -> Ran:
    """Make at `output` what a recipe says: a file of JSON or YAML, what lorry made, or the document itself.

    inputs: paths of inputs and models by the names that the recipe has for them. find_in: folders to search for the
    digests it tells. device: where it was computed the first time if this machine has that, else the CPU. Steps that
    are finished are kept beside the output until all are, and a second run takes them.

    Raises InvalidFile for what is no recipe, NotFound for what goes in and is nowhere, VerificationFailed where the
    result is another one than the recipe expects (it is kept), and whatever its operations raise.
    """
    plugins = plugins or host()
    read = read_recipe(recipe, plugins)
    given = {name: Path(path) for name, path in (inputs or {}).items()}
    finder = Finder(plugins=plugins, folder=read.folder, given=given, below=[Path(each) for each in find_in])
    run = Running(read, plan(read.recipe, finder), Path(output), device=device, force=force, plugins=plugins)
    for _ in run.run():
        pass
    return run.finish()


class Running:
    """A run in steps: `run` does what is not done yet, `finish` compares the result."""

    def __init__(  # noqa: PLR0913  every option is a keyword with a default
        self,
        read: Read,
        steps: tuple[Step, ...],
        output: Path,
        *,
        device: str | None = None,
        force: bool = False,
        watch: Watch[Any] | None = None,
        plugins: Host | None = None,
    ) -> None:
        self.read, self.steps, self.output = read, steps, output
        self.folder = output.parent / f".{output.name}.recipe"
        self._device, self._force = checked_device(device, float64=False) if device else None, force
        self._watch, self._plugins = watch or _unwatched, plugins or host()
        check_target(output, force=force)
        if output.exists() and any(output.samefile(path) for path in read.made):
            raise InvalidArgument(f"{output} is what the recipe is read from; choose another output, to compare them")
        if self.folder.is_symlink() or (self.folder.exists() and not _ours(self.folder)):
            raise Conflict(f"{self.folder} is no folder of a recipe that was stopped; move it away")

    def finished(self, step: Step) -> Path | None:
        """Return what a step has made already."""
        folder = self.folder / step.id
        if step is self.steps[-1] or not folder.is_dir():
            return None
        return next((path for path in folder.iterdir() if not path.name.startswith(".")), None)

    def run(self) -> Iterator[Step]:
        """Do every step that is not finished, and yield each when it is; remove in the end what is needed no more.

        Raises Conflict where another run makes the same output.
        """
        with alone(self.folder, self.output):
            for step in self.steps:
                if not self.finished(step):
                    try:
                        self._do(step)
                    except BaseException:
                        if not any(path.is_file() for path in self.folder.rglob("*")):
                            remove(self.folder)
                        raise
                yield step
            remove(self.folder)

    def finish(self) -> Ran:
        """Compare the result with what was there before, once `run` has been exhausted.

        Raises VerificationFailed where it is something else.
        """
        compared = compare(self.read, self.output, self._plugins)
        if compared:
            compared.check(f"{self.output} is written, and")
        return Ran(self.output, self.steps, compared)

    def _do(self, step: Step) -> None:
        last, folder = step is self.steps[-1], self.folder / step.id
        folder.mkdir(parents=True, exist_ok=True)
        base, tuned = self._model(step, "base"), self._model(step, "tuned")
        weights = [each.weight for each in step.recipe.inputs]
        adapters = [(self._adapter(each, base), weight) for each, weight in zip(step.inputs, weights, strict=True)]
        like = step.models.get("like")

        def place(format: str | None) -> Path:
            if last:
                return self.output
            return folder / (step.file or f"{step.name}{self._suffix(step, format, base)}")

        job = Job(
            adapters=adapters,
            base=base,
            tuned=tuned,
            like=self._paths(like)[0] if like else None,
            place=place,
            unfinished=folder / ".extraction",
            device=self._device or _device(step),
            force=self._force if last else True,
            watch=self._watch,
            plugins=self._plugins,
        )
        with _threads(step.recipe.by.threads):
            try:
                saved = do(step.recipe, job)
            except NotRepresentable as error:
                raise NotRepresentable(error.target, error.layers, _advice(step, error.able), error.able) from error
        if saved and saved.renamed and not last:
            remove(saved.path)
            raise Incompatible(
                f"a token goes by the name of its file in the format {saved.dialect}; give the nested recipe's output "
                "another format"
            )
        expect = step.recipe.expect
        if not last and expect and expect.tensor_digest != digest_of(self._paths(step)[0], self._plugins):
            warnings.warn(
                f"{step.name} came out with other tensors than the recipe tells; so may what is made of it",
                LorryWarning,
                stacklevel=2,
            )

    def _suffix(self, step: Step, format: str | None, base: Base | None) -> str:
        if format is not None:
            return next(iter(chosen(format, self._plugins)[1].suffixes), "")
        layout = None if isinstance(step.recipe.output, Output) else step.recipe.output.layout
        folder = layout == "diffusers" if layout else base is not None and base.path.is_dir()
        return "" if folder else ".safetensors"

    def _model(self, step: Step, name: str) -> Base | None:
        source = step.models.get(name)
        return open_base(self._paths(source)[0], self._plugins) if source else None

    def _adapter(self, source: Found | Step, base: Base | None) -> Adapter:
        paths = self._paths(source)
        adapter = open_adapter(paths[0] if len(paths) == 1 else paths, base, self._plugins)
        return opened_as(adapter, source.version) if isinstance(source, Found) else adapter

    def _paths(self, source: Found | Step) -> tuple[Path, ...]:
        if isinstance(source, Found):
            return source.paths
        made = self.finished(source)
        if made is None:
            raise AssertionError(f"{source.name} comes before what it goes into")
        return (made,)


def _advice(step: Step, able: Sequence[str]) -> str:
    """Say what to write in a recipe whose result does not fit into the format that it names."""
    if not isinstance(step.recipe.output, Output):
        return "choose another layout in the recipe's output, or write 'lossy: true' in its options"
    holding = f"one that can hold all of it ({', '.join(able)})" if able else "another one"
    lossy = (
        "write 'lossy: true' in its options"
        if step.recipe.op == "convert"
        else ("make this an input of a step 'op: convert' with the option 'lossy: true'")
    )
    return f"as format in the output of the recipe's {step.recipe.op} write {holding}, or {lossy}"


def _device(step: Step) -> str:
    """Return the device that computed the first time if this machine has it, else the CPU."""
    name = step.recipe.by.device
    if name in _DEVICES:
        with suppress(InvalidArgument):
            return checked_device(name, float64=False)
    return "cpu"


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Let torch compute in as many threads as the first time, if that is known."""
    import torch

    before = torch.get_num_threads()
    if number is None or number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ours(folder: Path) -> bool:
    return folder.is_dir() and all(_STEP.fullmatch(path.name) and path.is_dir() for path in folder.iterdir())


def _unwatched(items: Iterable[T], _total: int, _what: str) -> Iterator[T]:
    return iter(items)
