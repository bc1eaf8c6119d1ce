"""The same image under two names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from scribble_conversion.checking.finding import Finding


def check_duplicates(digests: Mapping[str, str], test: frozenset[str]) -> Iterator[Finding]:
    """Find cases that hold the same image.

    Args:
        digests: case to what is equal for equal images.
        test: the cases held out.
    """
    groups: dict[str, list[str]] = {}
    for case, digest in sorted(digests.items()):
        groups.setdefault(digest, []).append(case)
    for cases in groups.values():
        if len(cases) == 1:
            continue
        leaks = 0 < len(test.intersection(cases)) < len(cases)
        yield Finding(
            "error" if leaks else "warning",
            "duplicate",
            f"{', '.join(cases)} hold the same image"
            + (", in imagesTr and in imagesTs, so the test cases are trained with" if leaks else ""),
            "keep one of them",
            tuple(cases),
        )
