"""The laws of dialects: what is written reads back as the same, and every key is accounted for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

import lorry
from lorry.errors import InvalidFile, LorryError, NotRepresentable
from lorry.ir import Adapter, TensorMap, TensorRef, Token
from lorry.ops.reading.files import read_file
from lorry.ops.reading.read import open_like
from lorry.ops.writing.write import Saved
from lorry.plugin import BaseModel, Dialect
from lorry.plugin.host import Host
from lorry.testing import rivals, strategies
from lorry.testing.beside import beside
from lorry.testing.combinations import Combination, combinations
from lorry.testing.laws import expect, hold, keep
from lorry.testing.light import expect_light, without_heavy
from lorry.testing.samples import Random
from lorry.testing.tables import base_with

_EXACT = 1e-6


def check_dialect(dialect: Dialect, *, whole: bool = False, examples: int = 3) -> None:
    """Hold a dialect to every law of its contract; raise LawBroken for the first that is broken.

    It is tried with adapters for every component of every installed base that it names, of every installed kind
    that it spells, with learned tokens, and beside every other installed dialect. `whole` says that it needs all
    layers of a model, because it numbers them say, so that it may refuse a few by themselves.
    """
    plugins, subject = beside("dialects", dialect.name, dialect), f"dialect {dialect.name!r}"
    for law in PLAIN_LAWS:
        keep(subject, law, dialect)
    keep(subject, rivals.claims_no_more_than_the_owner, rivals.Rivals(dialect, plugins))
    if dialect.unreadable:
        return
    with tempfile.TemporaryDirectory() as folder:
        setting = _Setting(dialect, plugins, list(combinations(plugins, dialect)), Path(folder), set(), whole)
        for each in setting.known:
            hold(subject, LAWS, _adapters(setting, each), examples)
        if not whole:
            keep(subject, _kinds_are_held, setting)
        for model in plugins.base_models().values():
            if dialect.tokens and any(each.embedding for each in model.components):
                hold(subject, TOKEN_LAWS, _tokens(setting, model), examples)


class _Setting(NamedTuple):
    """A dialect with all that it names and spells; what it has held so far, and what is tried with it."""

    dialect: Dialect
    plugins: Host
    known: list[Combination]
    folder: Path
    held: set[str]
    whole: bool
    partners: Sequence[Dialect] = ()

    def __str__(self) -> str:
        return f"all adapters tried: {', '.join(map(str, self.known)) or 'none'}"


class _Written:
    """An adapter on its way to a file of a dialect, and the weights it changes; saved and opened once."""

    def __init__(
        self, setting: _Setting, example: strategies.Example, extras: dict[str, TensorRef], other: int
    ) -> None:
        self.setting, self.example, self.extras = setting, example, extras
        self.adapter, self.plugins = example.adapter, setting.plugins
        self.folder = Path(tempfile.mkdtemp(dir=setting.folder))
        partners = setting.partners
        self.other = partners[other % len(partners)] if partners else None

    def __str__(self) -> str:
        return f"adapter {self.example}"

    @cached_property
    def saved(self) -> Saved | None:
        """The file; None for what the dialect cannot hold, if it says so by name."""
        # Some formats have a token's text in the file's name alone.
        name = next(iter(self.adapter.tokens), "a")
        try:
            saved = self.save(name)
        except NotRepresentable as error:
            expect(error.layers, f"it is refused, but nothing is named: {error}")
            expect(self.setting.whole or not self._simple, f"a layer built from factors is refused: {error}")
            return None
        self.setting.held.update(self.adapter.kinds)
        return saved

    @cached_property
    def back(self) -> Adapter | None:
        """What is read from the file."""
        return self.open(self.saved.path) if self.saved else None

    def save(self, name: str, adapter: Adapter | None = None) -> Saved:
        dialect = self.setting.dialect
        return lorry.save(adapter or self.adapter, self.folder / name, dialect.name, plugins=self.plugins)

    def open(self, path: Path) -> Adapter:
        return open_like(path, self.adapter, self.plugins)

    def same(self, other: Adapter, tolerance: float = _EXACT) -> None:
        error = lorry.diff(self.adapter, other, self.example.base, self.plugins).error
        expect(error <= tolerance, f"what it does differs by {error:.3g} of its size")

    @property
    def _simple(self) -> bool:
        """Whether these are layers that can always be joined, folded and written in their plain form."""
        kinds = self.plugins.kinds()
        return not self.adapter.tokens and all(kinds[name].build and kinds[name].join for name in self.adapter.kinds)


def what_is_written_reads_back_as_the_same(each: _Written) -> None:
    """What is written reads back as an adapter that does the same, its scale in no doubt but the dialect's own."""
    if each.back:
        each.same(each.back)
        frame = each.back.origin[0]
        said = dict(each.plugins.dialects()[frame.dialect].doubts(frame.source))
        expect("scale" not in dict(each.back.report.ambiguous) or "scale" in said, "its scale is in doubt")


