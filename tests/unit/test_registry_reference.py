from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lorry.errors import InvalidArgument
from lorry_registry.references.reference import Alias, Digest, Reference, parse_alias
from lorry_registry.references.semver import Range, Version

names = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?", fullmatch=True).filter(
    lambda name: (
        ".." not in name
        and "--" not in name
        and not re.fullmatch(r"con|prn|aux|nul|com[1-9]|lpt[1-9]", name.split(".")[0])
    )
)
numbers = st.integers(0, 10**9 - 1)
identifiers = st.one_of(st.integers(0, 10**12).map(str), st.from_regex(r"[a-z-][0-9a-z-]{0,5}", fullmatch=True))
versions = st.builds(Version, numbers, numbers, numbers, st.lists(identifiers, max_size=3).map(tuple))
ranges = st.from_regex(r"[~^]?(0|[1-9][0-9]?)(\.(0|[1-9][0-9]?))?", fullmatch=True)
aliases = names.filter(lambda name: name[0].isalpha() and not re.match(r"v[0-9]+\.", name)).map(Alias)
digests = st.from_regex(r"[0-9a-f]{12,64}", fullmatch=True).map(Digest)
references = st.builds(
    Reference, names, names, st.one_of(st.none(), versions, ranges.map(Range.parse), aliases, digests)
)


@given(references)
def test_a_reference_reads_back_from_its_own_text(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference


@given(references)
def test_case_does_not_matter(reference: Reference) -> None:
    assert Reference.parse(str(reference).upper()) == reference


@given(st.text(max_size=30))
@example("a/b@")
@example("a/b@sha256:")
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        return
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("demo/cat", None),
        ("demo/cat@1.2.3", Version(1, 2, 3)),
        ("demo/cat@1.2.3-rc.1", Version(1, 2, 3, ("rc", "1"))),
        ("demo/cat@1.2", Range.parse("1.2")),
        ("demo/cat@^1.2", Range.parse("^1.2")),
        ("demo/cat@latest", Alias("latest")),
        ("demo/cat@v1", Alias("v1")),
        ("demo/cat@SHA256:0123456789AB", Digest("0123456789ab")),
    ],
)
def test_the_selector_tells_what_it_is(text: str, selector: object) -> None:
    assert Reference.parse(text) == Reference("demo", "cat", selector)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../etc", "/etc", "a/../b", "a\\b", "C:", "-cat", "cat-", ".cat", "cat.", "a..b", "a--b",
        "con", "CON", "nul.txt", "com1", "lpt9.safetensors", "cat lora", "cat\n", "cat\x00", "cat%2f", "~", "*",
        "x" * 65, "c\u0430t", "\uff43at", "ca\u0301t", "\u212aat", "cat\u200b", "cat\u202e", "\N{CAT FACE}", "ﬁsh", "ß",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["{}/cat", "demo/{}", "demo/cat@{}"])
def test_names_that_mean_another_thing_somewhere_are_refused(name: str, place: str) -> None:
    with pytest.raises(InvalidArgument):
        Reference.parse(place.format(name))


@pytest.mark.parametrize("text", ["cat", "demo/cat/extra", "hf://demo/cat", "demo/cat@1.0.0@2.0.0", "demo/cat@v1.0.0"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Reference.parse(text)


def test_the_message_names_the_look_alike_letter() -> None:
    with pytest.raises(InvalidArgument, match=r"U\+0430, cyrillic small letter a"):
        Reference.parse("demo/c\u0430t")


@pytest.mark.parametrize("text", ["1.0.0", "2024", "v1.0.0"])
def test_an_alias_does_not_look_like_a_version(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_alias(text)


def test_the_order_of_versions_is_that_of_the_specification() -> None:
    before = "alpha alpha.1 alpha.beta beta beta.2 beta.11 rc.1"
    chain = [*(f"1.0.0-{part}" for part in before.split()), "1.0.0", "1.0.1", "1.1.0", "1.10.0", "2.0.0"]
    ordered = [Version.parse(text) for text in chain]
    for (at, low), (above, high) in itertools.product(enumerate(ordered), repeat=2):
        assert (low < high) is (low.sort_key < high.sort_key) is (at < above)


@given(versions, versions)
def test_two_versions_are_equal_or_in_one_order(one: Version, other: Version) -> None:
    assert (one < other) + (other < one) + (one == other) == 1


@given(versions, versions)
def test_the_sort_key_is_ordered_as_versions_are(one: Version, other: Version) -> None:
    assert (one.sort_key < other.sort_key, one.sort_key == other.sort_key) == (one < other, one == other)


@given(st.lists(versions, max_size=6).flatmap(lambda some: st.tuples(st.permutations(some), st.permutations(some))))
def test_the_order_does_not_depend_on_where_one_starts(two: tuple[list[Version], list[Version]]) -> None:
    one, other = two
    assert sorted(one) == sorted(other)


@pytest.mark.parametrize(
    "text",
    ["1", "1.2", "1.2.3.4", "01.2.3", "1.02.3", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "1.2.3+build", "v1.2.3", "1.2.x",
     "-1.2.3", " 1.2.3", "1.2.3\n", "\uff11.2.3", "1.2.3-ä", "9999999999.0.0", "1.0.0-" + "a" * 80],
)  # fmt: skip
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        Version.parse(text)


@pytest.mark.parametrize(
    ("span", "inside", "outside"),
    [
        ("1", "1.0.0 1.99.9", "0.9.9 2.0.0 1.5.0-rc.1"),
        ("1.2", "1.2.0 1.2.9", "1.1.9 1.3.0"),
        ("^1.2.3", "1.2.3 1.9.0", "1.2.2 2.0.0 2.0.0-rc.1"),
        ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0"),
        ("^0.0.3", "0.0.3", "0.0.2 0.0.4"),
        ("^0.0", "0.0.0 0.0.9", "0.1.0"),
        ("^0", "0.0.0 0.9.9", "1.0.0"),
        ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
        ("~1.2", "1.2.0 1.2.9", "1.3.0"),
        ("~1", "1.0.0 1.9.0", "2.0.0"),
    ],
)
def test_ranges_hold_what_npm_says_they_hold(span: str, inside: str, outside: str) -> None:
    assert all(Version.parse(text) in Range.parse(span) for text in inside.split())
    assert not any(Version.parse(text) in Range.parse(span) for text in outside.split())
