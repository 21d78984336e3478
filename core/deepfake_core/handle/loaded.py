"""A detector that is ready to judge: the same verbs whatever runs it."""

from __future__ import annotations

import glob
import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepfake_core.contract.specs import DetectorSpec
from deepfake_core.discovery.plugins import detector_spec, import_object
from deepfake_core.errors import InputError, WeightsUnavailable
from deepfake_core.handle.postprocess import judge
from deepfake_core.handle.results import Result
from deepfake_core.inputs.decode import name_of
from deepfake_core.inputs.prepare import Prepared, Preparer
from deepfake_core.inputs.sources import Frames, Source, expand
from deepfake_core.runtimes.base import Outputs, Runtime
from deepfake_core.runtimes.threads import allowed_threads
from deepfake_registry.manifest import ModelManifest

if TYPE_CHECKING:
    from torch import nn

    from deepfake_core.contract.detector import Detector
    from deepfake_core.contract.recipe import TrainRecipe
    from deepfake_core.contract.repository import Repository
    from deepfake_core.datasets import Dataset
    from deepfake_core.discovery.artifacts import Artifact, Package
    from deepfake_core.inputs.decode import PictureSource
    from deepfake_core.inputs.sources import Single

TORCH = "deepfake-core[torch]"

# On a processor, larger batches leave the caches and cost more per picture; a GPU wants many.
_BATCH = {"cpu": 4, "cuda": 32}


class Keep(NamedTuple):
    """What stays in a result beside the scores."""

    evidence: bool
    crops: bool


