"""The manifest of a published model: its interface, its preprocessing and the meaning of its score.

A :class:`ModelManifest` is embedded as JSON in every artefact (ONNX ``metadata_props``, safetensors metadata)
under :data:`MANIFEST_KEY`, so a bare file is enough to run a model correctly. The docstrings of the manifest's classes
are the descriptions in its published JSON schema: a change of one changes the schema.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deepfake_registry.errors import ArtifactCorrupt

MANIFEST_KEY = "deepfake.manifest"
"""Key of the manifest in the metadata of an artefact."""
MANIFEST_FILE = "manifest.json"
"""Name of the manifest in the folder of a packaged model."""
SCHEMA_VERSION = 1

WeightsStatus = Literal["trained", "pretrained", "untrained"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "area"]


class Frozen(BaseModel):
    """Immutable model that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ── preprocessing: host half (pixels) and graph half (inside the exported network) ──────────────────────────


class FaceCrop(Frozen):
    """Cut a square around a face box.

    The side is ``margin`` times the longer side of the face box, centred on it; what falls outside of the
    picture is filled according to ``border``.
    """

    kind: Literal["face_crop"] = "face_crop"
    margin: float = Field(1.3, gt=0.5, le=4.0)
    border: Literal["reflect", "replicate", "constant"] = "reflect"


class WholeImage(Frozen):
    """Use the whole picture, with no face finder; its aspect ratio is not kept by the following resize."""

    kind: Literal["whole_image"] = "whole_image"


class Resize(Frozen):
    """Resize to ``height`` × ``width`` pixels.

    With ``antialias`` the kernel widens with the reduction (Pillow's resampling); without it, samples are
    taken from the nearest pixels alone (OpenCV's).
    """

    kind: Literal["resize"] = "resize"
    height: int = Field(gt=0, le=4096)
    width: int = Field(gt=0, le=4096)
    interpolation: Interpolation = "bilinear"
    antialias: bool = True


class Normalize(Frozen):
    """``(x / 255 - mean) / std`` per RGB channel, from uint8 to float32; part of the exported graph."""

    kind: Literal["normalize"] = "normalize"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @model_validator(mode="after")
    def _std_positive(self) -> Self:
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        return self


class Clip(Frozen):
    """Take ``length`` frames of a video, every ``skip``-th one, as one input of the network."""

    # The docstring is part of the published schema, and "skip" is the key of stored files.
    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    length: int = Field(gt=0, le=1024)
    stride: int = Field(1, gt=0, alias="skip")


class PreprocessSpec(Frozen):
    """From a decoded RGB picture or video to the network's input, as data.

    ``clip``, ``crop`` and ``resize`` are the host half and yield ``uint8 [N, H, W, 3]`` RGB, or
    ``uint8 [N, T, H, W, 3]`` for a network that takes clips; ``normalize`` is the graph half and lies inside every
    exported artefact.
    """

    clip: Clip | None = None
    crop: Annotated[FaceCrop | WholeImage, Field(discriminator="kind")] = FaceCrop()
    resize: Resize
    normalize: Normalize

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input, in pixels."""
        return self.resize.height, self.resize.width

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: ``(H, W, 3)``, or ``(T, H, W, 3)`` for a network that takes clips."""
        return (*((self.clip.length,) if self.clip else ()), *self.size, 3)


# ── tensors, labels, calibration ─────────────────────────────────────────────────────────────────────────────


class TensorSpec(Frozen):
    """One input or output of an artefact; a string in ``shape`` is a dynamic dimension."""

    name: str
    dtype: Literal["uint8", "float32"]
    shape: tuple[int | str, ...]


