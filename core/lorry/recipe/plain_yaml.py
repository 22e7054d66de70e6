"""YAML for recipes that people write: plain data, without what YAML can do beyond JSON."""

from __future__ import annotations

from typing import Any

import yaml

_DEEPEST = 200
"""Levels that are read; PyYAML calls itself for each."""


class _Loader(yaml.SafeLoader):
    """Builds plain data alone, and refuses aliases (a few lines of them are gigabytes) and names given twice."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401  PyYAML's own
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(
                problem="an alias stands for something written elsewhere; write it out, recipes take none",
                problem_mark=self.peek_event().start_mark,  # type: ignore[no-untyped-call]  # untyped in its stubs
            )
        self.depth += 1
        if self.depth > _DEEPEST:
            raise yaml.constructor.ConstructorError(problem=f"it nests more than {_DEEPEST} levels deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002  PyYAML's own
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value if isinstance(key.value, str) else None)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:  # noqa: ANN401  any plain data
    """Read YAML; raise ValueError saying where it is none, or more than plain data."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506  derived from the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        told = filter(None, (error.context, error.problem))
        raise ValueError(f"{where}{', '.join(' '.join(each.split()) for each in told)}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).replace(' in "<unicode string>"', "").split())) from error
