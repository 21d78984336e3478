"""Exported files used as docs/deploy.md says, in programs that know nothing of this project: the same logits."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

import deepfake_core as df
from deepfake_core.discovery.artifacts import MANIFEST_FILE, read_bare, read_package, write_package
from deepfake_registry.manifest import ModelManifest

pytestmark = pytest.mark.skipif(
    "DEEPFAKE_FOREIGN_TESTS" not in os.environ,
    reason="installs onnxruntime for Python, Node and browsers; run by: tox -e foreign",
)

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SNIPPETS = ROOT / "docs" / "snippets"
PORTRAIT = ROOT / "benchmarks" / "deepfake_bench" / "data" / "portrait.jpg"
TOLERANCE = 1e-4  # relative where a logit exceeds 1, as in the gate of the export
BATCHES = (1, 2, 5)
Differences = dict[str, dict[str, float]]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Model(NamedTuple):
    name: str
    folder: Path
    """A package: ``manifest.json`` and one ONNX file."""
    files: list[Path]
    """Five PNG files of the network's size."""
    images: NDArray[np.uint8]
    """What is in them: uint8 [5, H, W, 3] RGB."""
    logits: NDArray[np.float32]
    """What our own runtime says of them."""

    @property
    def manifest(self) -> ModelManifest:
        return read_package(self.folder).manifest

    @property
    def onnx(self) -> Path:
        return self.folder / self.manifest.files["onnx"].path


