"""Programs that score the same image with the same architecture: this project, and what users would pick instead.

All have random weights and are warm. All get the same file and the same number of threads. ``optimum`` needs libraries
of its own and answers from another process; all others are in one process.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from hugging_face import network, pipeline, processor

if TYPE_CHECKING:
    from deepfake_core.handle.loaded import LoadedDetector

FILE, NETWORK = "file → score", "network alone"
FACES = "file → verdict, faces looked for"
STAGES = (FILE, NETWORK, FACES)
PIPELINE, OPENVINO, TIMM, OPTIMUM = "transformers.pipeline", "plain OpenVINO", "timm eager", "optimum ONNX"


@dataclass(frozen=True, slots=True)
class Architecture:
    """Architecture that a detector and its peers have in common.

    Attributes:
        detector: Name of the detector.
        peers: Names of the peers.
        config: Configuration of the detector; by default the documented one.
        theirs: Settings of the configuration of transformers that differ from its defaults.
    """

    detector: str
    peers: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    theirs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contender:
    """Program that scores images.

    Attributes:
        name: Name in the table.
        stages: Timed stage → function that runs it once.
        ours: Whether it is of this project.
        eager: Whether torch runs it without compilation.
        computes: Precision of its arithmetic.
    """

    name: str
    stages: Mapping[str, Callable[[], object]]
    ours: bool = False
    eager: bool = False
    computes: str = "f32"


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings that all contenders of an architecture share.

    Attributes:
        item: Architecture.
        folder: Folder for exported files.
        picture: Path of the image to score.
        threads: Threads of every contender.
        side: Side of the square input in pixels.
        optimum: Python of an environment that has optimum; empty for none.
        stack: Stack that ends the processes that contenders have started.
    """

    item: Architecture
    folder: Path
    picture: str
    threads: int
    side: int
    optimum: str
    stack: ExitStack

    @property
    def model(self) -> Path:
        """Path of the detector's ONNX file in fp32, once it is exported."""
        return self.folder / f"{self.item.detector}.onnx"


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────────────────


def ours(eager: LoadedDetector, setting: Setting) -> Iterator[Contender]:
    """Yield the detector in torch, its fp32 export on every backend and, where the processor has it, a bf16 export."""
    from deepfake_core.errors import DeepfakeError
    from deepfake_core.loading.load import load
    from deepfake_core.runtimes.autotune import COMPARED

    yield own("ours on torch", eager, setting.picture, eager=True)
    eager.export("onnx", "fp32", out=setting.model)
    for backend in COMPARED:
        if find_spec(backend) is not None:
            detector = load(setting.model, backend=backend, device="cpu", threads=setting.threads)
            yield own(f"ours on {backend}", detector, setting.picture)
    if find_spec("openvino") is None:
        return
    from deepfake_core.runtimes.openvino import computes_bf16

    if not computes_bf16():
        return
    try:
        half = eager.export("openvino", "bf16", out=setting.model.with_suffix(".xml"))
    except DeepfakeError as error:
        print(f"{setting.item.detector} in bf16 is left out: {error}", file=sys.stderr)
        return
    detector = load(half, backend="openvino", device="cpu", threads=setting.threads)
    yield own("ours on openvino in bf16", detector, setting.picture, computes="bf16")


def own(name: str, detector: LoadedDetector, picture: str, *, eager: bool = False, computes: str = "f32") -> Contender:
    """Return a detector of this project as a contender.

    A peer does not look for faces. For comparison, a detector that does is given the whole image; the time with its
    face finder is a stage of its own.
    """
    from deepfake_core.inputs.prepare import Preparer
    from deepfake_registry.manifest import WholeImage

    spec = detector.manifest.preprocess
    image = np.random.default_rng(0).integers(0, 256, (1, *spec.input_shape), np.uint8)
    predict = partial(detector.predict, picture)
    stages: dict[str, Callable[[], object]] = {FILE: predict, NETWORK: partial(detector.runtime.run, image)}
    if not isinstance(spec.crop, WholeImage):
        whole = Preparer(spec.model_copy(update={"crop": WholeImage()}))
        stages |= {FILE: lambda: detector.score(whole.prepare(picture).crops), FACES: predict}
    return Contender(name, stages, ours=True, eager=eager, computes=computes)


# ── theirs ───────────────────────────────────────────────────────────────────────────────────────────────────


def pipeline_peer(setting: Setting) -> Iterator[Contender]:
    """Yield ``transformers.pipeline``, which runs eager torch."""
    torch = torch_beside_torchvision(setting.threads)
    name = setting.item.detector
    model, prepare = network(name, **setting.item.theirs), processor(name, setting.side)
    judge = pipeline(model, prepare)
    forward = partial(torch.inference_mode()(model.forward), torch.randn(1, 3, setting.side, setting.side))
    yield Contender(PIPELINE, {FILE: partial(judge, setting.picture), NETWORK: forward}, eager=True)


