"""The sources of a dataset that share their real samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def shared_reals(
    real: Iterable[str], fake: Iterable[str], beside: Mapping[str, Sequence[str]] | None = None
) -> dict[str, list[str]]:
    """Return, for each source of fakes alone, the sources of the real samples that belong to these fakes.

    A source ``COLLECTION/PART`` without real samples, such as one manipulation of FaceForensics++, shares those of the
    sources ``COLLECTION`` and ``COLLECTION/…``. Sources for which there are none are left out.

    Args:
        real: Names of the sources that have real samples.
        fake: Names of the sources that have fakes.
        beside: Sources of real samples that stand beside the fakes of a source for which there are no others.
    """
    by_collection: dict[str, list[str]] = {}
    reals, beside = set(real), beside or {}
    for name in sorted(reals):
        for collection in {name, name.rpartition("/")[0]}:
            by_collection.setdefault(collection, []).append(name)
    shared = {}
    for name in sorted(set(fake) - reals):
        collection = name.rpartition("/")[0]
        own = by_collection.get(collection, []) if collection else []
        if others := own or [other for other in beside.get(name, ()) if other in reals]:
            shared[name] = others
    return shared
