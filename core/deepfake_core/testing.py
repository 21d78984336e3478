"""The tests that a detector plugin must pass: subclass :class:`DetectorContract` in three lines and run pytest.

Example of a test module::

    from deepfake_core.testing import DetectorContract

    class TestRadar(DetectorContract):
        detector = "radar"

No data and no connection are needed: the images are drawn. Results are the same each time. A test that fails says why
in a few lines; ``pytest --tb=long`` shows the traceback.
"""

from __future__ import annotations

import functools
import json
import random
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from deepfake_core.datasets.layouts.drawn import draw_face
from deepfake_core.discovery.plugins import detector_spec
from deepfake_core.errors import DeepfakeError, MissingExtra
from deepfake_core.inputs.prepare import Preparer
from deepfake_core.inputs.sources import Frames
from deepfake_core.loading.load import load
from deepfake_core.runtimes.base import worst_difference

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector
    from deepfake_core.runtimes.base import Outputs

T = TypeVar("T", bound=Callable[..., None])
_LONGEST = 300  # characters of an error of a library; those of torch can be pages


def _briefly(test: T) -> T:
    """Have a test fail with one message instead of a traceback, unless ``--tb=long`` asks for it."""

    @functools.wraps(test)
    def run(self: DetectorContract, *args: Any, **kwargs: Any) -> None:
        try:
            test(self, *args, **kwargs)
        except Exception as error:
            if self._long:
                raise
            raise pytest.fail.Exception(_in_short(self.detector, error), pytrace=False) from None

    return cast(T, run)


def _in_short(name: str, error: Exception) -> str:
    """Return what went wrong, and for an error that is not this project's the line of the plugin where it did."""
    text = str(error).strip()
    if isinstance(error, AssertionError | DeepfakeError) and text:
        return text if name in text else f"detector {name!r}: {text}"
    text = " ".join(text.split())[:_LONGEST]
    package = detector_spec(name).detector.partition(":")[0].partition(".")[0]
    lines = [line for line in traceback.extract_tb(error.__traceback__) if package in Path(line.filename).parts]
    where = f" at {lines[-1].filename}:{lines[-1].lineno}" if lines else ""
    return f"detector {name!r}: {type(error).__name__}{where}: {text}; pytest --tb=long shows all of it"


