"""Divide samples into splits that share no video and no person."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake_core.errors import TrainingDataError


def families(groups: Sequence[str], identities: Sequence[Sequence[str]] = ()) -> list[str]:
    """For every row the family that its group belongs to: all groups connected through shared identities.

    A face swap shows two persons, so it ties the groups of both together, and through them their other swaps.

    Args:
        groups: Group of each row; a group may have many rows.
        identities: Persons shown in each row; empty where no row names any.

    Returns:
        Each family's name, which is its greatest group in the order of strings, so that it depends neither on the
        order of rows nor on how identities are spelled.
    """
    links = _Links()
    nodes = [links.node(("group", group)) for group in groups]
    if len(identities):
        for node, named in zip(nodes, identities, strict=True):
            for identity in named:
                links.join(node, links.node(("identity", identity)))
    names: dict[int, str] = {}
    roots = [links.root(node) for node in nodes]
    for root, group in zip(roots, groups, strict=True):
        if group > names.get(root, ""):
            names[root] = group
    return [names.get(root, "") for root in roots]


def held_out(family: ArrayLike, source: ArrayLike, share: float) -> NDArray[np.bool_]:
    """Which rows validate, ``bool [N]``: of every source about ``share`` of its families, chosen by their names' hash.

    A family goes one way even where it spans several sources: families of the same set of sources are divided
    together. A source of one family has nothing to spare. Adding files to a family never moves another one's row,
    except at the border of the share.

    Args:
        family: Family of each row, as :func:`families` names them.
        source: Source of each row.
        share: In (0, 1).
    """
    names = [str(name) for name in np.asarray(family)]
    chosen: set[str] = set()
    for members in _by_strata(names, [str(name) for name in np.asarray(source)]).values():
        ordered = sorted(members, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
        count = max(1, round(share * len(ordered))) if len(ordered) > 1 else 0
        chosen.update(ordered[:count])
    return np.fromiter((name in chosen for name in names), bool, len(names))


def subset_by_group(
    family: Sequence[str], share: float, seed: int = 0, strata: Sequence[Hashable] = ()
) -> NDArray[np.intp]:
    """Rows of a part of the data, ``intp [M]`` ascending: whole families up to about ``share`` of the rows.

    Args:
        family: Group or family of each row.
        share: In (0, 1]; 1 keeps everything.
        seed: Another seed takes other families; a larger share of the same seed contains the smaller one.
        strata: What each row is to be represented by, such as ``(source, fake)``; every set of strata that families
            have in common gives its share, and one family at least.

    Raises:
        ValueError: ``share`` is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1], got {share}")
    rows = Counter(family)
    kept: set[str] = set()
    for members in _by_strata(family, strata or [""] * len(family)).values():
        wanted = share * sum(rows[name] for name in members)
        taken = 0.0
        for name in sorted(members, key=lambda name: _shuffled(name, seed)):
            # Each is taken as long as its middle lies within the share: off by half a family at most.
            if taken and taken + rows[name] / 2 > wanted:
                break
            kept.add(name)
            taken += rows[name]
    return np.flatnonzero([name in kept for name in family])


def divide(
    family: Sequence[str], strata: Sequence[Hashable], shares: Mapping[str, float], *, seed: int = 0
) -> list[str]:
    """A split for every row: whole families, each stratum in the shares asked for as far as families allow.

    Families are placed one by one, the largest first, each where its strata are furthest from their share
    (after Sechidis, Tsoumakas & Vlahavas 2011). Among families of equal size a seeded hash decides the order.

    Args:
        family: Family of each row.
        strata: What should be spread alike, such as ``(source, fake)``, of each row.
        shares: Split → its share of the rows; they add up to 1.
        seed: Another seed gives another split.

    Raises:
        ValueError: The shares are negative or do not add up to 1.
    """
    if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"shares must add up to 1, got {dict(shares)}")
    content: dict[str, Counter[Hashable]] = defaultdict(Counter)
    totals: Counter[Hashable] = Counter(strata)
    for name, stratum in zip(family, strata, strict=True):
        content[name][stratum] += 1
    missing = {split: {stratum: share * count for stratum, count in totals.items()} for split, share in shares.items()}
    open_to = [split for split, share in shares.items() if share > 0]
    place: dict[str, str] = {}
    for name in sorted(content, key=lambda name: (-content[name].total(), _shuffled(name, seed))):
        needs = {
            split: sum(count * missing[split][stratum] / totals[stratum] for stratum, count in content[name].items())
            for split in open_to
        }
        place[name] = max(open_to, key=lambda split: needs[split])
        for stratum, count in content[name].items():
            missing[place[name]][stratum] -= count
    return [place[name] for name in family]


def complete_splits(
    family: Sequence[str], strata: Sequence[Hashable], given: Sequence[str], shares: Mapping[str, float], *, seed: int
) -> list[str]:
    """A split for every row, where a dataset brings splits for some rows or for all.

    What the dataset gives to validation or test stays there, and so does the rest of its family. A split that it
    lacks is taken from what is left, in the shares asked for; one that it has gets nothing more.

    Args:
        family: Family of each row.
        strata: What should be spread alike, of each row.
        given: The dataset's own split of each row, ``""`` where it has none.
        shares: Shares of ``"valid"`` and ``"test"`` among the rows that the dataset leaves open; the rest trains.
        seed: Another seed gives another split.

    Raises:
        TrainingDataError: The dataset's own splits divide a family.
    """
    fixed: dict[str, str] = {}
    for name, split in zip(family, given, strict=True):
        if split and fixed.setdefault(name, split) != split:
            raise TrainingDataError(
                f"the dataset's own splits leak: family {name!r} is in {fixed[name]!r} and in {split!r}; ignore them "
                "by --ignore-splits, or correct them"
            )
    brought = set(fixed.values())
    wanted = {split: share for split, share in shares.items() if split not in brought}
    # What the dataset calls training may be divided further; what it holds out may not.
    rows = [row for row, name in enumerate(family) if fixed.get(name, "train") == "train"]
    if not wanted:
        return [fixed.get(name, "train") for name in family]
    wanted["train"] = 1.0 - sum(wanted.values())
    order: dict[str, float] = {split: wanted[split] for split in ("train", "valid", "test") if split in wanted}
    new = divide([family[row] for row in rows], [strata[row] for row in rows], order, seed=seed)
    result = [fixed.get(name, "") for name in family]
    for row, split in zip(rows, new, strict=True):
        result[row] = split
    return result


class _Links:
    """Union-find over hashable things."""

    def __init__(self) -> None:
        self.numbers: dict[Hashable, int] = {}
        self.parent: list[int] = []

    def node(self, key: Hashable) -> int:
        number = self.numbers.setdefault(key, len(self.parent))
        if number == len(self.parent):
            self.parent.append(number)
        return number

    def root(self, node: int) -> int:
        parent = self.parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(self, first: int, second: int) -> None:
        self.parent[self.root(first)] = self.root(second)


def _by_strata(family: Iterable[str], strata: Iterable[Any]) -> dict[frozenset[Any], list[str]]:
    """Families by the set of strata that their rows are in."""
    seen: dict[str, set[Any]] = defaultdict(set)
    for name, stratum in zip(family, strata, strict=True):
        seen[name].add(stratum)
    result: dict[frozenset[Any], list[str]] = defaultdict(list)
    for name, found in seen.items():
        result[frozenset(found)].append(name)
    return result


def _shuffled(name: str, seed: int) -> bytes:
    """A sort key that is the same everywhere and has nothing to do with the name's own order."""
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()
