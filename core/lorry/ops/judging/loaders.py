"""Which tools load an adapter, and the command that mends it for those that do not."""

from __future__ import annotations

from typing import NamedTuple

from lorry.ir.adapter import Adapter
from lorry.ops.judging.loader_rules import facts_of, rule_for
from lorry.plugin.host import Host, host
from lorry.plugin.loader import BAKE, Loader, Rule


class Loading(NamedTuple):
    """What one tool does with an adapter: the verdict, why, and the command that mends it ("": none does)."""

    tool: str
    version: str
    evidence: str
    verdict: str
    because: str
    mend: str


def loads(adapter: Adapter, plugins: Host | None = None, called: str = "") -> tuple[Loading, ...]:
    """Say of every known tool whether it loads `adapter`, which commands call `called`. Reads no tensors."""
    plugins = plugins or host()
    facts = facts_of(adapter, plugins)
    return tuple(_loading(each, rule_for(each, facts), adapter, plugins, called) for each in plugins.loaders().values())


def _loading(loader: Loader, rule: Rule, adapter: Adapter, plugins: Host, called: str) -> Loading:
    return Loading(
        tool=loader.title,
        version=loader.version,
        evidence=loader.evidence,
        verdict=rule.verdict,
        because=rule.because,
        mend=command(rule, adapter, plugins, called) if rule.mend else "",
    )


def command(rule: Rule, adapter: Adapter, plugins: Host, called: str = "") -> str:
    """Return the command line that does what a rule says mends an adapter; `called` stands for its files."""
    import shlex

    paths = [frame.path for frame in adapter.origin]
    files = shlex.quote(called) if called else shlex.join(map(str, paths))
    if rule.mend == BAKE:
        return f"lorry bake BASE {files} -o FOLDER"
    container = plugins.get("containers", plugins.get("dialects", rule.mend).containers[0])
    stem = paths[0].name if paths[0].is_dir() else paths[0].stem
    output = f"{stem}-{rule.mend}{''.join(container.suffixes[:1])}"
    return f"lorry convert {files} --to {rule.mend} -o {shlex.quote(output)}"
