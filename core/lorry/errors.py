"""The exception tree. Every error lorry raises on purpose derives from `LorryError`.

    LorryError                     1   anything else that went wrong
    ├── InvalidFile                1   bytes that are damaged, truncated, lying or dangerous
    ├── PluginError                1   a plugin that cannot be loaded, or two that claim one name
    ├── InvalidArgument            2   a value that makes no sense here
    ├── NotFound                   3   a path, reference, version or alias that is not there
    │   └── UnknownName            3   a name no installed plugin carries, with the nearest ones
    ├── Conflict                   4   something is there already, or two things disagree
    ├── Incompatible               5   these two do not go together
    │   ├── NotRecognised          5   no installed plugin reads this, with each one's reason
    │   ├── Unmapped               5   part of the adapter is not understood, so it is not used
    │   ├── NotRepresentable       5   the target format cannot hold these layers
    │   └── MissingExtra           5   an optional dependency is not installed
    ├── AccessDenied               6   a token is missing or refused
    ├── UpstreamFailed             7   another machine did not do its part
    └── VerificationFailed         8   bytes or numbers are not what they were recorded to be

The number is the exit code of the command line, `exit_code` of the class. Usage errors found by
the command line itself exit with 2, an interrupt (Ctrl-C) with 130, a closed pipe with 141.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar


class LorryError(Exception):
    """Base of every error lorry raises on purpose: says what, where, and what to do next."""

    exit_code: ClassVar[int] = 1


class InvalidFile(LorryError):
    """Bytes that are damaged, truncated, lying or dangerous; nothing was taken from them."""


class PluginError(LorryError):
    """A plugin that cannot be loaded, or two plugins that claim one name."""


class InvalidArgument(LorryError, ValueError):
    """A value that makes no sense here."""

    exit_code: ClassVar[int] = 2


class NotFound(LorryError):
    """A path, reference, version or alias that is not there."""

    exit_code: ClassVar[int] = 3


class UnknownName(NotFound):
    """A name no installed plugin carries; the message offers the nearest ones."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        import difflib

        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if near:
            advice = f"did you mean {' or '.join(repr(each) for each in near)}?"
        else:
            advice = f"known: {', '.join(known)}" if known else "none is installed"
        super().__init__(f"no {what} is named {name!r}; {advice}{'; ' + hint if hint else ''}")


class Conflict(LorryError):
    """Something is there already, or two things disagree; nothing was changed."""

    exit_code: ClassVar[int] = 4


class Incompatible(LorryError):
    """These two do not go together: another base, another shape, a kind that cannot be summed."""

    exit_code: ClassVar[int] = 5


class NotRecognised(Incompatible):
    """No installed plugin reads this; `reasons` says what each one missed."""

    def __init__(self, message: str, reasons: Mapping[str, str] | None = None) -> None:
        self.reasons: Mapping[str, str] = dict(reasons or {})
        super().__init__(message)


class Unmapped(Incompatible):
    """Part of the adapter is not understood, so that using the rest would be a guess."""

    def __init__(self, subject: str, unmapped: Sequence[tuple[str, str]], hint: str) -> None:
        self.unmapped = tuple(unmapped)
        key, reason = self.unmapped[0]
        more = f" (and {len(self.unmapped) - 1} more)" if len(self.unmapped) > 1 else ""
        super().__init__(f"{subject}: {key!r} is not understood{more}: {reason}; {hint}")


class NotRepresentable(Incompatible):
    """The target format cannot hold these layers; `layers` names them with the reason, `able` formats that can."""

    def __init__(
        self, target: str, layers: Mapping[str, str], hint: str = "choose another format", able: Sequence[str] = ()
    ) -> None:
        self.target, self.able = target, tuple(able)
        self.layers: Mapping[str, str] = dict(layers)
        shown = "; ".join(f"{name}: {why}" for name, why in list(self.layers.items())[:3])
        more = f" (and {len(self.layers) - 3} more)" if len(self.layers) > 3 else ""  # noqa: PLR2004  three are enough to see the pattern
        super().__init__(f"{target} cannot hold {len(self.layers)} of the layers or tokens: {shown}{more}; {hint}")


class MissingExtra(Incompatible):
    """An optional dependency is not installed."""

    def __init__(self, what: str, module: str, extra: str) -> None:
        super().__init__(f"{what} needs {module}, which is not installed; run: pip install 'lorry[{extra}]'")


class AccessDenied(LorryError):
    """A token is missing or refused."""

    exit_code: ClassVar[int] = 6


class UpstreamFailed(LorryError):
    """Another machine did not do its part: no answer, a wrong answer, a cut connection."""

    exit_code: ClassVar[int] = 7


class VerificationFailed(LorryError):
    """Bytes or numbers are not what they were recorded to be."""

    exit_code: ClassVar[int] = 8


class LorryWarning(UserWarning):
    """Something to know that stops nothing; the command line prints it as a note."""
