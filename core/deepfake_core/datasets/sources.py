"""The sources of a dataset that share their real samples."""

from __future__ import annotations

from collections.abc import Iterable


def shared_reals(real: Iterable[str], fake: Iterable[str]) -> dict[str, list[str]]:
    """Return, for each source of fakes alone, the sources of the real samples that belong to these fakes.

    A source ``COLLECTION/PART`` without real samples, such as one manipulation of FaceForensics++, shares those of the
    sources ``COLLECTION`` and ``COLLECTION/…``. Sources for which there are none are left out.

    Args:
        real: Names of the sources that have real samples.
        fake: Names of the sources that have fakes.
    """
    by_collection: dict[str, list[str]] = {}
    reals = set(real)
    for name in sorted(reals):
        for collection in {name, name.rpartition("/")[0]}:
            by_collection.setdefault(collection, []).append(name)
    collections = {name: name.rpartition("/")[0] for name in sorted(set(fake) - reals)}
    return {
        name: by_collection[collection]
        for name, collection in collections.items()
        if collection and collection in by_collection
    }
