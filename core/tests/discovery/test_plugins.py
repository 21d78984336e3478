from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake_core.contract.specs import read_targets
from deepfake_core.discovery import plugins
from deepfake_core.discovery.plugins import detector_spec, exporter_spec, import_object
from deepfake_core.errors import DeepfakeError, DuplicatePlugin, MissingExtra, PluginLoadError, UnknownDetector

Install = Callable[..., None]

GOOD = """
from deepfake_core.contract.hookspecs import hookimpl
from deepfake_core.contract.specs import DetectorSpec

@hookimpl
def deepfake_detectors():
    for name in {names!r}:
        yield DetectorSpec(name=name, summary="s", detector="nowhere:Nothing", install="p[torch]", api_version={api})
"""


@pytest.fixture
def install(fresh_plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that writes a distribution with one plugin module, as pip would install it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(distribution: str, *names: str, code: str = GOOD, api: int = 1, entry_point: str = "") -> None:
        module = distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(code.format(names=names, api=api) if code is GOOD else code)
        info = tmp_path / f"{module}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n")
        (info / "entry_points.txt").write_text(f"[deepfake]\n{entry_point or module} = {module}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return write


def test_installed_detector_is_found_with_its_distribution(install: Install) -> None:
    install("sonar-plugin", "sonar")
    entry = plugins.detectors()["sonar"]
    assert (entry.distribution, entry.version, entry.spec.summary) == ("sonar-plugin", "2.5", "s")
    assert "sonar" in plugins.list_detectors("son*")
    assert "sonar" not in plugins.list_detectors("x*")


def test_core_offers_its_own_through_the_same_hooks() -> None:
    assert plugins.datasets()["image-folder"].distribution == "deepfake-core"
    assert plugins.explainers()["evidence"].distribution == "deepfake-core"
    assert plugins.exporters()["onnx"].distribution == "deepfake-core"
    for entry in (*plugins.datasets().values(), *plugins.explainers().values()):
        target = entry.spec.dataset if hasattr(entry.spec, "dataset") else entry.spec.explainer
        assert isinstance(import_object(target), type)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        (
            "from deepfake_core.contract.hookspecs import hookimpl\n@hookimpl\ndef deepfake_detectors(surplus): ...",
            "deepfake_detectors: TypeError: deepfake_detectors() missing 1 required positional argument",
        ),
        (
            "from deepfake_core.contract.hookspecs import hookimpl\n@hookimpl\ndef deepfake_detector(): ...",
            "deepfake_detector: this deepfake-core has no hook of that name",
        ),
        (
            "from deepfake_core.contract.hookspecs import hookimpl\n@hookimpl\ndef deepfake_detectors():\n    {}['k']",
            "deepfake_detectors: KeyError: 'k'",
        ),
        (
            "from deepfake_core.contract.hookspecs import hookimpl\n"
            "@hookimpl\ndef deepfake_detectors():\n    return ['sonar']",
            "deepfake_detectors: TypeError: yielded str, expected DetectorSpec",
        ),
        (
            "from deepfake_core.contract.hookspecs import hookimpl\n"
            "@hookimpl\ndef deepfake_detectors():\n    return None",
            "deepfake_detectors: TypeError",
        ),
    ],
)
def test_broken_plugin_is_listed_and_takes_no_other_down(
    install: Install, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    install("broken-plugin", code=code, entry_point="broken")
    install("sonar-plugin", "sonar")
    assert "sonar" in plugins.detectors()
    (failure,) = [failure for failure in plugins.failures() if failure.distribution == "broken-plugin"]
    assert failure.name == "broken"
    assert failure.reason.startswith(reason)
    with pytest.raises(PluginLoadError, match="plugin 'broken' of broken-plugin"):
        detector_spec("broken")

    plugins.catalogue.cache_clear()
    monkeypatch.setenv("DEEPFAKE_STRICT_PLUGINS", "1")
    with pytest.raises(PluginLoadError, match="broken-plugin"):
        plugins.detectors()


def test_record_for_another_interface_says_so(install: Install) -> None:
    install("future-plugin", "future", api=7)
    assert "future" not in plugins.detectors()
    (failure,) = [failure for failure in plugins.failures() if failure.distribution == "future-plugin"]
    assert "'future' was written for plugin interface 7, this deepfake-core has 1" in failure.reason


def test_one_name_from_two_distributions(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("first-plugin", "sonar", "other")
    install("second-plugin", "sonar", "third")
    assert {"other", "third"} <= set(plugins.detectors())
    assert "sonar" not in plugins.detectors(), "it is ambiguous which of the two should run"
    assert any(failure.distribution == "first-plugin and second-plugin" for failure in plugins.failures())
    with pytest.raises(DuplicatePlugin, match="offered by first-plugin and second-plugin"):
        detector_spec("sonar")

    plugins.catalogue.cache_clear()
    monkeypatch.setenv("DEEPFAKE_STRICT_PLUGINS", "1")
    with pytest.raises(DuplicatePlugin, match="first-plugin and second-plugin"):
        plugins.detectors()


def test_three_distributions_with_one_name_are_all_named(install: Install) -> None:
    for number in ("first", "second", "third"):
        install(f"{number}-plugin", "sonar")
    with pytest.raises(DuplicatePlugin, match="first-plugin, second-plugin and third-plugin"):
        detector_spec("sonar")


EXPORTER = """
from deepfake_core.contract.hookspecs import hookimpl
from deepfake_core.contract.specs import ExporterSpec

@hookimpl
def deepfake_exporters():
    yield ExporterSpec(name="gguf", summary="s", exporter="nowhere:nothing", suffix=".gguf")
"""


def test_an_exporter_of_a_plugin_is_found(install: Install) -> None:
    install("sonar-plugin", code=EXPORTER)
    assert plugins.exporters()["gguf"].distribution == "sonar-plugin"
    spec = exporter_spec("gguf")
    assert (spec.suffix, spec.precisions) == (".gguf", ("fp32",))


def test_unknown_export_format_suggests_a_close_one(install: Install) -> None:
    install("sonar-plugin", code=EXPORTER)
    with pytest.raises(DeepfakeError, match=r"^unknown export format 'guff'; did you mean 'gguf'\?$"):
        exporter_spec("guff")
    with pytest.raises(DeepfakeError, match=r"^unknown export format 'zzzz'; installed: gguf, onnx, openvino, "):
        exporter_spec("zzzz")


def test_one_export_format_from_two_distributions(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("first-plugin", code=EXPORTER)
    install("second-plugin", code=EXPORTER.replace('"gguf"', '"onnx"'))
    install("third-plugin", code=EXPORTER)
    assert not {"gguf", "onnx"} & set(plugins.exporters())
    assert {"openvino", "pt2", "torchscript"} <= set(plugins.exporters())
    for name, owners in (("gguf", "first-plugin and third-plugin"), ("onnx", "deepfake-core and second-plugin")):
        assert any(failure.name == name and failure.distribution == owners for failure in plugins.failures())
        with pytest.raises(DuplicatePlugin, match=f"'{name}' is offered by {owners}; uninstall all but one"):
            exporter_spec(name)

    plugins.catalogue.cache_clear()
    monkeypatch.setenv("DEEPFAKE_STRICT_PLUGINS", "1")
    with pytest.raises(DuplicatePlugin, match="deepfake-core and second-plugin"):
        plugins.exporters()


def test_unknown_name_suggests_a_close_one(install: Install) -> None:
    install("sonar-plugin", "sonar")
    with pytest.raises(UnknownDetector, match=r"^unknown detector 'sonr'; did you mean 'sonar'\?$"):
        detector_spec("sonr")
    with pytest.raises(UnknownDetector, match=r"unknown detector 'zzzzzz'; installed: .*sonar"):
        detector_spec("zzzzzz")


def test_no_detector_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "catalogue", lambda: plugins.discover([]))
    with pytest.raises(UnknownDetector, match="pip install deepfake-lite"):
        detector_spec("sonar")


def test_missing_dependency_becomes_the_pip_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "needs_heavy.py").write_text("import heavy_framework_that_is_absent\n")
    with pytest.raises(MissingExtra, match=r"pip install 'sonar\[torch\]'") as caught:
        import_object("needs_heavy:Radar", install="sonar[torch]")
    assert caught.value.install == "sonar[torch]"


@pytest.mark.parametrize("target", ["no_such_package_here:Radar", "os:no_such_name", "os", ":Radar", ""])
def test_target_that_does_not_exist(target: str) -> None:
    with pytest.raises(PluginLoadError, match="cannot import"):
        import_object(target, install="sonar[torch]")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[target", "targets.toml: Expected"),
        ("targets = 1", "targets.toml: 'target'"),
        ("[[target]]\nmetric = 'auc'", "targets.toml: .*missing"),
        (
            "[[target]]\nmetric = 'auc'\nscenario = 'accuracy'\ncomparison = '='\nvalue = 1\nsource = 'x'",
            "comparison '=' is neither",
        ),
    ],
)
def test_targets_that_are_none_are_refused_with_their_file(tmp_path, monkeypatch, text, reason):
    package = tmp_path / "plugin_with_targets"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "targets.toml").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plugin_with_targets", raising=False)
    with pytest.raises(ValueError, match=reason):
        read_targets("plugin_with_targets")
