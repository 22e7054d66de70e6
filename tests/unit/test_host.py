"""The plugin host, on made-up distributions: what it finds, what it leaves out, and how it says what is wrong."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

import pytest

from lorry.errors import PluginError, UnknownName
from lorry.plugin import Command, Dialect, Kind, hookimpl
from lorry.plugin.host import Host

Plugin = Callable[..., EntryPoint]


class MadeUp(Distribution):
    """A distribution that is installed nowhere."""

    def __init__(self, name: str, version: str) -> None:
        self._text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        return Path(str(path))


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    """Make a module and an entry point for it; keywords become what is in the module."""

    def make(name: str, group: str = "kinds", dist: str = "lorry-made-up 1.2", **inside: object) -> EntryPoint:
        module = types.ModuleType(f"made_up_{name}")
        vars(module).update({"LORRY_API": 1, **inside})
        monkeypatch.setitem(sys.modules, module.__name__, module)
        point = EntryPoint(name=name, value=module.__name__, group=f"lorry.{group}")
        return point._for(MadeUp(*dist.split()))  # type: ignore[attr-defined, no-any-return]  # as importlib.metadata does

    return make


def kinds(*names: str) -> Callable[[], list[Kind]]:
    @hookimpl
    def lorry_kinds() -> list[Kind]:
        return [Kind(name=name, title=name) for name in names]

    return lorry_kinds


def dialects(*names: str) -> Callable[[], list[Dialect]]:
    @hookimpl
    def lorry_dialects() -> list[Dialect]:
        return [Dialect(name=name, title=name) for name in names]

    return lorry_dialects


def lazy(module: str, group: str = "kinds") -> EntryPoint:
    """Return an entry point of a module that must not be imported."""
    return EntryPoint(name=module, value=f"not_there.{module}", group=f"lorry.{group}")


def test_descriptors_are_found_by_name(plugin: Plugin) -> None:
    host = Host(entry_points=[plugin("one", lorry_kinds=kinds("alpha", "beta"))])
    assert set(host.kinds()) == {"alpha", "beta"}
    assert host.get("kinds", "beta").title == "beta"
    assert dict(host.dialects()) == {}


def test_only_the_group_that_is_asked_for_is_loaded(plugin: Plugin) -> None:
    host = Host(entry_points=[plugin("one", lorry_kinds=kinds("alpha")), lazy("two", "dialects")])
    assert set(host.kinds()) == {"alpha"}
    with pytest.raises(PluginError, match="two"):
        host.dialects()


def test_one_module_may_serve_several_groups(plugin: Plugin) -> None:
    inside = {"lorry_kinds": kinds("alpha"), "lorry_dialects": dialects("tongue")}
    points = [plugin("both", group, **inside) for group in ("kinds", "dialects")]
    host = Host(entry_points=points)
    assert (set(host.kinds()), set(host.dialects())) == ({"alpha"}, {"tongue"})
    (info,) = host.plugins()
    assert info.groups == ("kinds", "dialects")
    assert info.provides == {"kinds": ("alpha",), "dialects": ("tongue",)}


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (None, {"a", "b", "c"}),
        ("", set()),
        ("  ,", set()),
        ("one", {"a"}),
        ("one,three", {"a", "c"}),
        (" one , three ", {"a", "c"}),
        ("no:two", {"a", "c"}),
        ("no:two,no:three", {"a"}),
        ("one,two,no:two", {"a"}),
    ],
)
def test_a_selection_takes_plugins_in_or_leaves_them_out(
    plugin: Plugin, selection: str | None, wanted: set[str]
) -> None:
    points = [plugin(name, lorry_kinds=kinds(kind)) for name, kind in (("one", "a"), ("two", "b"), ("three", "c"))]
    host = Host(selection, points)
    assert set(host.kinds()) == wanted
    assert {info.name for info in host.plugins() if info.disabled} == {
        name for name, kind in (("one", "a"), ("two", "b"), ("three", "c")) if kind not in wanted
    }


def test_a_plugin_that_is_left_out_is_never_imported() -> None:
    host = Host("no:broken", [lazy("broken")])
    assert dict(host.kinds()) == {}
    assert [info.error for info in host.plugins()] == [""]


@pytest.mark.parametrize("selection", ["onne", "no:onne", "one,onne"])
def test_a_selection_of_what_is_not_installed_is_an_error_with_a_suggestion(plugin: Plugin, selection: str) -> None:
    with pytest.raises(UnknownName, match=r"no plugin is named 'onne'; did you mean 'one'\?.*LORRY_PLUGINS"):
        Host(selection, [plugin("one", lorry_kinds=kinds("a"))])


def test_two_plugins_that_claim_one_name_are_both_named_with_their_distributions(plugin: Plugin) -> None:
    points = [
        plugin("one", dist="lorry-first 1.0", lorry_kinds=kinds("lora")),
        plugin("two", dist="lorry-second 2.5", lorry_kinds=kinds("lora")),
    ]
    with pytest.raises(PluginError) as caught:
        Host(entry_points=points).kinds()
    for part in ("the kind 'lora'", "one (lorry-first 1.0)", "two (lorry-second 2.5)", "LORRY_PLUGINS=no:two"):
        assert part in str(caught.value)
    assert set(Host("no:two", points).kinds()) == {"lora"}


def test_one_plugin_that_claims_a_name_twice_is_told_too(plugin: Plugin) -> None:
    with pytest.raises(PluginError, match="two plugins claim"):
        Host(entry_points=[plugin("one", lorry_kinds=kinds("lora", "lora"))]).kinds()


def test_an_unknown_name_is_told_with_the_nearest(plugin: Plugin) -> None:
    host = Host(entry_points=[plugin("one", group="dialects", lorry_dialects=dialects("kohya", "diffusers"))])
    with pytest.raises(UnknownName, match=r"no dialect is named 'kohia'; did you mean 'kohya'\?$"):
        host.get("dialects", "kohia")
    with pytest.raises(UnknownName, match=r"no dialect is named 'zzz'; known: diffusers, kohya$"):
        host.get("dialects", "zzz")


def test_an_unknown_name_hints_at_plugins_that_are_left_out(plugin: Plugin) -> None:
    host = Host("", [plugin("one", lorry_kinds=kinds("lora"))])
    with pytest.raises(UnknownName, match="none is installed; LORRY_PLUGINS leaves some plugins out"):
        host.get("kinds", "lora")


@hookimpl
def _raises() -> list[Kind]:
    raise RuntimeError("no such licence server")


@hookimpl
def _generates() -> object:
    yield Kind(name="half", title="half")
    raise RuntimeError("halfway")


@hookimpl
def _lies() -> list[object]:
    return [Kind(name="true", title="true"), Dialect(name="lie", title="lie")]


@hookimpl
def _exits() -> list[Kind]:
    sys.exit("no licence")


@hookimpl
def _empty() -> list[Kind]:
    return []


BROKEN = {
    "raises in its hook": ({"lorry_kinds": _raises}, "RuntimeError: no such licence server"),
    "raises halfway": ({"lorry_kinds": _generates}, "RuntimeError: halfway"),
    "exits in its hook": ({"lorry_kinds": _exits}, "SystemExit: no licence"),
    "returns another descriptor": ({"lorry_kinds": _lies}, "lorry_kinds returned Dialect"),
    "implements another hook": ({"lorry_dialects": dialects("x")}, "does not implement that hook"),
    "forgets the marker": ({"lorry_kinds": list}, "does not implement that hook"),
    "states a later version": ({"LORRY_API": 2, "lorry_kinds": kinds("x")}, "written for LORRY_API 2"),
    "states no version": ({"LORRY_API": None, "lorry_kinds": kinds("x")}, "written for LORRY_API None"),
}


@pytest.mark.parametrize(("inside", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_is_told_by_name_and_the_others_are_listed(
    plugin: Plugin, inside: dict[str, object], says: str
) -> None:
    points = [plugin("good", lorry_kinds=kinds("lora")), plugin("bad", dist="lorry-bad 0.3", **inside)]
    host = Host(entry_points=points)
    infos = {info.name: info for info in host.plugins()}
    assert infos["good"].provides == {"kinds": ("lora",)}
    assert says in infos["bad"].error
    assert (infos["bad"].distribution, infos["bad"].version) == ("lorry-bad", "0.3")
    with pytest.raises(PluginError, match=r"plugin bad \(lorry-bad 0\.3\) cannot be loaded.*LORRY_PLUGINS=no:bad"):
        host.kinds()
    assert set(Host("no:bad", points).kinds()) == {"lora"}


def test_a_module_that_cannot_be_imported_is_a_broken_plugin() -> None:
    host = Host(entry_points=[lazy("gone")])
    assert "ModuleNotFoundError" in host.plugins()[0].error
    with pytest.raises(PluginError, match="gone"):
        host.kinds()


@pytest.mark.parametrize(("does", "error"), [("sys.exit(3)", "SystemExit: 3"), ("raise KeyboardInterrupt", "")])
def test_a_plugin_may_not_end_the_program_and_a_person_may(
    does: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_it_all.py").write_text(f"import sys\n{does}\n")
    monkeypatch.syspath_prepend(tmp_path)
    host = Host(entry_points=[EntryPoint(name="ends", value="ends_it_all", group="lorry.kinds")])
    if error:
        assert host.plugins()[0].error == error
    else:
        with pytest.raises(KeyboardInterrupt):
            host.plugins()


def test_a_plugin_with_nothing_to_offer_is_fine(plugin: Plugin) -> None:
    host = Host(entry_points=[plugin("one", lorry_kinds=_empty)])
    assert dict(host.kinds()) == {}
    assert host.plugins()[0].error == ""


def test_a_broken_command_does_not_take_the_command_line_with_it(plugin: Plugin) -> None:
    @hookimpl
    def lorry_commands() -> list[Command]:
        return [Command(name="hi", help="Say hi.", load="x:y")]

    points = [plugin("good", "commands", lorry_commands=lorry_commands), lazy("bad", "commands")]
    host = Host(entry_points=points)
    assert set(host.commands()) == {"hi"}
    assert list(host.broken("commands")) == ["bad (unknown )"]


def test_what_is_found_cannot_be_changed(plugin: Plugin) -> None:
    found = Host(entry_points=[plugin("one", lorry_kinds=kinds("lora"))]).kinds()
    with pytest.raises(TypeError):
        found["other"] = found["lora"]  # type: ignore[index]  # the mistake that is tested


def test_hooks_are_traced_when_asked_for(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    point = plugin("one", lorry_kinds=kinds("lora"))
    Host(entry_points=[point]).kinds()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LORRY_TRACE", "1")
    Host(entry_points=[point]).kinds()
    assert "lorry_kinds" in capsys.readouterr().err