class LabelMap(Frozen):
    """Which class index of a dataset or checkpoint means ``fake``; the core's own target is ``fake ∈ {0, 1}``.

    There is no default: a missing or ambiguous map is an error, never a guess.
    """

    real: int
    fake: int

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if self.real == self.fake:
            raise ValueError(f"real and fake share the index {self.real}")
        return self

    @classmethod
    def from_names(cls, names: Mapping[int, str]) -> Self:
        """Read an ``id2label`` table such as ``{0: "Fake", 1: "Real"}``.

        Raises:
            ValueError: The table does not have exactly one name that means real and one that means fake.
        """
        found: dict[str, list[int]] = {"real": [], "fake": []}
        for index, name in names.items():
            key = name.strip().lower()
            kind = "real" if key in _REAL_NAMES else "fake" if key in _FAKE_NAMES else None
            if kind is None:
                raise ValueError(f"label {name!r} (index {index}) means neither real nor fake")
            found[kind].append(int(index))
        if len(found["real"]) != 1 or len(found["fake"]) != 1:
            raise ValueError(f"need one real and one fake label, got {dict(names)}")
        return cls(real=found["real"][0], fake=found["fake"][0])


_REAL_NAMES = frozenset({"real", "realism", "original", "authentic", "genuine", "training_real", "1_real", "0_real"})
_FAKE_NAMES = frozenset({"fake", "deepfake", "manipulated", "synthetic", "training_fake", "0_fake", "1_fake"})


class Calibration(Frozen):
    """From a logit to a probability and a verdict.

    ``p_fake = sigmoid(logit / temperature + bias)`` (temperature scaling, Guo et al. 2017, arXiv 1706.04599,
    with an optional bias). A score within ``[unsure_low, unsure_high)`` gives the verdict ``unsure``; otherwise
    ``threshold`` decides, which training does not fit: it writes 0.5. ``fitted_on`` names the data of the other
    numbers, and is empty when nothing was fitted; ``fitted_on_sha256`` are the hashes that ``dfbench run`` gives for
    them, whole or the part that was used, where they are known.
    """

    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    bias: float = Field(0.0, allow_inf_nan=False)
    threshold: float = Field(0.5, gt=0, lt=1)
    unsure_low: float = Field(0.5, ge=0, le=1)
    unsure_high: float = Field(0.5, ge=0, le=1)
    fitted_on: str = ""
    fitted_on_sha256: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _band_holds_threshold(self) -> Self:
        if not self.unsure_low <= self.threshold <= self.unsure_high:
            raise ValueError(
                f"the unsure band [{self.unsure_low}, {self.unsure_high}) must hold the threshold {self.threshold}"
            )
        return self

    def p_fake(self, logit: float) -> float:
        """Return the calibrated probability in [0, 1] for one logit (positive = fake)."""
        z = logit / self.temperature + self.bias
        return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))

    def verdict(self, p_fake: float) -> Literal["fake", "real", "unsure"]:
        """Return the verdict for a calibrated probability."""
        if self.unsure_low <= p_fake < self.unsure_high:
            return "unsure"
        return "fake" if p_fake >= self.threshold else "real"


def scale_in_words(real_below: float, fake_from: float) -> str:
    """Say which P(fake) gives which verdict, for a band ``[real_below, fake_from)`` in which the verdict is ``unsure``.

    Args:
        real_below: Lower end of the band of a calibration, ``unsure_low``.
        fake_from: Upper end, ``unsure_high``; the same as the lower one where there is no band.
    """
    if real_below <= 0 and fake_from >= 1:
        return "always unsure, as this model does not tell fakes from real faces"
    if real_below == fake_from:
        return f"fake from {fake_from:.1%}, real below; close to it let a person look"
    if real_below <= 0:
        return f"fake from {fake_from:.1%}, never real; below let a person look"
    if fake_from >= 1:
        return f"real below {real_below:.1%}, never fake; above let a person look"
    return f"fake from {fake_from:.1%}, real below {real_below:.1%}; in between let a person look"


# ── the manifest ─────────────────────────────────────────────────────────────────────────────────────────────


