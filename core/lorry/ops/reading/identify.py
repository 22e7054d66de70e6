"""What a source may be: every dialect and base asked, every answer scored, every refusal with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lorry.errors import InvalidFile
from lorry.ir.layer import Layer
from lorry.ir.module_path import ModulePath
from lorry.ir.tensor_map import TensorMap
from lorry.ops.reading.grammar import compiled
from lorry.ops.reading.parse import Shapes, parse
from lorry.ops.reading.readings import Draft, Readings
from lorry.plugin.base_model import BaseModel, Probe
from lorry.plugin.dialect import Dialect
from lorry.plugin.host import Host
from lorry.plugin.kind import kernel_untold

CLAIM_FIELDS = ("ss_base_model_version", "modelspec.architecture")


class Candidate(NamedTuple):
    """One way of reading a source, with how well it goes.

    `score` is the share of keys it explains, from 0 to 1. `evidence` decides between equal scores: widths
    of published models and the header's own claim, each for or against. `reason` says in words what speaks
    for it, or what it missed. `broken` is set where the source is this dialect's but damaged.
    """

    dialect: str
    base: str = ""
    score: float = 0.0
    evidence: int = 0
    reason: str = ""
    kinds: tuple[str, ...] = ()
    layers: int = 0
    tokens: tuple[str, ...] = ()
    broken: InvalidFile | None = None
    draft: Draft | None = None

    @property
    def rank(self) -> tuple[float, int]:
        """What candidates are ordered by."""
        return self.score, self.evidence


class Identity(NamedTuple):
    """All candidates for a source, best first; the refused ones have score 0."""

    path: Path
    container: str
    candidates: tuple[Candidate, ...]
    keys: int

    @property
    def best(self) -> Candidate | None:
        """Return the best candidate, or None where nothing reads the source."""
        first = self.candidates[0] if self.candidates else None
        return first if first and first.score > 0 else None

    @property
    def rivals(self) -> tuple[Candidate, ...]:
        """Return the candidates that are as good as the best one."""
        return tuple(each for each in self.candidates if self.best and each.rank == self.best.rank)[1:]


def candidates(
    source: TensorMap,
    plugins: Host,
    base: str | None = None,
    shapes: Shapes | None = None,
) -> tuple[Candidate, ...]:
    """Ask every dialect about a source, for every base or for one; best first."""
    refusals = {dialect: dialect.refuse(source) for dialect in plugins.dialects().values()}
    for dialect, refusal in refusals.items():
        if dialect.unreadable and refusal is None:
            return (Candidate(dialect=dialect.name, reason=f"{dialect.title}: {dialect.unreadable}"),)
    found = _ask(source, plugins, refusals, base, shapes)
    return tuple(sorted(found, key=lambda each: each.rank, reverse=True))


def names_stranger(candidate: Candidate, source: TensorMap, plugins: Host) -> bool:
    """Tell whether a candidate says that the source is something else by name, which lorry does not read."""
    dialect = plugins.dialects()[candidate.dialect]
    return bool(dialect.unreadable) and dialect.refuse(source) is None


def _ask(
    source: TensorMap,
    plugins: Host,
    refusals: Mapping[Dialect, str | None],
    only: str | None,
    shapes: Shapes | None,
) -> Iterator[Candidate]:
    kinds = tuple(plugins.kinds().values())
    bases = [base for base in plugins.base_models().values() if only in (None, base.id)]
    for dialect, refusal in refusals.items():
        if refusal:
            yield Candidate(dialect=dialect.name, reason=refusal)
            continue
        grammars = [compiled(dialect, base, kinds) for base in bases]
        if not grammars:
            continue
        try:
            readings = Readings(source, grammars[0])
        except InvalidFile as error:
            told = Candidate(dialect=dialect.name, reason=str(error), broken=error)
            yield from (told._replace(base=base.id) for base in bases)
            continue
        for grammar in grammars:
            draft = parse(source, grammar, readings, shapes)
            yield _score(dialect.name, grammar.base, source, draft, plugins)


def _score(dialect: str, base: BaseModel, source: TensorMap, draft: Draft, plugins: Host) -> Candidate:
    if draft.broken:
        error = next(iter(draft.broken.values()))
        return Candidate(dialect=dialect, base=base.id, reason=str(error), broken=error, draft=draft)
    total = len(draft.used) + len(draft.unmapped)
    if not draft.used:
        missed = next(iter(draft.unmapped.items()), ("", "it holds no tensors"))
        return Candidate(dialect=dialect, base=base.id, reason=f"{missed[0]}: {missed[1]}", draft=draft)
    contradiction, evidence = _probe(base, draft, plugins)
    if contradiction:
        return Candidate(dialect=dialect, base=base.id, reason=contradiction, draft=draft)
    words = [f"{len(draft.used)} of {total} keys"]
    if draft.unmapped:
        words.append("{}: {}".format(*next(iter(draft.unmapped.items()))))
    claim = next((source.metadata[key] for key in CLAIM_FIELDS if key in source.metadata), "")
    if claimed_base(claim, plugins) == base.id:
        evidence += 1
        words.append(f"the header says {claim}")
    if evidence > 0:
        words.append("widths agree" if not claim else "")
    if base.component(source.folder):
        evidence += 1
        words.append(f"the folder is named {source.folder}")
    layers = [layer for each in draft.layers.values() for layer in each]
    return Candidate(
        dialect=dialect,
        base=base.id,
        score=len(draft.used) / total,
        evidence=evidence,
        reason=", ".join(word for word in words if word),
        kinds=_kinds(layers, draft),
        layers=len(layers),
        tokens=tuple(draft.tokens),
        draft=draft,
    )


def claimed_base(claim: str, plugins: Host) -> str:
    """Return the id of the base that a header means by this name: the longest claim wins; "" where none goes by it."""
    said = claim.lower()
    found = [
        (len(own), base.id) for base in plugins.base_models().values() for own in base.claims if said.startswith(own)
    ]
    return max(found, default=(0, ""))[1]


def _kinds(layers: Iterable[Layer], draft: Draft) -> tuple[str, ...]:
    return tuple(sorted({layer.kind for layer in layers} | ({"textual-inversion"} if draft.tokens else set())))


def target_shapes(layers: Mapping[ModulePath, Iterable[Layer]], plugins: Host) -> dict[ModulePath, tuple[int, ...]]:
    """Return the weight shape each module must have, as far as the layers' slots tell (-1: not told)."""
    found: dict[ModulePath, tuple[int, ...]] = {}
    for path, shape in targets(layers, plugins):
        if path not in found or shape.count(-1) < found[path].count(-1):
            found[path] = shape
    return found


