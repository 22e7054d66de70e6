"""Extracting an adapter from a fine-tune: tuned - base, layer by layer, one pair of tensors in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from lorry.algebra.device import checked_device
from lorry.errors import Incompatible, InvalidArgument
from lorry.ir.adapter import Adapter
from lorry.ir.tensor import require_torch
from lorry.ops.bases.base import Base, open_base
from lorry.ops.extracting.finished import Finished, FinishedInFolder, FinishedInMemory
from lorry.ops.extracting.layer import UNCHANGED, cut_pairs
from lorry.ops.extracting.pairs import LOW_RANK, Forms, Pair, match
from lorry.ops.extracting.result import highest_rank, layers_of, own_dtype, spread_size, told
from lorry.ops.extracting.scratch import Scratch
from lorry.ops.extracting.tokens import new_tokens
from lorry.ops.headers.recipe import recipe, told_model
from lorry.ops.ranks.aim import Aim, rank_aim
from lorry.ops.ranks.report import RankReport
from lorry.plugin.host import Host, host

_TOGETHER = 16
"""Layers of one shape that an accelerator works on at once."""


class Extracted(NamedTuple):
    """The adapter, and what became of every layer."""

    adapter: Adapter
    report: RankReport


def extract(  # noqa: PLR0913  every option is a keyword with a default
    tuned: Base | str | Path,
    base: Base | str | Path,
    *,
    rank: int | None = None,
    energy: float | None = None,
    error: float | None = None,
    size: int | str | None = None,
    conv: str = "linear",
    full: bool = False,
    others: bool = True,
    dtype: str | None = None,
    device: str = "cpu",
    plugins: Host | None = None,
) -> Adapter:
    """Return the adapter that makes the tuned model of the base, as far as low rank can hold the difference.

    Ranks: a number (32 if nothing is said), the share of each layer's ‖ΔW‖² to keep (`energy`), the relative error
    of each layer to stay below (`error`), or the bytes of the whole adapter, spread over layers where they keep
    most (`size`, "50MB"). Each error is at most 1.001 times the smallest possible for its rank.

    conv: convolutions as "linear" (a kernel in down), "1x1" (others left out), "tucker" or "full". full: all in full.
    others: biases, norms and new words too. dtype: F32, F16 or BF16; the tuned model's own if not given. Raises
    Incompatible for models that do not belong together or are the same, and InvalidFile for NaN.
    """
    work = Extraction(
        tuned,
        base,
        rank_aim(rank=rank, energy=energy, error=error, size=size),
        Forms(convolutions=conv, full=full, others=others),
        dtype=dtype,
        device=device,
        plugins=plugins,
    )
    for _ in work.run():
        pass
    return work.finish().adapter


class Extraction:
    """An extraction in steps: `run` finishes layers one by one, `finish` makes the adapter of them.

    With a `folder`, finished layers are kept there, and the next extraction of the same goes on from them.
    """

    def __init__(  # noqa: PLR0913  every option is a keyword with a default
        self,
        tuned: Base | str | Path,
        base: Base | str | Path,
        aim: Aim,
        forms: Forms,
        *,
        dtype: str | None = None,
        device: str = "cpu",
        folder: Path | None = None,
        plugins: Host | None = None,
    ) -> None:
        require_torch("extracting")
        self._plugins = plugins or host()
        self._tuned = tuned if isinstance(tuned, Base) else open_base(tuned, self._plugins)
        self._base = base if isinstance(base, Base) else open_base(base, self._plugins)
        self._model = self._plugins.get("base_models", self._base.id)
        self._aim, self._forms, self._device = aim, forms, checked_device(device)
        if aim.size and forms.convolutions == "tucker":
            raise InvalidArgument("a size cannot be spread over layers in Tucker form; give a rank, or another form")
        self._pairs, self._left_out = match(self._tuned, self._base, self._model, forms)
        self._dtype = dtype or own_dtype(self._pairs)
        self._rank = highest_rank(self._pairs, aim.size, self._dtype) if aim.size else aim.rank
        self._finished: Finished = FinishedInFolder(folder, self._what()) if folder else FinishedInMemory()

    @property
    def total(self) -> int:
        """How many parameters there are to compare."""
        return len(self._pairs)

    @property
    def done(self) -> int:
        """How many of them are finished."""
        return sum(map(self._finished.has, range(self.total)))

    def run(self) -> Iterator[Pair]:
        """Finish every layer that is not yet finished, and yield each."""
        scratch = Scratch()
        for numbers in self._groups():
            todo = [at for at in numbers if not self._finished.has(at)]
            if todo:
                pieces = cut_pairs([self._pairs[at] for at in todo], self._rank, scratch, self._device)
                for at, piece in zip(todo, pieces, strict=True):
                    self._finished.put(at, piece)
            yield from (self._pairs[at] for at in numbers)

    def finish(self) -> Extracted:
        """Make the adapter of all layers, once `run` has been exhausted; raise Incompatible for equal models."""
        found = [(pair, self._finished.get(at)) for at, pair in enumerate(self._pairs)]
        pieces = [(pair, piece) for pair, piece in found if piece.form != UNCHANGED]
        tokens = new_tokens(self._tuned, self._base, self._model) if self._forms.others else {}
        if not pieces and not tokens:
            self.clear()
            raise Incompatible(
                f"{self._tuned.path} and {self._base.path} hold the same weights; there is nothing to extract"
            )
        if self._aim.size:
            pieces = spread_size(pieces, tokens, self._aim.size, self._dtype)
        adapter = Adapter(base=self._base.id, layers=layers_of(pieces, self._dtype, self._plugins), tokens=tokens)
        return Extracted(adapter, RankReport(layers=tuple(told(*each) for each in pieces), left_out=self._left_out))

    def recipe(self, format: str) -> dict[str, Any]:
        """Tell how it is made, and in which format it is written."""
        options = {
            **self._aim.given,
            "conv": self._forms.convolutions,
            "full": self._forms.full,
            "others": self._forms.others,
        }
        return recipe(
            "extract",
            [],
            options,
            tuned=told_model(self._tuned, self._plugins),
            base=told_model(self._base, self._plugins),
            format=format,
            dtype=self._dtype,
            device=self._device,
        )

    def clear(self) -> None:
        """Forget finished layers, once the adapter is written."""
        self._finished.clear()

    def _groups(self) -> Iterator[list[int]]:
        """Yield the numbers of pairs to work on together: one by one, or several of one shape on an accelerator."""
        if self._device == "cpu":
            yield from ([at] for at in range(self.total))
            return

        def likeness(at: int) -> tuple[str, tuple[int, ...]]:
            return self._pairs[at].form, self._pairs[at].base.shape

        for (form, _), numbers in groupby(sorted(range(self.total), key=likeness), likeness):
            alike = list(numbers)
            step = _TOGETHER if form == LOW_RANK else 1
            yield from (alike[at : at + step] for at in range(0, len(alike), step))

    def _what(self) -> dict[str, object]:
        """Tell what is extracted and how, so that a later run knows its own."""
        files = [
            [str(file), file.stat().st_size, file.stat().st_mtime_ns]
            for base in (self._tuned, self._base)
            for file in base.files
        ]
        pairs = [[str(pair.at), pair.form] for pair in self._pairs]
        return {"files": files, "pairs": pairs, "ranks": self._aim.given, "highest": str(self._aim.size and self._rank)}