class DataSource(Frozen):
    """Where training pictures came from, and on which terms."""

    name: str
    role: str
    count: int = Field(ge=0)
    terms: str


class FileRef(Frozen):
    """One file of a packaged model."""

    path: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class ModelManifest(Frozen):
    """Everything needed to run a model and to read its score.

    Attributes:
        name: Published name, such as ``"lite"``.
        version: Version of the weights, not of the code.
        architecture: Detector plugin that builds the network (needed by the torch runtime only).
        config: The detector's hyper-parameters (its ``Config``), as JSON.
        weights: ``trained`` here, ``pretrained`` elsewhere, or ``untrained`` (random).
        outputs: ``logit`` float32 [N], positive = fake; optionally ``evidence`` float32 [N, h, w], logits of
            "this cell was manipulated"; then what else the network returns, float32 [N, …].
        metrics: Measured results, each keyed by dataset and split.
        files: Artefacts by format; empty in the copy that is embedded in an artefact.
        training_groups: File with hashes of the groups that the model was trained and validated on; ``None`` where it
            is not known, and in the embedded copy.
    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: str
    architecture: str
    summary: str = ""
    kind: Literal["image", "video"] = "image"
    weights: WeightsStatus
    license: str = ""
    config: dict[str, Any] = {}
    preprocess: PreprocessSpec
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    calibration: Calibration = Calibration()
    provenance: tuple[DataSource, ...] = ()
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    files: dict[str, FileRef] = {}
    training_groups: FileRef | None = None

    @property
    def references(self) -> tuple[FileRef, ...]:
        """All files of the package beside its manifest."""
        return (*self.files.values(), *([self.training_groups] if self.training_groups else []))

    def embedded(self) -> Self:
        """Return the copy that is stored in an artefact: without the list of files, which would hold its own hash."""
        return self.model_copy(update={"files": {}, "training_groups": None})


def manifest_of(
    *,
    name: str,
    architecture: str,
    preprocess: PreprocessSpec,
    weights: WeightsStatus,
    version: str = "0",
    evidence: tuple[int, int] | None = None,
    extra_outputs: Iterable[TensorSpec] = (),
    **fields: Any,
) -> ModelManifest:
    """Make the manifest of a detector; its kind, its inputs and its outputs follow from the arguments.

    Args:
        name: Published name.
        architecture: Detector plugin that builds the network.
        preprocess: Preprocessing of the network.
        weights: Status of the weights.
        version: Version of the weights.
        evidence: Height and width of the evidence map; ``None`` where the network has none.
        extra_outputs: Outputs of the network besides the logit and the evidence map.
        **fields: Other fields of :class:`ModelManifest`.
    """
    outputs = [TensorSpec(name="logit", dtype="float32", shape=("N",))]
    if evidence is not None:
        outputs.append(TensorSpec(name="evidence", dtype="float32", shape=("N", *evidence)))
    return ModelManifest(
        name=name,
        version=version,
        kind="video" if preprocess.clip else "image",
        architecture=architecture,
        preprocess=preprocess,
        weights=weights,
        inputs=(TensorSpec(name="images", dtype="uint8", shape=("N", *preprocess.input_shape)),),
        outputs=(*outputs, *extra_outputs),
        **fields,
    )


def parse_manifest(text: str | bytes, source: str | Path) -> ModelManifest:
    """Parse and validate the JSON of a manifest.

    Args:
        text: The JSON.
        source: File that it was read from, for the message.

    Raises:
        ArtifactCorrupt: The text is not a manifest, or is one of a newer version.
    """
    try:
        return ModelManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if where == "schema_version":
            raise ArtifactCorrupt(
                f"{source}: its manifest has another schema version than {SCHEMA_VERSION}; upgrade deepfake-core"
            ) from error
        raise ArtifactCorrupt(
            f"{source}: its manifest is not valid: {where + ': ' if where else ''}{first['msg']}"
        ) from error