def targets(
    layers: Mapping[ModulePath, Iterable[Layer]], plugins: Host
) -> Iterator[tuple[ModulePath, tuple[int, ...]]]:
    """Yield the weight shape that every single layer is made for, several for one module where there are several."""
    kinds = plugins.kinds()
    for path, stack in layers.items():
        for layer in stack:
            target = kinds[layer.kind].target
            if layer.param == "weight" and target:
                yield path, target(layer.slots)


def probe_shapes(base: BaseModel, shapes: Mapping[ModulePath, tuple[int, ...]]) -> tuple[str, int]:
    """Hold shapes against a base's probes: return what rules it out, if anything, and the evidence of widths."""
    evidence = 0
    for probe in base.probes:
        hits = [
            (path, shape)
            for path, shape in shapes.items()
            if path.component == probe.component and path.name.endswith(probe.module)
        ]
        if not hits:
            continue
        if probe.present is False:
            return f"{hits[0][0]} exists, and {base.title} has none", 0
        for path, shape in hits:
            if probe.ndim is not None and not kernel_untold(shape) and len(shape) != probe.ndim:
                return f"{path} has {len(shape)} axes, {base.title} has {probe.ndim}", 0
            if probe.ratio and len(shape) > 1 and -1 not in shape[:2] and shape[0] != probe.ratio * shape[1]:
                return f"{path} is {shape[0]} by {shape[1]}, {base.title} has {probe.ratio} to 1", 0
        widths = {shape[1] for _, shape in hits if len(shape) > 1} - {-1}
        if probe.widths and widths:
            evidence += 1 if widths <= set(probe.widths) else -1
    return "", evidence


def variants(base: BaseModel, shapes: Mapping[ModulePath, tuple[int, ...]], *, whole: bool = False) -> tuple[str, ...]:
    """Return the published models of a family that no shape contradicts; none at widths that were never published.

    What is missing only speaks against a variant where the shapes are those of a `whole` base model.
    """
    return tuple(
        name for name, probes in base.variants.items() if all(_agrees(probe, shapes, whole=whole) for probe in probes)
    )


def _agrees(probe: Probe, shapes: Mapping[ModulePath, tuple[int, ...]], *, whole: bool) -> bool:
    hits = [
        shape
        for path, shape in shapes.items()
        if path.component == probe.component and path.name.endswith(probe.module)
    ]
    if not hits:
        return not (probe.present and whole)
    widths = {shape[1] for shape in hits if len(shape) > 1} - {-1}
    return probe.present is not False and (not probe.widths or widths <= set(probe.widths))


def _probe(base: BaseModel, draft: Draft, plugins: Host) -> tuple[str, int]:
    ends = tuple(probe.module for probe in base.probes)
    probed = {path: stack for path, stack in draft.layers.items() if path.name.endswith(ends)}
    contradiction, evidence = probe_shapes(base, target_shapes(probed, plugins))
    for token in draft.tokens.values():
        for name, ref in token.vectors.items():
            component = base.component(name)
            evidence += 1 if component and component.embedding == ref.shape[1] else -1
    return contradiction, evidence
