"""The verbs that single detectors and ensembles share: ``predict``, ``stream``, ``score``, ``explain``."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, Self, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from deepfake_core.errors import InputError
from deepfake_core.handle.mark import protected_faces
from deepfake_core.handle.postprocess import to_result
from deepfake_core.handle.results import Results
from deepfake_core.inputs.prepare import Prepared, PrepareOptions, Preparer
from deepfake_core.inputs.sources import Source, expand, is_one_input
from deepfake_core.parallel import ordered_groups
from deepfake_core.runtimes.base import Outputs, Runtime
from deepfake_core.runtimes.forks import renew_after_fork
from deepfake_core.runtimes.threads import allowed_threads

if TYPE_CHECKING:
    from types import TracebackType

    from deepfake_core.contract.repository import Repository
    from deepfake_core.contract.specs import DetectorSpec
    from deepfake_core.discovery.artifacts import Artifact
    from deepfake_core.discovery.training_groups import TrainingGroups
    from deepfake_core.explainers.base import Target
    from deepfake_core.explainers.sheets import HeatMap
    from deepfake_core.handle.explanation import Explanation
    from deepfake_core.handle.results import FaceResult, Result
    from deepfake_core.inputs.sources import Inputs, OneInput
    from deepfake_registry.manifest import ModelManifest, PreprocessSpec

# Larger batches leave the caches of a CPU and cost more for each picture; a GPU wants many.
_BATCH = {"cpu": 4, "cuda": 32, "mps": 16}


class OutputOptions(NamedTuple):
    """Optional parts of a result.

    Attributes:
        evidence: Whether to keep the evidence map of each face.
        crops: Whether to keep the crop of each face.
    """

    evidence: bool
    crops: bool


class Predictor(ABC):
    """A loaded model that judges pictures and videos; safe to use from several threads.

    It keeps its threads and face finders between calls; :meth:`close`, or the end of a ``with`` block, gives them back.

    Attributes:
        spec: Record of the plugin; ``None`` where no installed plugin stands behind the model.
        manifest: Description of the model: preprocessing, calibration, provenance.
        runtime: Runtime that executes the network.
        artifacts: Model files that run, verified; empty where the network did not come from model files.
        origin: Arguments of :func:`deepfake_core.load` that give the same weights again; empty where there are none.
        repository: Repository of the Hugging Face Hub that the weights came from; ``None`` for any other origin.
        load_ms: Time spent on loading, in milliseconds, by stage (``cache``, ``import``, ``load``, ``device``,
            ``transfer``).
    """

    spec: DetectorSpec | None
    manifest: ModelManifest
    runtime: Runtime
    artifacts: tuple[Artifact, ...]
    origin: dict[str, str]
    repository: Repository | None
    load_ms: dict[str, float]

    def __init__(self, runtime: Runtime, cuts: Sequence[PreprocessSpec]) -> None:
        """Prepare the shared verbs.

        Args:
            runtime: Runtime that executes the network.
            cuts: Preprocessing of each distinct crop that the model takes of one face; the first is the main one.
        """
        self.spec = None
        self.manifest = runtime.manifest
        self.runtime = runtime
        self.artifacts = ()
        self.origin = {}
        self.repository = None
        self.load_ms = {}
        self._cuts = tuple(cuts)
        self._batch = _BATCH[runtime.device.partition(":")[0]]
        self._lock = Lock()
        self._preparers: dict[tuple[tuple[str, object], ...], Preparer] = {}
        self._pools: dict[int, ThreadPoolExecutor] = {}
        renew_after_fork(self)

    @property
    def training_groups(self) -> TrainingGroups | None:
        """Hashes of what trained and validated the model; ``None`` where its package has none."""
        return None

    def __repr__(self) -> str:
        manifest = self.manifest
        return (
            f"<{type(self).__name__} {manifest.name} {manifest.version} ({manifest.weights}) "
            f"on {self.runtime.name}, {self.runtime.device}>"
        )

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Number of parameters of the network, or of all networks of an ensemble (imports torch).

        Raises:
            UnknownDetector: No installed plugin offers the architecture.
            MissingExtra: torch, or another module that the detector needs, is not installed.
        """

    @abstractmethod
    def _run(self, cuts: Sequence[NDArray[np.uint8]]) -> Outputs:
        """Run the network on N faces, given in each of the cuts that it takes, ``uint8 [N, H, W, 3]`` RGB each."""

    # ── judge ────────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    def predict(  # type: ignore[overload-overlap] # text and files can be iterated, too, and are one input
        self, inputs: OneInput, *, evidence: bool = ..., keep_crops: bool = ..., **options: Unpack[PrepareOptions]
    ) -> Result: ...
    @overload
    def predict(
        self,
        inputs: Iterable[Inputs],
        *,
        evidence: bool = ...,
        keep_crops: bool = ...,
        **options: Unpack[PrepareOptions],
    ) -> Results: ...
    def predict(
        self, inputs: Inputs, *, evidence: bool = False, keep_crops: bool = False, **options: Unpack[PrepareOptions]
    ) -> Result | Results:
        """Judge pictures or videos. An input that cannot be read gives a result with the verdict ``error``.

        Args:
            inputs: One input gives one :class:`~deepfake_core.Result`: the path of a file, its ``bytes``, a binary file
                object or an upload, an array ``[H, W, 3]`` RGB or ``[3, H, W]`` of uint8 or float in [0, 1], also of a
                library such as torch, or a PIL image. Several give :class:`~deepfake_core.Results`, which is a list: a
                list of any of these, an array with one more axis, and at run time also the path of a folder and a glob
                pattern. A detector of clips takes a folder that holds pictures itself, and an array ``[T, H, W, 3]``,
                for one video.
            evidence: Whether to keep the evidence map of each face.
            keep_crops: Whether to keep the crop of each face, as the network saw it.
            **options: ``frames=16`` to judge of each video, spread evenly over it, or ``clips=4`` for detectors of
                clips; ``max_faces=None`` to judge of each picture, frame or clip, the largest ones, or all; and
                ``max_pixels=64_000_000`` to decode of one file. See
                :class:`~deepfake_core.inputs.prepare.PrepareOptions`.

        Raises:
            TypeError: Something among the inputs is none, such as a dictionary.
            DeepfakeError: An option has a value that it cannot have.
        """
        output = OutputOptions(evidence, keep_crops)
        preparer = self._preparer(options)
        sources = list(self.expand(inputs)) if isinstance(inputs, str | os.PathLike) else self.expand(inputs)
        if is_one_input(inputs, sources, clips=self._takes_clips):
            (result,) = self._judge([self._prepared(preparer, source) for source in sources], self._batch, output)
            return result
        return Results(self._stream(iter(sources), preparer, self._batch, allowed_threads(), output))

    __call__ = predict

    def expand(self, inputs: Inputs) -> Iterator[Source]:
        """Yield every single input that :meth:`predict` or :meth:`stream` would judge, in their order."""
        return expand(inputs, clips=self._takes_clips)

    def stream(
        self,
        inputs: Inputs,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        evidence: bool = False,
        keep_crops: bool = False,
        **options: Unpack[PrepareOptions],
    ) -> Iterator[Result]:
        """Judge many inputs in their order, and decode the next ones while the network runs.

        A bounded number of inputs is prepared ahead, however slowly the results are taken. Crops of several inputs
        share a batch when they are ready together; the network never waits to fill a batch.

        Args:
            inputs: Inputs as :meth:`predict` takes them; an iterator is read as results are taken.
            batch_size: Largest number of crops in a batch; by default one that suits the device.
            workers: Number of threads that decode, find faces and crop; by default what the machine allows.
            evidence: Whether to keep the evidence map of each face.
            keep_crops: Whether to keep the crop of each face, as the network saw it.
            **options: As for :meth:`predict`.
        """
        output = OutputOptions(evidence, keep_crops)
        threads = workers or allowed_threads()
        return self._stream(self.expand(inputs), self._preparer(options), batch_size or self._batch, threads, output)

    def score(self, images: NDArray[np.uint8], *others: NDArray[np.uint8], batch_size: int | None = None) -> Outputs:
        """Run the network on prepared crops.

        Args:
            images: Crops ``uint8 [N, H, W, 3]`` RGB, or clips ``uint8 [N, T, H, W, 3]``, of the size that the manifest
                states.
            *others: The same faces in the further cuts that the members of an ensemble take; see :meth:`prepare`.
            batch_size: Largest number of crops in a batch; by default all of them.

        Returns:
            Logits ``float32 [N]``, and the further outputs that the manifest names.

        Raises:
            InputError: An array is missing, or has another type or shape.
        """
        cuts = (images, *others)
        if len(cuts) != len(self._cuts):
            raise InputError(
                "<array>",
                f"{len(cuts)} cuts of the faces, and {self.manifest.name} takes {len(self._cuts)}; take them from "
                "prepare(), or look at a member of the ensemble alone",
            )
        for cut, spec in zip(cuts, self._cuts, strict=True):
            if cut.dtype != np.uint8 or cut.shape[1:] != spec.input_shape or len(cut) != len(images) or not len(cut):
                wanted = ", ".join(map(str, spec.input_shape))
                raise InputError("<array>", f"is {cut.dtype} {list(cut.shape)}, expected uint8 [N, {wanted}], N ≥ 1")
        step = batch_size or len(images)
        starts = range(0, len(images), step)
        return Outputs.joined([self._run([cut[start : start + step] for cut in cuts]) for start in starts])

    def prepare(self, source: OneInput, **options: Unpack[PrepareOptions]) -> Prepared:
        """Decode one input and cut its faces as the network takes them, without judging it.

        ``score(prepared.crops, *prepared.others)`` judges it. An input that cannot be read has ``error`` set, and
        raises nothing.

        Args:
            source: One input, as :meth:`predict` takes it.
            **options: As for :meth:`predict`.
        """
        return self._prepared(self._preparer(options), source)

    def explain(
        self,
        inputs: Inputs,
        *,
        method: str | None = None,
        target: Target = "predicted",
        every_face: bool = False,
        **options: Unpack[PrepareOptions],
    ) -> list[Explanation]:
        """Show where the detector looked.

        Args:
            inputs: Inputs as :meth:`predict` takes them.
            method: Name of an installed explainer; by default the detector's evidence map, GradCAM, or occlusion.
            target: Class that the heat maps argue for.
            every_face: Whether to explain all faces of an input, rather than the most suspicious one.
            **options: As for :meth:`predict`.

        Returns:
            One explanation for each explained face, in the order of the inputs; an input without a face has none.

        Raises:
            InputError: An input cannot be read; the message names it.
            DeepfakeError: No plugin offers the explainer, or the detector lacks what it needs.
            MissingExtra: A package that the explainer needs is not installed.
        """
        results = self.stream(inputs, keep_crops=True, **options)
        return list(self.explain_results(results, method=method, target=target, every_face=every_face))

    def explain_results(
        self,
        results: Iterable[Result],
        *,
        method: str | None = None,
        target: Target = "predicted",
        every_face: bool = False,
    ) -> Iterator[Explanation]:
        """Explain results that this detector gave with ``keep_crops=True``, as they are taken.

        See :meth:`explain` for the other arguments and the errors.
        """
        from deepfake_core.handle.explanation import Explanation

        for result in results:
            if result.error:
                raise InputError(result.source, result.error)
            for face in result.faces if every_face else result.faces[:1]:
                if face.crop is not None:
                    yield Explanation(result, face, self._heat(result, face, method, target))

    def _heat(self, result: Result, face: FaceResult, method: str | None, target: Target) -> HeatMap:  # noqa: ARG002
        """Explain one face; ``result`` is what it is from."""
        from deepfake_core.explainers.choose import suitable_method
        from deepfake_core.explainers.sheets import Sheets

        assert face.crop is not None
        return Sheets(self, method or suitable_method(self, target), target).heat(face.crop, face.p_fake)

    # ── resources ────────────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Give back threads and face finders; a later call takes new ones."""
        with self._lock:
            pools, self._pools, self._preparers = self._pools, {}, {}
        for pool in pools.values():
            pool.shutdown(wait=True, cancel_futures=True)

    def after_fork(self) -> None:
        """Take new threads and face finders in a process that was forked, which does not have those of its parent."""
        self._lock, self._preparers, self._pools = Lock(), {}, {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _takes_clips(self) -> bool:
        return self.manifest.preprocess.clip is not None

    def _preparer(self, options: PrepareOptions) -> Preparer:
        key = tuple(sorted(options.items()))
        with self._lock:
            if key not in self._preparers:
                first, *others = self._cuts
                self._preparers[key] = Preparer(first, others=others, **options)
            return self._preparers[key]

    def _prepared(self, preparer: Preparer, source: OneInput) -> Prepared:
        prepared = preparer.prepare(source)
        return replace(prepared, protected=protected_faces(prepared, self._cuts[0]))

    def _pool(self, workers: int) -> ThreadPoolExecutor:
        """The threads for a number of workers, which are kept: starting them anew costs as much as a small picture."""
        with self._lock:
            if workers not in self._pools:
                self._pools[workers] = ThreadPoolExecutor(workers, thread_name_prefix="deepfake-prepare")
            return self._pools[workers]

    def _stream(
        self,
        sources: Iterator[Source],
        preparer: Preparer,
        batch_size: int,
        workers: int,
        options: OutputOptions,
    ) -> Iterator[Result]:
        groups = ordered_groups(
            partial(self._prepared, preparer),
            sources,
            workers=workers,
            ahead=workers + batch_size,
            executor=self._pool(workers),
            limit=batch_size,
            size=lambda prepared: len(prepared.crops),
        )
        with closing(groups):
            for group in groups:
                yield from self._judge(group, batch_size, options)

    def _judge(self, group: Sequence[Prepared], batch_size: int, options: OutputOptions) -> Iterator[Result]:
        counts = [len(prepared.crops) for prepared in group]
        start = perf_counter()
        outputs = Outputs(np.zeros(0, np.float32))
        if total := sum(counts):
            cuts = zip(*((item.crops, *item.others) for item in group if len(item.crops)), strict=True)
            # The crops of a crowd are not copied.
            joined = (cut[0] if len(cut) == 1 else np.concatenate(cut) for cut in cuts)
            outputs = self.score(*joined, batch_size=batch_size)
        each_ms = 1000.0 * (perf_counter() - start) / max(total, 1)
        first = 0
        for prepared, count in zip(group, counts, strict=True):
            own = slice(first, first + count)
            first += count
            yield to_result(
                prepared,
                outputs[own],
                self.manifest,
                inference_ms=each_ms * count,
                evidence=options.evidence,
                keep_crops=options.crops,
            )