class DetectorContract:
    """The tests of one detector, whatever its network is. Override a test only with ``xfail(reason=…)``.

    Attributes:
        detector: Name that the plugin registers.
        config: Hyper-parameters of the network that is tested; by default the documented ones. Smaller ones keep the
            tests quick where the documented network is large.
        recipe: Name of a recipe that trains a few steps.
        tolerance: Largest difference of logits and evidence between runtimes, and between batch sizes.
    """

    detector: ClassVar[str]
    config: ClassVar[Mapping[str, Any]] = {}
    recipe: ClassVar[str] = "smoke"
    tolerance: ClassVar[float] = 1e-4
    _long = False

    @pytest.fixture(autouse=True)
    def _same_each_time(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Seed all random numbers, and let no variable of the environment choose a backend."""
        import torch

        self._long = request.config.getoption("tbstyle") == "long"
        monkeypatch.delenv("DEEPFAKE_BACKEND", raising=False)
        states = random.getstate(), np.random.get_state()
        with torch.random.fork_rng(devices=[]):
            for seed in (torch.manual_seed, random.seed, np.random.seed):
                seed(0)
            yield
        random.setstate(states[0])
        np.random.set_state(states[1])

    @pytest.fixture
    def untrained(self, _same_each_time: None) -> LoadedDetector:
        """Return the detector with random weights, in torch on the CPU."""
        from deepfake_core.runtimes.torch import check_outputs

        try:
            loaded = _untrained(self.detector, json.dumps(self.config, sort_keys=True))
            check_outputs(loaded.network, loaded.manifest)
        except Exception as error:
            if self._long:
                raise
            raise pytest.fail.Exception(_in_short(self.detector, error), pytrace=False) from None
        return loaded

    @pytest.fixture
    def crops(self, untrained: LoadedDetector) -> NDArray[np.uint8]:
        """Return five drawn faces as inputs of the network, uint8 [5, H, W, 3] RGB; for clips [5, T, H, W, 3]."""
        preparer = Preparer(untrained.manifest.preprocess)
        prepared = [preparer.prepare(self.drawn(untrained, seed)) for seed in range(5)]
        return np.concatenate([item.crops[:1] for item in prepared])

    def drawn(self, detector: LoadedDetector, seed: int) -> NDArray[np.uint8] | Frames:
        """Return a drawn face uint8 [H, W, 3] RGB; for detectors of clips, the frames of a face that trembles.

        Args:
            detector: Detector that the face is for.
            seed: Seed for the face.
        """
        clip = detector.manifest.preprocess.clip
        face = draw_face(seed)
        if clip is None:
            return face
        return Frames([np.roll(face, shift, axis=1) for shift in range(clip.length * clip.stride)])

    @_briefly
    def test_record_names_what_exists(self, untrained: LoadedDetector) -> None:
        """The record has a summary in one line, the extra that brings torch, and a recipe for tests."""
        spec = detector_spec(self.detector)
        assert spec.summary, "the summary of its record is empty; say in one line what the detector is"
        assert "\n" not in spec.summary, "the summary of its record has several lines; shorten it to one"
        assert spec.install.endswith("]"), (
            f"install={spec.install!r} of its record names no extra; name the one that brings torch: 'my-plugin[torch]'"
        )
        assert self.recipe in untrained.detector.recipes, (
            f"there is no recipe {self.recipe!r} among {', '.join(untrained.detector.recipes) or 'none'}; add one that "
            "trains a few steps, such as TrainRecipe().smoke()"
        )

    @_briefly
    def test_shapes(self, untrained: LoadedDetector, crops: NDArray[np.uint8]) -> None:
        """All outputs are finite float32 arrays with the shapes that the manifest states."""
        found = untrained.score(crops).by_name()
        assert list(found) == [spec.name for spec in untrained.manifest.outputs]
        for spec in untrained.manifest.outputs:
            values, wanted = found[spec.name], (len(crops), *spec.shape[1:])
            assert values.shape == wanted, (
                f"{spec.name} has the shape {values.shape} for {len(crops)} inputs instead of {wanted}; let the first "
                "dimension be that of the batch"
            )
            assert np.isfinite(values).all(), (
                f"{spec.name} is not finite for drawn faces; look for a division by zero or a logarithm in the network"
            )

    @_briefly
    def test_same_seed_same_network(self, untrained: LoadedDetector, crops: NDArray[np.uint8]) -> None:
        """Two untrained networks from one seed return equal logits."""
        again = load(self.detector, untrained=True, device="cpu", config=self.config)
        assert np.array_equal(untrained.score(crops).logit, again.score(crops).logit), (
            "two networks that were built with one seed differ; draw the numbers of build() from torch's generator only"
        )

    @_briefly
    def test_batch_size_does_not_matter(self, untrained: LoadedDetector, crops: NDArray[np.uint8]) -> None:
        """Outputs do not depend on the other images of a batch."""
        self.assert_close(
            untrained,
            untrained,
            crops,
            batch_size=1,
            what="one by one and in a batch; let no layer mix the inputs of a batch in evaluation",
        )

    @_briefly
    def test_preprocessing_is_the_manifests(self, untrained: LoadedDetector, crops: NDArray[np.uint8]) -> None:
        """The network sees images that are prepared as the manifest states."""
        import torch

        spec = untrained.manifest.preprocess
        assert spec == untrained.detector.preprocess, (
            "preprocess changes from one access to the next; set it once, in the class or in __init__"
        )
        assert crops.shape == (5, *spec.input_shape)
        normalized = (crops / 255.0 - np.array(spec.normalize.mean)) / np.array(spec.normalize.std)
        with torch.inference_mode():
            output = untrained.network(torch.from_numpy(np.moveaxis(normalized, -1, -3).astype(np.float32)))
        logit = (output[0] if isinstance(output, tuple) else output).numpy()
        self._assert_near(
            {"logit": logit},
            {"logit": untrained.score(crops).logit},
            "of images that are normalised as preprocess states; let the network take them as they are",
        )

    @_briefly
    def test_learns_a_tiny_batch(self, untrained: LoadedDetector, crops: NDArray[np.uint8]) -> None:
        """All gradients are finite, and the loss of four images falls within twelve steps."""
        import torch

        from deepfake_core.contract.detector import WithPreprocess

        detector = untrained.detector
        model = WithPreprocess(detector.build(), detector.preprocess).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        batch = {"fake": torch.tensor([0.0, 1.0, 0.0, 1.0]), "weight": torch.ones(4)}
        losses = []
        for _ in range(12):
            loss = detector.loss(model(torch.from_numpy(crops[:4])), batch)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            gradients = {name: one.grad for name, one in model.network.named_parameters() if one.grad is not None}
            assert gradients, "the loss reaches no parameter; detach no output, and freeze none in build()"
            wrong = [name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()]
            assert not wrong, f"gradients are not finite: {_listed(wrong)}; look for a division by zero or a logarithm"
            optimiser.step()
            losses.append(loss.item())
        assert np.mean(losses[-3:]) < losses[0], (
            f"the loss of four pictures does not fall in 12 steps: {', '.join(f'{loss:.3f}' for loss in losses)}; "
            "check that loss() rewards a positive logit for fakes, and that the network can fit a few pictures"
        )

    @_briefly
    def test_trains_without_reading_values(self, untrained: LoadedDetector) -> None:
        """Forward pass, loss and backward pass neither read a value nor name a device, which stops or breaks a GPU."""
        import torch

        from deepfake_core.contract.detector import WithPreprocess

        detector, nowhere = untrained.detector, torch.device("meta")  # tensors there have a shape and no values
        model = WithPreprocess(detector.build(), detector.preprocess).train().to(nowhere)
        images = torch.zeros(4, *detector.preprocess.input_shape, dtype=torch.uint8, device=nowhere)
        batch = {"images": images, "fake": torch.zeros(4, device=nowhere), "weight": torch.zeros(4, device=nowhere)}
        if detector.evidence_size is not None:
            batch["mask"] = torch.zeros(4, *detector.evidence_size, device=nowhere)
        try:
            detector.loss(model(images), batch).backward()  # type: ignore[no-untyped-call]
        except (RuntimeError, NotImplementedError) as error:
            raise AssertionError(
                "training it reads values or names a device, so that a GPU would wait or fail: compute with tensors "
                "alone, without values of them as numbers, conditions or indices, on the device that they are on "
                f"({_in_short(self.detector, error)})"
            ) from error

    @_briefly
    def test_every_parameter_has_one_group(self, untrained: LoadedDetector) -> None:
        """The groups of parameters are disjoint and complete."""
        network = untrained.network
        groups = untrained.detector.param_groups(network)
        grouped = [id(parameter) for group in groups.values() for parameter in group]
        counts = {name: grouped.count(id(parameter)) for name, parameter in network.named_parameters()}
        wrong = [f"{name} in {count}" for name, count in counts.items() if count != 1]
        assert not wrong, f"each parameter belongs in one of the groups of param_groups(): {_listed(wrong)}"
        assert len(grouped) == len(counts), (
            "param_groups() returns parameters that are not the network's; leave them out"
        )

    @_briefly
    def test_train_save_load_export_infer(
        self, untrained: LoadedDetector, crops: NDArray[np.uint8], tmp_path: Path
    ) -> None:
        """A trained network is exported to ONNX, where it returns the same and gives a verdict."""
        clip = untrained.manifest.preprocess.clip
        write_drawn_dataset(tmp_path / "data", frames=clip.length if clip else None)
        data = f"{'frame-folders' if clip else 'image-folder'}:{tmp_path / 'data'}"
        try:
            trained = untrained.train(data, self.recipe, tmp_path / "run", device="cpu")
        except MissingExtra as error:
            pytest.skip(str(error))
        assert trained.manifest.weights == "trained"
        assert trained.manifest.config == untrained.manifest.config
        exported = load(trained.export(out=tmp_path / "model.onnx"), backend="onnxruntime", device="cpu")
        assert exported.manifest == trained.manifest.embedded()
        for size in (None, 2):
            self.assert_close(trained, exported, crops, batch_size=size, what=_EXPORTED)
        (result,) = exported.stream([self.drawn(untrained, 0)])
        assert result.verdict in {"fake", "real", "unsure"}

    @_briefly
    def test_exports_to_pt2(self, untrained: LoadedDetector, crops: NDArray[np.uint8], tmp_path: Path) -> None:
        """A torch.export archive returns the same as the network."""
        import torch

        with untrained.export("pt2", out=tmp_path / "model.pt2").open("rb") as stream:
            program = torch.export.load(stream).module()
        self._assert_program(untrained, program, crops)

    @_briefly
    def test_exports_to_torchscript(self, untrained: LoadedDetector, crops: NDArray[np.uint8], tmp_path: Path) -> None:
        """A TorchScript file returns the same as the network."""
        import torch

        file = untrained.export("torchscript", out=tmp_path / "model.pt")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.load` is deprecated", category=DeprecationWarning)
            program = torch.jit.load(str(file))  # type: ignore[no-untyped-call]
        self._assert_program(untrained, program, crops)

    @_briefly
    def test_exports_to_openvino(self, untrained: LoadedDetector, crops: NDArray[np.uint8], tmp_path: Path) -> None:
        """The network is exported to OpenVINO, where it returns the same."""
        pytest.importorskip("openvino")
        exported = load(untrained.export("openvino", out=tmp_path / "model.xml"), backend="openvino", device="cpu")
        self.assert_close(untrained, exported, crops, batch_size=2, what=_EXPORTED)

    def assert_close(
        self,
        first: LoadedDetector,
        second: LoadedDetector,
        crops: NDArray[np.uint8],
        batch_size: int | None = None,
        *,
        what: str = "of two detectors",
    ) -> None:
        """Assert that two detectors return the same within the tolerance.

        Args:
            first: Detector that all images are given to at once.
            second: Detector that the images are given to in batches.
            crops: Images as the network sees them, uint8 [N, H, W, 3] RGB; clips [N, T, H, W, 3].
            batch_size: Size of the second detector's batches; by default its own.
            what: What is compared, and the remedy, for the message of a failure.
        """
        one, other = first.score(crops), second.score(crops, batch_size=batch_size)
        self._assert_near(one.by_name(), other.by_name(), what)

    def _assert_program(self, untrained: LoadedDetector, program: Any, crops: NDArray[np.uint8]) -> None:
        import torch

        from deepfake_core.runtimes.torch import as_outputs

        with torch.inference_mode():
            found: Outputs = as_outputs(program(torch.from_numpy(crops)), untrained.manifest)
        self._assert_near(untrained.score(crops).by_name(), found.by_name(), _EXPORTED)

    def _assert_near(
        self, wanted: Mapping[str, NDArray[np.float32]], found: Mapping[str, NDArray[np.float32]], what: str
    ) -> None:
        assert list(wanted) == list(found), f"the outputs differ: {', '.join(wanted)} and {', '.join(found)}"
        for name in wanted:
            worst = worst_difference(wanted[name], found[name])
            assert worst <= self.tolerance, f"{name} differs by {worst:.2g}, allowed {self.tolerance:.0e}, {what}"


_EXPORTED = "between the network and its exported file; write forward() without branches that depend on values"


def _listed(names: list[str]) -> str:
    """Return names in one line, at most five of them."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"


@functools.cache
def _untrained(name: str, config: str) -> LoadedDetector:
    return load(name, untrained=True, device="cpu", config=json.loads(config))


def write_drawn_dataset(folder: Path, count: int = 12, frames: int | None = None) -> None:
    """Write folders ``real/`` and ``fake/`` of drawn faces; the fakes have a blurred mouth.

    Args:
        folder: Folder to write to.
        count: Number of faces of each class.
        frames: Number of frames, for videos instead of images: each is a folder of images of a face that trembles.
    """
    region = (90, 150, 166, 200)
    for seed in range(count):
        for kind in ("real", "fake"):
            face = Image.fromarray(draw_face(seed))
            if kind == "fake":
                face.paste(face.crop(region).filter(ImageFilter.GaussianBlur(3)), region[:2])
            # Videos of one name would show one person, of which a split needs several.
            names = (
                [f"{kind}/{seed}.png"] if frames is None else [f"{kind}/{kind}{seed}/{n}.png" for n in range(frames)]
            )
            for shift, name in enumerate(names):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.roll(np.asarray(face), shift, axis=1)).save(folder / name)