def timm_peer(setting: Setting) -> Iterator[Contender]:
    """Yield timm's classifier with timm's own transforms, in eager torch."""
    torch = torch_beside_torchvision(setting.threads)
    import timm.data
    from PIL import Image

    library: Any = timm
    model = library.create_model("tf_efficientnet_lite0", num_classes=1).eval()
    settings = library.data.resolve_model_data_config(model) | {"input_size": (3, setting.side, setting.side)}
    transform = library.data.create_transform(**settings, is_training=False)
    forward = torch.inference_mode()(model.forward)

    def judge() -> object:
        with Image.open(setting.picture) as picture:
            return forward(transform(picture.convert("RGB"))[None])

    pixels = torch.randn(1, 3, setting.side, setting.side)
    yield Contender(TIMM, {FILE: judge, NETWORK: partial(forward, pixels)}, eager=True)


def openvino_peers(setting: Setting) -> Iterator[Contender]:
    """Yield the ONNX file in plain OpenVINO: at its default precision and, where that is not float32, in float32.

    The graph normalises; transformers' own processor resizes.
    """
    torch_beside_torchvision(setting.threads)
    import openvino
    from PIL import Image

    prepare = processor(setting.item.detector, setting.side)

    def pixels() -> Any:
        with Image.open(setting.picture) as picture:
            made = prepare(picture.convert("RGB"), do_rescale=False, do_normalize=False, return_tensors="np")
        return np.ascontiguousarray(made["pixel_values"].transpose(0, 2, 3, 1))

    def contender(name: str, **asked: str) -> Contender:
        threads = {"INFERENCE_NUM_THREADS": str(setting.threads)}
        model = openvino.Core().compile_model(setting.model, "CPU", {**threads, **asked})
        computes = model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        ready = {"images": pixels()}
        stages = {FILE: lambda: model({"images": pixels()}), NETWORK: lambda: model(ready)}
        return Contender(name, stages, computes=computes)

    unasked = contender(OPENVINO)
    yield unasked
    if unasked.computes != "f32":
        yield contender(f"{OPENVINO} in float32", INFERENCE_PRECISION_HINT="f32")


def optimum_peer(setting: Setting) -> Iterator[Contender]:
    """Yield the ONNX file that optimum makes, in its own classes and process; a request costs hundredths of a ms."""
    script = Path(__file__).with_name("optimum_peer.py")
    asked = [str(setting.folder), setting.item.detector, "--serve", setting.picture, "--threads", str(setting.threads)]
    worker = setting.stack.enter_context(Worker([setting.optimum, "-W", "ignore", str(script), *asked]))
    yield Contender(OPTIMUM, {FILE: partial(worker.ask, "file"), NETWORK: partial(worker.ask, "network")})


def torch_beside_torchvision(threads: int) -> Any:
    """Return torch with a number of threads, and make torchvision importable."""
    from deepfake_core.runtimes.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import torch

    torch.set_num_threads(threads)
    return torch


class Worker:
    """Process that obeys each line of input and answers with a line ``done``; the first one says that it is ready.

    Args:
        command: Command of the process.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __enter__(self) -> Self:
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, what: str) -> None:
        """Send one request and wait until it is done.

        Raises:
            SystemExit: The process has ended instead.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self._wait()

    def _wait(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:  # libraries may print other lines
            if line == "done\n":
                return
        raise SystemExit(f"status {self._end()} from: {' '.join(self.command)}")

    def _end(self) -> int:
        """Close the input of the process, on which it ends, and return its status."""
        with self.process:
            pass
        return self.process.returncode


@dataclass(frozen=True, slots=True)
class Peer:
    """Program that users would pick instead.

    Attributes:
        make: Function that yields its contenders.
        install: Command that installs it.
        module: Module that has to be importable; empty where it is in another environment.
    """

    make: Callable[[Setting], Iterator[Contender]]
    install: str
    module: str = ""

    def absence(self, optimum: str = "") -> str:
        """Return why it cannot take part; empty where it can."""
        there = find_spec(self.module) is not None if self.module else bool(optimum)
        return "" if there else f"not installed: {self.install}"


PEERS = {
    PIPELINE: Peer(pipeline_peer, "`pip install transformers torch`", "transformers"),
    TIMM: Peer(timm_peer, "`pip install timm torch`", "timm"),
    OPENVINO: Peer(openvino_peers, "`pip install openvino`", "openvino"),
    OPTIMUM: Peer(
        optimum_peer,
        '`pip install "optimum-onnx[onnxruntime]" pillow` in an environment of its own, then `--optimum PYTHON`',
    ),
}
ARCHITECTURES = {
    "siglip": Architecture("siglip", (PIPELINE, OPENVINO, OPTIMUM)),
    "lite": Architecture("lite", (TIMM,)),
    "cvt": Architecture("cvt", (PIPELINE, OPENVINO, OPTIMUM), {"crop": "whole"}),
}
