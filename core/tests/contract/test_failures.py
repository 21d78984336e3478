"""What the contract says to the author of a detector that breaks it: one message with cause and remedy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from deepfake_core.discovery.plugins import detector_spec
from deepfake_core.errors import PluginLoadError
from deepfake_core.handle.loaded import LoadedDetector
from deepfake_core.runtimes.torch import TorchRuntime, check_outputs, make_detector
from deepfake_core.testing import DetectorContract

pytestmark = pytest.mark.usefixtures("tiny")
CROPS = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)


class Contract(DetectorContract):
    detector = "tiny"


class Network(nn.Module):
    """Brightness as logit, changed by a function, and an evidence map."""

    def __init__(self, change, evidence=lambda logit: logit[:, None, None].expand(-1, 8, 8)):
        super().__init__()
        self.change, self.evidence = change, evidence
        self.weight = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, images):
        logit = self.weight * images.mean((1, 2, 3)) + self.bias
        return self.change(logit), self.evidence(logit)


def loaded(network):
    spec = detector_spec("tiny")
    runtime = TorchRuntime(network, make_detector(spec).manifest("tiny", "untrained"), device="cpu", threads=1)
    found = LoadedDetector(spec, runtime)
    found.detector.build = lambda: network
    return found


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Network(lambda logit: logit[:, None]), r"gives logit \[N, 1\] instead of \[N\]; return logit.flatten\(\)"),
        (Network(lambda logit: logit.squeeze()), r"gives logit \[\] instead of \[N\]; return logit.flatten\(\)"),
        (Network(lambda logit: logit[:, None].expand(-1, 2)), r"gives logit \[N, 2\] instead of \[N\]; return one"),
        (Network(lambda logit: logit, lambda logit: logit[:, None]), r"gives evidence \[N, 1\] instead of \[N, 8, 8\]"),
        (nn.Flatten(), r"returns 1 outputs, and the detector names 2: logit, evidence; return these, or"),
        (Network(lambda _: None), r"returns NoneType, Tensor; return the logits as a tensor \[N\]"),
    ],
)  # fmt: skip
def test_outputs_of_a_wrong_shape_name_the_plugin_and_both_shapes(network, words):
    manifest = make_detector(detector_spec("tiny")).manifest("tiny", "untrained")
    with pytest.raises(PluginLoadError, match=f"detector 'tiny': its network, which build\\(\\) makes, {words}"):
        check_outputs(network, manifest)
    assert network.training


@pytest.mark.parametrize(
    ("test", "network", "words"),
    [
        ("shapes", Network(lambda logit: logit / 0), "logit is not finite"),
        ("batch_size_does_not_matter", Network(lambda logit: logit - logit.mean()), "let no layer mix the inputs"),
        ("learns_a_tiny_batch", Network(torch.Tensor.detach, torch.Tensor.detach), "does not require grad"),
        ("learns_a_tiny_batch", Network(lambda logit: 0 * logit), "does not fall in 12 steps"),
        ("shapes", Network(lambda logit: torch.mm(logit, logit)), r"RuntimeError: .*; pytest --tb=long shows all"),
    ],
)  # fmt: skip
def test_a_failure_is_one_message_without_a_traceback(test, network, words):
    with pytest.raises(pytest.fail.Exception, match=words) as failed:
        getattr(Contract(), f"test_{test}")(loaded(network), CROPS)
    assert failed.value.msg.startswith("detector 'tiny': ")
    assert "\n" not in failed.value.msg
    assert not failed.value.pytrace
    assert failed.value.__suppress_context__


def test_parameters_outside_of_the_groups_are_named():
    detector = loaded(Network(lambda logit: logit))
    detector.detector.param_groups = lambda network: {"backbone": [network.weight, network.weight]}
    with pytest.raises(pytest.fail.Exception, match=r"of param_groups\(\): weight in 2, bias in 0"):
        Contract().test_every_parameter_has_one_group(detector)