class LoadedDetector:
    """What :func:`deepfake_core.load` returns; safe to use from several threads.

    Attributes:
        spec: The plugin's record; ``None`` for a bare file whose architecture no installed plugin offers, which
            can be run but not trained.
        manifest: What the model is, how its input is prepared and how its score is to be read.
        runtime: What runs the network.
        artifacts: The model files that run, verified; none where the network was built or read otherwise.
        origin: Arguments of :func:`deepfake_core.load` that give the same weights again; empty for untrained ones.
        repository: The repository of the Hugging Face Hub that they came from; ``None`` for any other origin.
        load_ms: Milliseconds that loading took, by stage (``cache``, ``import``, ``load``, ``device``, ``transfer``).
    """

    def __init__(
        self,
        spec: DetectorSpec | None,
        runtime: Runtime,
        *,
        package: Package | None = None,
        artifacts: Sequence[Artifact] = (),
        origin: Mapping[str, str] | None = None,
        repository: Repository | None = None,
        load_ms: Mapping[str, float] | None = None,
    ) -> None:
        self.spec = spec
        self.manifest: ModelManifest = runtime.manifest
        self.runtime = runtime
        self.artifacts = tuple(artifacts)
        self.origin = dict(origin or {})
        self.repository = repository
        self.load_ms = dict(load_ms or {})
        self._package = package
        self._preparers: dict[tuple[int, int], Preparer] = {}
        self._batch = _BATCH[runtime.device.partition(":")[0]]

    def __repr__(self) -> str:
        manifest = self.manifest
        return (
            f"<LoadedDetector {manifest.name} {manifest.version} ({manifest.weights}) "
            f"on {self.runtime.name}, {self.runtime.device}>"
        )

    # ── infer ────────────────────────────────────────────────────────────────────────────────────────────────

    def predict(
        self, inputs: Any, *, evidence: bool = False, keep_crops: bool = False, frames: int = 16, clips: int = 4
    ) -> Result | list[Result]:
        """Judge pictures or videos. An input that cannot be read gives a result with the verdict ``error``.

        Args:
            inputs: A path, ``bytes``, an array or a PIL image gives one result; a folder, a glob pattern, an
                array ``uint8 [N, H, W, 3]`` or a list of any of these gives a list. For a detector of clips, a folder
                that holds pictures itself, or an array ``uint8 [T, H, W, 3]``, is one video (:func:`expand`).
            evidence: Keep each face's evidence map.
            keep_crops: Keep each face's crop, as the network saw it.
            frames: Frames to judge of each video, spread evenly over it.
            clips: By a detector of clips, clips to judge of each video instead.
        """
        sources = list(self.expand(inputs)) if isinstance(inputs, str | os.PathLike) else self.expand(inputs)
        preparer, keep = self._preparer(frames, clips), Keep(evidence, keep_crops)
        if _gives_list(inputs, sources, arrays=5 if self._takes_clips else 4):
            return list(self._stream(iter(sources), preparer, self._batch, allowed_threads(), keep))
        (result,) = self._judge([preparer.prepare(source) for source in sources], self._batch, keep)
        return result

    def expand(self, inputs: Any) -> Iterator[Source]:
        """Every single input that :meth:`predict` or :meth:`stream` would judge, in their order."""
        return expand(inputs, clips=self._takes_clips)

    def stream(
        self,
        inputs: Any,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        evidence: bool = False,
        keep_crops: bool = False,
        frames: int = 16,
        clips: int = 4,
    ) -> Iterator[Result]:
        """Judge many inputs in their order, decoding the next ones while the network runs.

        A bounded number of inputs is prepared ahead, however slowly the results are taken. Crops of several
        inputs share a batch when they are ready together; the network never waits to fill one.

        Args:
            inputs: As for :meth:`predict`; an iterator is read as results are taken.
            batch_size: Most crops that the network gets at a time; by default what suits the device.
            workers: Threads that decode, find faces and crop; by default what the machine allows.
            evidence: Keep each face's evidence map.
            keep_crops: Keep each face's crop, as the network saw it.
            frames: Frames to judge of each video, spread evenly over it.
            clips: By a detector of clips, clips to judge of each video instead.
        """
        preparer, keep = self._preparer(frames, clips), Keep(evidence, keep_crops)
        return self._stream(
            self.expand(inputs), preparer, batch_size or self._batch, workers or allowed_threads(), keep
        )

    def _stream(
        self, sources: Iterator[Source], preparer: Preparer, batch_size: int, workers: int, keep: Keep
    ) -> Iterator[Result]:
        pending: deque[Future[Prepared]] = deque()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="deepfake-prepare")

        def refill() -> None:
            for source in itertools.islice(sources, workers + batch_size - len(pending)):
                pending.append(pool.submit(preparer.prepare, source))

        try:
            refill()
            while pending:
                group = [pending.popleft().result()]
                while pending and pending[0].done() and sum(len(item.crops) for item in group) < batch_size:
                    group.append(pending.popleft().result())
                refill()
                yield from self._judge(group, batch_size, keep)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def score(self, images: NDArray[np.uint8], *, batch_size: int | None = None) -> Outputs:
        """Run the network on prepared crops: ``uint8 [N, H, W, 3]`` RGB, or clips ``uint8 [N, T, H, W, 3]``.

        Args:
            images: Of the size that the manifest states.
            batch_size: Most of them that the network gets at a time; by default all.

        Returns:
            Logits float32 [N], and what else the manifest's outputs name.

        Raises:
            InputError: The array has another type or shape.
        """
        shape = self.manifest.preprocess.input_shape
        if images.dtype != np.uint8 or images.shape[1:] != shape or len(images) == 0:
            wanted = ", ".join(str(length) for length in shape)
            raise InputError("<array>", f"is {images.dtype} {list(images.shape)}, expected uint8 [N, {wanted}], N ≥ 1")
        step = batch_size or len(images)
        return Outputs.joined([self.runtime.run(images[start : start + step]) for start in range(0, len(images), step)])

    def prepare(self, source: Single, *, frames: int = 16, clips: int = 4) -> Prepared:
        """One input, decoded and cut as the network takes it, without being judged.

        ``score(prepared.crops, *prepared.others)`` judges it; a bad input has ``error`` set, and raises nothing.
        """
        return self._preparer(frames, clips).prepare(source)

    @property
    def _takes_clips(self) -> bool:
        return self.manifest.preprocess.clip is not None

    def _preparer(self, frames: int, clips: int) -> Preparer:
        made = Preparer(self.manifest.preprocess, frames=frames, clips=clips)
        return self._preparers.setdefault((frames, clips), made)

    def _judge(self, group: Sequence[Prepared], batch_size: int, keep: Keep) -> Iterator[Result]:
        counts = [len(prepared.crops) for prepared in group]
        start = perf_counter()
        outputs = Outputs(np.zeros(0, np.float32))
        if total := sum(counts):
            cuts = zip(*((item.crops, *item.others) for item in group if len(item.crops)), strict=True)
            outputs = self.score(*(np.concatenate(cut) for cut in cuts), batch_size=batch_size)
        each_ms = 1000.0 * (perf_counter() - start) / max(total, 1)
        first = 0
        for prepared, count in zip(group, counts, strict=True):
            own = slice(first, first + count)
            first += count
            yield judge(
                prepared,
                outputs[own],
                self.manifest,
                inference_ms=each_ms * count,
                evidence=keep.evidence,
                keep_crops=keep.crops,
            )

    # ── protect ──────────────────────────────────────────────────────────────────────────────────────────────

    def protect(
        self, source: PictureSource, *, epsilon: float = 0.03, save: str | os.PathLike[str] | None = None
    ) -> Image.Image:
        """Add a small perturbation to a picture, which disturbs what would manipulate its faces.

        Every face is protected at the picture's full resolution; where none is found, the picture as a whole. Size,
        colour mode, transparency, EXIF data and colour profile stay; a palette becomes RGB.

        Args:
            source: A path, the bytes of a file, an array or a PIL image.
            epsilon: Largest change of any channel of a pixel, in units of the pixel range: at most
                ``floor(255 · epsilon)`` levels.
            save: Where to write it, too, EXIF data and colour profile included. The bound holds in the picture that
                is returned and in lossless files; JPEG changes pixels once more.

        Returns:
            The protected picture. Its ``info["protection"]`` holds ``psnr_db`` and ``ssim`` against the original,
            ``epsilon``, the number of ``faces``, and the status of the ``weights``.

        Raises:
            DeepfakeError: The detector is no protector, epsilon is not in (0, 1], or ``save`` is the source itself
                or cannot hold the picture.
            InputError: The source cannot be read; it names the file.
        """
        from deepfake_core.protect import protectors

        if save is not None:
            protectors.check_target(source, save)
        image = protectors.protect(self, source, epsilon)
        if save is not None:
            protectors.save(image, save)
        return image

    # ── train and export ─────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def detector(self) -> Detector:
        """The plugin's detector with this model's configuration (imports torch).

        Raises:
            UnknownDetector: No installed plugin offers the architecture.
            MissingExtra: torch, or another module that the detector needs, is absent.
        """
        spec = self.spec or detector_spec(self.manifest.architecture)
        detector: Detector = import_torch("make_detector", spec.install)(spec, self.manifest.config)
        return detector

    @property
    def parameters(self) -> int:
        """Number of the network's parameters, as it is trained (imports torch).

        Raises:
            UnknownDetector, MissingExtra: As for :attr:`detector`.
        """
        network = import_torch("skeleton")(self.detector)
        return sum(parameter.numel() for parameter in network.parameters())

    @cached_property
    def network(self) -> nn.Module:
        """The torch network with this model's weights.

        Raises:
            WeightsUnavailable: Only an exported file is at hand, from which no network can be rebuilt.
        """
        network: nn.Module
        if self.runtime.name == "torch":
            network = self.runtime.network  # type: ignore[attr-defined]
        elif self._package is not None and (weights := self._package.artifact("safetensors")) is not None:
            network = import_torch("load_network")(self.detector, weights)
        else:
            raise WeightsUnavailable(
                f"{self.manifest.name!r} is at hand as an exported file only; train it and load the run's "
                "model folder, which can be exported"
            )
        return network

    def train(
        self,
        data: str | Path | Dataset,
        recipe: str | Path | TrainRecipe = "default",
        run_dir: str | Path = "runs/latest",
        **options: Any,
    ) -> LoadedDetector:
        """Train this architecture, with this configuration, from its public or random initial weights.

        Args:
            data: A dataset, or how to open one: ``"NAME:PATH?option=value"``, or a path that is recognised.
            recipe: A recipe, its name, or a YAML file that holds one. A name may bring hyper-parameters of its own
                (:attr:`Detector.configs`), unless this detector has others than the defaults.
            run_dir: Where the run is written.
            **options: ``valid``, ``test``, ``device``, ``resume`` and what else
                :func:`deepfake_core.training.run.train` takes.

        Returns:
            The trained detector, from the package in ``run_dir/model``.

        Raises:
            MissingExtra: What training needs is not installed.
            TrainingDataError: The data is missing, ambiguous or leaks.
        """
        from deepfake_core.loading.load import load

        detector = self.detector
        install = self.spec.install if self.spec else TORCH
        resolve = import_object("deepfake_core.training.recipes.resolve:resolve_recipe", install=install)
        config = import_object("deepfake_core.training.recipes.resolve:config_of", install=install)(detector, recipe)
        if config != detector.config:
            detector = type(detector)(config)
        train = import_object("deepfake_core.training.run:train", install=install)
        package: Package = train(
            self.manifest.architecture, detector, data, resolve(detector, recipe), Path(run_dir), **options
        )
        return load(package.folder)

    def export(self, format: str = "onnx", precision: str = "fp32", *, out: str | Path, **options: Any) -> Path:
        """Write the network in another format, once it has been shown to agree with it.

        Args:
            format: Format of an installed exporter, such as ``onnx``.
            precision: ``fp32``, or a smaller one that the format offers.
            out: The file to write.
            **options: Passed on to the exporter, such as ``calibration_images`` and ``labels``.

        Raises:
            ParityError: The export disagrees with the network; nothing is written.
            DeepfakeError: No exporter for the format is installed.
        """
        export = import_object("deepfake_core.export:export_detector")
        path: Path = export(self, format, precision, out=out, **options)
        return path


def import_torch(name: str, install: str = TORCH) -> Any:
    """Something of the torch side, imported now; a missing torch becomes the pip line that brings it."""
    return import_object(f"deepfake_core.runtimes.torch:{name}", install=install)


def _gives_list(inputs: Any, sources: Iterable[Source], *, arrays: int) -> bool:
    """Whether ``predict`` answers with a list: for all but one path, ``bytes``, array, PIL image or video's frames.

    Args:
        inputs: As for :meth:`LoadedDetector.predict`.
        sources: What they expand to.
        arrays: Axes of an array that holds several inputs.
    """
    if isinstance(inputs, str | os.PathLike):
        path = os.fsdecode(inputs)
        is_pattern = glob.has_magic(path) and not os.path.lexists(path)
        return is_pattern or [source.name for source in sources] != [name_of(path)]
    if isinstance(inputs, np.ndarray):
        return inputs.ndim == arrays
    return not isinstance(inputs, bytes | Image.Image | Frames | Source)