SOURCES = {
    "lite": ROOT / "plugins" / "deepfake-lite" / "src" / "deepfake_lite" / "weights",
    "unet": ROOT / "plugins" / "deepfake-unet" / "src" / "deepfake_unet" / "weights",
    "tiny-core": ROOT / "core" / "tests" / "tiny_plugin" / "deepfake_tiny" / "weights",
    "tiny-bench": ROOT / "benchmarks" / "tests" / "tiny.onnx",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    return {name: make_model(name, source, folder) for name, source in SOURCES.items()}


def make_model(name: str, source: Path, folder: Path) -> Model:
    onnx = next(source.glob("*.onnx")) if source.is_dir() else source
    package = write_package(folder / name, read_bare(onnx).manifest, {"onnx": onnx})
    detector = df.load(onnx)
    crops = detector.prepare(PORTRAIT).crops
    assert len(crops) == 1
    height, width, _ = crops[0].shape
    rows, columns = np.indices((height, width))
    images = np.stack(
        [
            crops[0],
            np.zeros_like(crops[0]),
            np.full_like(crops[0], 255),
            np.random.default_rng(0).integers(0, 256, crops[0].shape, np.uint8),
            np.stack([255 * columns // width, 255 * rows // height, (rows + columns) % 256], axis=2).astype(np.uint8),
        ]
    )
    files = [folder / f"{name}-{index}.png" for index in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    logits = detector.score(images).logit
    assert np.ptp(logits) > 0.01, "pictures that a network does not tell apart show nothing"
    return Model(name, package.folder, files, images, logits)


def check(model: Model, batch: int, lines: str, runtime: str, differences: Differences) -> None:
    """Compare a program's output, one JSON object per picture, with our own runtime's; note how far they are apart."""
    answers = [json.loads(line) for line in lines.splitlines()]
    assert [Path(answer["file"]).name for answer in answers] == [file.name for file in model.files[:batch]]
    got, want = np.array([answer["logit"] for answer in answers]), model.logits[:batch]
    worst = float(np.max(np.abs(got - want) / np.maximum(1, np.abs(want))))
    found = differences.setdefault(runtime, {})
    found[model.name] = max(worst, found.get(model.name, 0.0))
    assert worst <= TOLERANCE
    calibration = model.manifest.calibration
    for answer in answers:
        p_fake = calibration.p_fake(answer["logit"])
        assert answer["p_fake"] == pytest.approx(p_fake, abs=1e-6)
        assert answer["verdict"] == calibration.verdict(p_fake)


# ── programs ─────────────────────────────────────────────────────────────────────────────────────────────────────


def program(*names: str) -> str:
    """Path of the first of these programs that is installed; without any, the test fails in CI and skips elsewhere."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        reason = f"{' or '.join(names)} is not installed; on Debian: apt-get install nodejs npm chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a program that knows nothing of this environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        text=True,
        encoding="utf-8",
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def scratch(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that goes at once: what is installed here is large."""
    folder = factory.mktemp(name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def npm_packages(factory: pytest.TempPathFactory, kind: str) -> Iterator[Path]:
    """A folder with the packages of ``KIND/package.json``; no package's own scripts are run."""
    program("node")
    npm = program("npm")
    with scratch(factory, kind) as folder:
        shutil.copy(HERE / kind / "package.json", folder)
        run(npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", cwd=folder)
        yield folder


def version_of(package: Path) -> str:
    """Of a package that npm has installed."""
    return json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]


# ── Python ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="class")
def python(tmp_path_factory) -> Iterator[Path]:
    """A Python that has onnxruntime, numpy and pillow, and nothing of ours."""
    with scratch(tmp_path_factory, "python") as folder:
        venv.create(folder / "env", with_pip=True)
        python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
        run(python, "-m", "pip", "install", "--quiet", "onnxruntime", "numpy", "pillow", cwd=folder)
        yield python


class TestPython:
    def test_it_has_nothing_of_ours(self, python, tmp_path):
        listing = run(python, "-m", "pip", "list", "--format", "json", cwd=tmp_path)
        names = {entry["name"] for entry in json.loads(listing)}
        assert "onnxruntime" in names
        assert not any("deepfake" in name for name in names)

    @pytest.mark.parametrize("name", SOURCES)
    def test_logits(self, models, python, tmp_path, name, differences):
        model = models[name]
        version = run(python, "-c", "import onnxruntime; print(onnxruntime.__version__)", cwd=tmp_path).strip()
        for batch in BATCHES:
            lines = run(python, SNIPPETS / "judge.py", model.onnx, *model.files[:batch], cwd=tmp_path)
            check(model, batch, lines, f"onnxruntime {version}, Python", differences)


# ── Node ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="class")
def node_folder(tmp_path_factory) -> Iterator[Path]:
    with npm_packages(tmp_path_factory, "node") as folder:
        shutil.copy(SNIPPETS / "judge.mjs", folder)
        yield folder


class TestNode:
    @pytest.mark.parametrize("name", SOURCES)
    def test_logits(self, models, node_folder, name, differences):
        model, runtime = (
            models[name],
            f"onnxruntime-node {version_of(node_folder / 'node_modules' / 'onnxruntime-node')}",
        )
        for batch in BATCHES:
            lines = run(program("node"), "judge.mjs", model.folder, *model.files[:batch], cwd=node_folder)
            check(model, batch, lines, runtime, differences)

    def test_a_picture_of_another_size_is_refused(self, models, node_folder):
        command = [program("node"), "judge.mjs", models["lite"].folder, models["unet"].files[0]]
        done = subprocess.run(command, cwd=node_folder, capture_output=True, encoding="utf-8", check=False, timeout=60)
        assert done.returncode != 0
        assert "must be 224 × 224 pixels" in done.stderr


# ── a browser ────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """URL of a server on this machine alone."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def chromium(url: str, profile: Path) -> Iterator[None]:
    """Headless Chromium on a page; names of other machines lead nowhere."""
    command = [
        program(*BROWSERS),
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={profile}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # it refuses to run as root with one
        url,
    ]
    with profile.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # a group of its own, with the processes that it has started
        process.wait()


@pytest.fixture(scope="module")
def onnxruntime_web(tmp_path_factory) -> Iterator[Path]:
    """The folder of the package that a web server has to serve."""
    program(*BROWSERS)
    with npm_packages(tmp_path_factory, "browser") as folder:
        yield folder / "node_modules" / "onnxruntime-web" / "dist"


@pytest.mark.parametrize("isolated", [False, True], ids=["one-thread", "threads-allowed"])
def test_browser(models, onnxruntime_web, tmp_path, isolated, differences):
    site = tmp_path / "site"
    site.mkdir()
    (site / "ort").symlink_to(onnxruntime_web)
    for page in (SNIPPETS / "judge.html", HERE / "browser" / "driver.html"):
        shutil.copy(page, site)
    cases = [(model, batch) for model in models.values() for batch in BATCHES]
    for model in models.values():
        shutil.copytree(model.folder, site / model.name)
        for file in model.files:
            shutil.copy(file, site)
    questions = [{"model": model.name, "files": [file.name for file in model.files[:batch]]} for model, batch in cases]
    (site / "cases.json").write_text(json.dumps(questions))
    reports: queue.Queue[dict] = queue.Queue()

    class Handler(SimpleHTTPRequestHandler):
        extensions_map = {".html": "text/html", ".mjs": "text/javascript", ".wasm": "application/wasm"}

        def __init__(self, *arguments) -> None:
            super().__init__(*arguments, directory=str(site))

        def end_headers(self) -> None:
            if isolated:
                self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def do_POST(self) -> None:
            reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    profile = tmp_path / "profile"
    with serving(Handler) as url, chromium(f"{url}/driver.html", profile):
        try:
            report = reports.get(timeout=120)
        except queue.Empty:
            said = profile.with_suffix(".log").read_text(errors="replace")
            pytest.fail(f"the browser has not answered; it said:\n{said[-4000:]}")
    assert "error" not in report, report["error"]
    assert "Chrome" in report["agent"]
    assert report["isolated"] == isolated
    browser = report["agent"].partition("Chrome/")[2].partition(".")[0]
    runtime = f"onnxruntime-web {version_of(onnxruntime_web.parent)}, Chromium {browser}, WebAssembly"
    for (model, batch), lines in zip(cases, report["answers"], strict=True):
        check(model, batch, lines, runtime, differences)


# ── Triton ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def repository(models, tmp_path_factory) -> Path:
    """A Triton model repository with all models that have names of their own, written by the command."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("lite", "unet", "tiny-core"):
        command = [sys.executable, "-m", "deepfake_bench", "export", models[name].onnx]
        subprocess.run([*command, "--layout", "triton", "--out", folder], check=True)
    return folder


def read_config(file: Path):
    """A ``config.pbtxt``, by Triton's own definition of what stands in one."""
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    return text_format.Parse(file.read_text("utf-8"), ModelConfig())


@pytest.mark.parametrize("name", ["lite", "unet", "tiny"])
def test_triton_reads_the_repository(repository, name):
    folder = repository / name
    config = read_config(folder / "config.pbtxt")
    assert (config.name, config.backend, config.platform) == (name, "onnxruntime", "onnxruntime_onnx")
    assert config.max_batch_size == 32
    assert config.HasField("dynamic_batching")
    assert config.version_policy.latest.num_versions == 1
    session = onnxruntime.InferenceSession(str(folder / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
    for told, has in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [tensor.name for tensor in told] == [tensor.name for tensor in has]
        for tensor, own in zip(told, has, strict=True):
            (enum,) = [f.enum_type for f in tensor.DESCRIPTOR.fields if f.name == "data_type"]
            named = enum.values_by_number[tensor.data_type].name
            assert named == {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}[own.type]
            shape = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)
            assert ["N", *shape] == own.shape
            assert len(tensor.dims) > 0, "Triton wants a dimension beside the batch"
    assert read_bare(folder / "1" / "model.onnx").manifest == ModelManifest.model_validate_json(
        (folder / MANIFEST_FILE).read_bytes()
    )


def answer_as_triton(repository: Path, name: str, question: dict) -> dict:
    """What Triton's HTTP protocol (KServe v2) prescribes, for what the repository's config promises."""
    config = read_config(repository / name / "config.pbtxt")
    (told,), (given,) = config.input, question["inputs"]
    assert (given["name"], given["datatype"]) == (told.name, "UINT8")
    assert given["shape"][1:] == list(told.dims)
    assert 1 <= given["shape"][0] <= config.max_batch_size
    images = np.array(given["data"], np.uint8).reshape(given["shape"])
    session = onnxruntime.InferenceSession(str(repository / name / "1" / "model.onnx"))
    wanted = [output["name"] for output in question["outputs"]]
    outputs = []
    for value, tensor in zip(session.run(wanted, {told.name: images}), wanted, strict=True):
        (promised,) = [output for output in config.output if output.name == tensor]
        shape = [len(images), *promised.dims]
        outputs.append(
            {"name": tensor, "datatype": "FP32", "shape": shape, "data": value.reshape(shape).ravel().tolist()}
        )
    return {"model_name": name, "model_version": "1", "outputs": outputs}


def test_a_client_of_triton(models, repository, tmp_path, differences):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            _, version, kind, name, verb = self.path.split("/")
            assert (version, kind, verb) == ("v2", "models", "infer")
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(answer_as_triton(repository, name, question)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        for name in ("lite", "unet"):
            model, manifest = models[name], repository / name / MANIFEST_FILE
            for batch in BATCHES:
                command = [sys.executable, SNIPPETS / "ask_triton.py", url, manifest, *model.files[:batch]]
                check(model, batch, run(*command, cwd=tmp_path), "protocol of Triton", differences)