def every_written_key_is_used(each: _Written) -> None:
    """Every key that is written is used when it is read, and nothing is lost unasked."""
    if each.saved and each.back:
        report, saved = each.back.report, each.saved
        expect(not report.unmapped, f"not understood: {dict(report.unmapped)}")
        keys = set(read_file(saved.path, each.plugins)[1].tensors)
        expect(set(report.used) == keys, f"{sorted(keys ^ set(report.used))} is written or used, not both")
        expect(len(keys) == saved.tensors, f"{saved.tensors} tensors are said to be written, {len(keys)} are there")
        expect(not saved.lost, f"lost without being asked to: {dict(saved.lost)}")


def writing_is_deterministic(each: _Written) -> None:
    """Written twice it is the same bytes, and what was read and not changed is saved as the same bytes."""
    if each.saved and each.back:
        first = contents(each.saved.path)
        expect(first == contents(each.save("again").path), "written twice, the bytes differ")
        # Some dialects differ in what they hold here by nothing, and the file is then read as the other one's.
        own = f"{each.back.origin[0].dialect}+{each.back.origin[0].container}"
        copy = lorry.save(each.back, each.folder / "copy", own, plugins=each.plugins)
        expect(first == contents(copy.path), "read and saved unchanged, the bytes differ")


def every_key_is_accounted_for(each: _Written) -> None:
    """Whatever keys are missing or strange, each one that is there is used or reported with a reason, and kept."""
    if each.saved is None:
        return
    container, source = read_file(each.saved.path, each.plugins)
    keys = list(source.tensors)
    for name, left in {"whole": keys, "half": keys[::2]}.items():
        noisy = {key: source.tensors[key] for key in left} | each.extras
        if container.write is None:
            return
        try:
            container.write(replace(source, tensors=noisy), each.folder / name)
            back = each.open(each.folder / name)
        except LorryError:
            continue  # it cannot be written so, or so little is left that it is no adapter, or a broken one
        unmapped = dict(back.report.unmapped)
        expect(set(unmapped).isdisjoint(back.report.used), "a key is both used and not understood")
        expect({*unmapped, *back.report.used} == set(noisy), f"of keys {sorted(noisy)} some are neither")
        expect(all(unmapped.values()), f"no reason is given for {[key for key, why in unmapped.items() if not why]}")
        expect(back.extras.keys() == unmapped.keys(), "what is not understood is not kept in extras")


def identification_needs_no_torch(each: _Written) -> None:
    """A file is identified in full, and without torch, numpy or anything else that is heavy."""
    if each.saved:
        with without_heavy():
            best = lorry.identify(each.saved.path, each.plugins).best
        expect(best and best.score == 1, f"it is not recognised in full: {best.reason if best else 'not at all'}")


def there_and_back_is_the_same(each: _Written) -> None:
    """Through another dialect that holds it and back, an adapter does the same."""
    if each.back and each.other:
        try:
            there = lorry.save(each.back, each.folder / "there", each.other.name, plugins=each.plugins)
            back = each.save("back", each.open(there.path))
        except NotRepresentable:
            return
        each.same(each.open(back.path), 2 * _EXACT)


LAWS: tuple[Callable[[_Written], None], ...] = (
    what_is_written_reads_back_as_the_same,
    every_written_key_is_used,
    writing_is_deterministic,
    every_key_is_accounted_for,
    identification_needs_no_torch,
    there_and_back_is_the_same,
)


