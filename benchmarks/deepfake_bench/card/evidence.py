"""Pictures of a model card that show where a detector looked.

A card is public, so that a picture of a dataset may be in it only where the terms of its source allow that: the file of
terms then says ``shown = true``. The embedded pictures are in the public domain and always shown.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from deepfake_bench.records.dataset import PLUMBING, DatasetRef
from deepfake_bench.scenarios.samples import read_dataset
from deepfake_core.datasets import Sample
from deepfake_core.evaluation.evaluate import evaluate
from deepfake_core.evaluation.samples import Subset
from deepfake_core.handle.predictor import Predictor
from deepfake_registry.provenance import SourceTerms, find_terms

EACH = 2
"""Pictures of each source and class: evenly spread over its files, whatever the detector makes of them."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One picture of a card.

    Attributes:
        file: Name of the file.
        title: Source, label and verdict.
        caption: What the heat map shows, in a sentence.
        png: Content of the file.
    """

    file: str
    title: str
    caption: str
    png: bytes


def explained(
    detector: Predictor, datasets: Iterable[DatasetRef], terms: Sequence[SourceTerms]
) -> tuple[Evidence, ...]:
    """Explain some pictures of the embedded set, and of each dataset those that may be shown.

    Args:
        detector: Detector of pictures, or of clips.
        datasets: Datasets that the card is measured on.
        terms: Terms of use of the sources.
    """
    found = (item for dataset in (PLUMBING, *datasets) for item in _explained(detector, dataset, terms))
    return tuple(Evidence(f"evidence-{number:02d}.png", *item) for number, item in enumerate(found, 1))


def may_be_shown(sample: Sample, terms: Iterable[SourceTerms]) -> bool:
    """Return whether the terms of a sample's source allow that its picture is shown to the public."""
    found = find_terms(terms, sample.source, "fake" if sample.is_fake else "real")
    return found is not None and found.shown


def _explained(
    detector: Predictor, dataset: DatasetRef, terms: Sequence[SourceTerms]
) -> Iterator[tuple[str, str, bytes]]:
    """Yield title, caption and PNG file of each picture of a dataset that may be shown and has a face."""
    chosen = read_dataset(dataset, EACH)
    public = dataset == PLUMBING
    shown = Subset(chosen, [sample for sample in chosen.samples if public or may_be_shown(sample, terms)])
    for sample, result in evaluate(detector, shown, keep_crops=True):
        for explanation in () if result.error else detector.explain_results([result]):
            data = io.BytesIO()
            explanation.image().save(data, format="PNG")
            truth = "fake" if sample.is_fake else "real"
            title = f"{sample.source}, {truth}, with the verdict {result.verdict}"
            yield title, explanation.sentence, data.getvalue()
