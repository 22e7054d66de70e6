"""The laws of kinds: on weights, on fused modules, in use, in files; and of learned tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from lorry.plugin import Kind
from lorry.plugin.host import Host
from lorry.testing import strategies
from lorry.testing.beside import beside
from lorry.testing.kind import declared, files, fused, tokens, use, weights
from lorry.testing.kind.trial import Trial
from lorry.testing.laws import expect, hold, keep
from lorry.testing.samples import Form, Random, forms

_ROWS = st.sampled_from([6, 12, 18, 24, 30])
"""What divides into halves, thirds and sixths, for modules that are parts of fused ones."""


def check_kind(kind: Kind, *, examples: int = 8) -> None:
    """Hold a kind to every law of its contract; raise LawBroken for the first that is broken.

    Layers of every form in `samples` (or built from factors) are tried on `examples` weights each, linear and
    convolutions; then in one file of every installed dialect that spells the kind.
    """
    plugins, subject = beside("kinds", kind.name, kind), f"kind {kind.name!r}"
    for law in declared.LAWS:
        keep(subject, law, declared.Declared(kind, plugins))
    for layout in kind.token_layouts:
        hold(f"token layout {layout.name!r} of {subject}", tokens.LAWS, tokens.examples(layout), examples)
    for form in forms(kind).values():
        _hold(subject, weights.LAWS, kind, form, plugins, examples)
        if kind.timestep:
            _hold(subject, use.TIMESTEP_LAWS, kind, form, plugins, 1)
        if kind.apply:
            _hold(subject, [*fused.LAWS, *use.LAWS], kind, form, plugins, examples)
        for place in files.places(kind, plugins):
            hold(
                f"{subject} in dialect {place.dialect.name!r}",
                files.LAWS,
                files.examples(kind, form, place, plugins),
                2,
            )
    keep(subject, files.some_dialect_holds_it, files.Kept(kind, plugins))


def _hold(  # noqa: PLR0913, PLR0917  what a trial is made of
    subject: str, laws: Sequence[Callable[[Trial], None]], kind: Kind, form: Form, plugins: Host, count: int
) -> None:
    hold(subject, laws, _trials(kind, form, plugins), count)


@st.composite
def _trials(draw: st.DrawFn, kind: Kind, form: Form, plugins: Host) -> Trial:
    size = draw(strategies.shapes(_ROWS).filter(lambda size: form(Random(), size) is not None))
    layer = draw(strategies.layers(kind, size, form))
    expect(layer.kind == kind.name, f"a sample of {kind.name} is a layer of kind {layer.kind}")
    return Trial(kind, layer, Random(-1).weight(size), plugins)