def tokens_read_back_with_the_same_vectors(each: _Written) -> None:
    """Learned tokens read back with the same texts and vectors, or are refused by name."""
    if each.back:
        tokens, unmapped = each.back.tokens, dict(each.back.report.unmapped)
        expect(tokens.keys() == each.adapter.tokens.keys(), f"the tokens are {', '.join(map(repr, tokens))}")
        for text, token in each.adapter.tokens.items():
            expect(token.same(tokens[text]), f"the vectors of {text!r} are others")
        expect(not unmapped, f"not understood: {unmapped}")


TOKEN_LAWS: tuple[Callable[[_Written], None], ...] = (tokens_read_back_with_the_same_vectors,)


def _kinds_are_held(each: _Setting) -> None:
    """Of every kind built from factors that it spells, on every component that it names, it holds something."""
    missing = {one.kind.name for one in each.known if one.kind.build} - each.held
    expect(not missing, f"it holds nothing of {', '.join(sorted(missing))}")


def _is_light(dialect: Dialect) -> None:
    """Its module imports neither torch nor anything heavy at its top: identifying a file loads every dialect."""
    header, renaming = dialect.header, dialect.renaming
    rules = (*(header[:2] if header else ()), *(renaming or ()))
    expect_light(dialect.refuse, dialect.facts, *rules)


def _strangers_are_no_error(dialect: Dialect) -> None:
    """refuse, facts and doubts take any source, be it empty or a stranger's, and refuse says why in words, or None."""
    blob = Random()(2, 3)
    for keys in ((), ("",), ("weight",), ("a.b", "."), ("lora_unet_x.lora_down.weight", "0")):
        source = TensorMap(
            tensors=dict.fromkeys(keys, blob), metadata={"format": "pt", "": "{"}, sides={"a.json": b"{"}
        )
        said = dialect.refuse(source)
        expect(said is None or (isinstance(said, str) and said), f"refuse says {said!r} of keys {keys}")
        dialect.facts(source)
        list(dialect.doubts(source))


def _broken_headers_are_invalid_files(dialect: Dialect) -> None:
    """A header that is not what it should be is an InvalidFile, or is no header; never any other error."""
    header = dialect.header
    if header is None:
        return
    expect(header.read(TensorMap(tensors={})) is None, "read finds a header in a source without one")
    for text in ("", "{", "[]", "null", "3", '{"a": 1}', '"\\ud800"', "[" * 5000, "\0"):
        metadata, sides = dict.fromkeys(header.metadata, text), dict.fromkeys(header.sides, text.encode())
        try:
            header.read(TensorMap(tensors={}, metadata=metadata, sides=sides))
        except InvalidFile:
            continue
        except Exception as error:
            raise AssertionError(f"for {text[:20]!r}, read raises {type(error).__name__}: {error}") from error


PLAIN_LAWS: tuple[Callable[[Dialect], None], ...] = (
    _is_light,
    _strangers_are_no_error,
    _broken_headers_are_invalid_files,
)


def contents(path: Path) -> dict[str, bytes]:
    """Return the bytes of a file, or of every file in a folder, by name."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {each.name if path.is_dir() else "": each.read_bytes() for each in files}


def _adapters(setting: _Setting, each: Combination) -> st.SearchStrategy[_Written]:
    last = 3 if setting.whole else 40  # what is numbered whole is no deeper than a real model
    drawn = strategies.examples(each.model, each.groups(setting.plugins), each.kind, last=last)
    own = setting._replace(partners=rivals.partners(each, setting.plugins))
    extras, number = strategies.extras(), st.integers(0, 99)
    return st.tuples(drawn, extras, number).map(lambda found: _Written(own, *found))


def _tokens(setting: _Setting, model: BaseModel) -> st.SearchStrategy[_Written]:
    """Draw tokens for a base; where the dialect holds layers too, tokens travel with layers."""
    layered = next((each for each in setting.known if each.model is model), None)
    bare = st.just(strategies.Example(Adapter(base=model.id), base_with(model.id, {})))
    drawn = strategies.examples(model, layered.groups(setting.plugins), layered.kind) if layered else bare
    found = strategies.tokens([each for each in model.components if each.embedding])

    def made(example: strategies.Example, tokens: dict[str, Token]) -> _Written:
        with_tokens = example._replace(adapter=replace(example.adapter, tokens=tokens))
        return _Written(setting._replace(whole=True), with_tokens, {}, 0)

    return st.builds(made, drawn, found)
