"""Remember the samples of a dataset that is slow to list, such as compressed archives."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from deepfake_core.datasets.dataset import Sample
from deepfake_core.datasets.files import file_state

T = TypeVar("T")

_CHUNK = 1024
"""Samples that are compressed together."""


class Listing:
    """The samples that the last whole pass over a dataset gave, in about 50 bytes each.

    They are kept as bytes and not as objects, so that processes which load training data do not copy them. A copy in
    another process begins empty.
    """

    def __init__(self) -> None:
        self._state: Hashable = None
        self._chunks: list[bytes] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Listing, ()

    def samples(self, state: Hashable, pairs: Iterable[tuple[Sample, Any]]) -> Iterator[Sample]:
        """Yield the samples that are remembered for a state, or else those of ``pairs``, which are then remembered.

        Args:
            state: What the samples depend on, such as :func:`state_of` the files; not ``None``.
            pairs: Samples with anything.
        """
        if self._state == state:
            for chunk in self._chunks:
                yield from pickle.loads(zlib.decompress(chunk))  # noqa: S301 - bytes of this very object
        else:
            yield from (sample for sample, _ in self.remembering(state, pairs))

    def remembering(self, state: Hashable, pairs: Iterable[tuple[Sample, T]]) -> Iterator[tuple[Sample, T]]:
        """Yield ``pairs``, and remember their samples for a state if all of them are taken."""
        chunks: list[bytes] = []
        waiting: list[Sample] = []
        for pair in pairs:
            waiting.append(pair[0])
            if len(waiting) == _CHUNK:
                chunks.append(_packed(waiting))
                waiting.clear()
            yield pair
        self._state, self._chunks = state, [*chunks, _packed(waiting)]


def _packed(samples: list[Sample]) -> bytes:
    return zlib.compress(pickle.dumps(samples, pickle.HIGHEST_PROTOCOL), 1)


def state_of(files: Iterable[Path]) -> Hashable:
    """Return the names of files with their :func:`~deepfake_core.datasets.files.file_state`."""
    return tuple((str(file), file_state(file)) for file in files)
