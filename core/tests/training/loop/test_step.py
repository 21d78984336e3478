"""A step: nothing in it waits for the device, and it is compiled where that pays."""

import logging
from types import SimpleNamespace

import pytest
import torch
from tiny_run import RECIPE, Bright, Pixels, Steady, Unread, run

from deepfake_core.contract.detector import WithPreprocess
from deepfake_core.contract.recipe import Optimizer, Phase
from deepfake_core.training.data.augment import DeviceAugment
from deepfake_core.training.data.batches import Batches, Part
from deepfake_core.training.loop.accelerator import fastest_convolutions, make_accelerator
from deepfake_core.training.loop.compiled import TIMED, WARM_UP, Forward
from deepfake_core.training.loop.feed import Ready
from deepfake_core.training.loop.optim import MovingAverage
from deepfake_core.training.loop.step import Stepper, one_of_each
from deepfake_core.training.recipes.stages import plan

pytestmark = pytest.mark.torch

IMAGES = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)


def changed(**settings):
    return RECIPE.model_copy(update=settings)


def test_what_waits_is_noticed():
    for wait in (lambda x: x.sum().item(), lambda x: x[x > 0], torch.nonzero, lambda x: bool(x.any())):
        with pytest.raises(AssertionError, match="waits for"), Unread():
            wait(torch.ones(2))


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2, "precision": "bf16"}, {"optimizer": Optimizer(sam=0.05)}])
def test_a_step_waits_for_no_value(settings):
    recipe, accelerator = changed(**settings), make_accelerator("cpu")
    detector = Bright()
    network = detector.build()
    model = WithPreprocess(network, detector.preprocess)
    average = MovingAverage(model, 0.9)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    step = Stepper(detector, model, detector.param_groups(network), plan(recipe, 4)[0], recipe, scaler, accelerator)
    loaded = list(Batches(Pixels(), recipe, accelerator).from_step(0, 2))  # on the host, where torch's loader reads
    feed = SimpleNamespace(from_step=lambda start, stop: (parts for parts in loaded[start:stop]))
    ready = Ready(feed, accelerator, recipe.accumulate, DeviceAugment("standard", 1))
    with Unread():
        for number, parts in enumerate(ready.from_step(0, 2)):
            loss, norm = step(parts)
            average.update(number)
    assert loss > 0
    assert norm > 0


def test_a_pass_has_one_sample_of_each_item():
    batch = {"images": torch.arange(10), "fake": torch.tensor([0.0, 1.0] * 5)}
    turns = [one_of_each(batch, 2, turn) for turn in (0, 1)]
    assert [turn["images"].tolist() for turn in turns] == [[0, 3, 4, 7, 8], [1, 2, 5, 6, 9]]
    assert [turn["fake"].tolist() for turn in turns] == [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]]


@pytest.mark.parametrize(("detector", "passes"), [(Bright(), 2), (Steady(), 1)])
def test_a_network_cannot_compare_the_samples_of_an_item_through_their_statistics(detector, passes):
    """Images of an item are alike: a pass that held both would show which of the two is the brighter one."""
    network, accelerator = detector.build(), make_accelerator("cpu")
    model, seen = WithPreprocess(network, detector.preprocess), []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 0, 0, 0].tolist()))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    step = Stepper(detector, model, detector.param_groups(network), plan(RECIPE, 4)[0], RECIPE, scaler, accelerator)
    images = torch.arange(8, dtype=torch.uint8).view(4, 2, 1, 1, 1).expand(4, 2, 8, 8, 3)
    part = Part([(0, item) for item in range(4)], {"images": images, "fake": torch.tensor([[0.0, 1.0]] * 4)})
    part.tensors["weight"] = torch.ones(4, 2)
    loss, _ = step([part])
    assert 0 < float(loss) < 2
    assert len(seen) == passes
    assert sorted(value for one in seen for value in one) == list(range(8)), "each sample goes through the network once"
    if passes == 2:
        assert all(len({int(value) // 2 for value in one}) == 4 for one in seen)


def trial(monkeypatch, plain_s, compiled_s, phase=None, compiler=None):
    """Take the steps of a trial; return the forward pass and which of the steps after it were compiled."""
    recipe = changed(compile="auto", phases=(phase or Phase(steps=10**6),))
    calls = []

    def recording(forward, **_settings):
        return lambda images: calls.append(1) or forward(images)

    monkeypatch.setattr(torch, "compile", compiler or recording)
    model = WithPreprocess(Bright().build(), Bright.preprocess)
    forward = Forward(model, recipe, plan(recipe, 1)[0], make_accelerator("cpu"))
    assert not forward.undecided  # never on a CPU
    forward.undecided = True
    clock = [0.0]
    monkeypatch.setattr(forward, "_mark", lambda: clock[0])
    for took in [plain_s] * (WARM_UP + TIMED) + [compiled_s] * (WARM_UP + TIMED):
        with forward.step(IMAGES.shape):
            forward(IMAGES)
            clock[0] += took
    before = len(calls)
    forward(IMAGES)
    return forward, len(calls) - before


def test_the_faster_way_is_kept(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    assert trial(monkeypatch, 0.2, 0.1)[1] == 1
    assert "going on with the compiled network: a step takes 100.0 ms compiled and 200.0 ms without" in caplog.text
    assert trial(monkeypatch, 0.1, 0.099)[1] == 0
    assert "going on without compilation" in caplog.text


def test_a_short_phase_is_not_compiled(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    for phase in (Phase(steps=1000), Phase(minutes=10)):
        _, later = trial(monkeypatch, 0.2, 0.1, phase)
        assert later == 0
    assert "not compiled: the phase takes about" in caplog.text


def test_a_network_that_cannot_be_compiled_runs_as_it_is(monkeypatch, caplog):
    def broken(forward, **_settings):
        raise ImportError("no module named triton\nmore")

    forward, _ = trial(monkeypatch, 0.2, 0.1, compiler=broken)
    assert forward.failed == "ImportError: no module named triton"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert torch.isfinite(forward(IMAGES)).all()


def test_an_unknown_compiler_costs_nothing_but_a_warning(tmp_path, caplog):
    broken, _ = run(tmp_path / "broken", changed(compile=True, compile_backend="none-such"))
    assert "cannot be compiled and runs as it is (InvalidBackend" in caplog.text
    plain, _ = run(tmp_path / "plain")
    assert broken.history == plain.history


def test_convolutions_are_chosen_by_speed_on_a_gpu_only_and_not_where_bits_matter():
    before = torch.backends.cudnn.benchmark
    for device, deterministic, chosen in (("cuda", False, True), ("cuda", True, False), ("cpu", False, False)):
        torch.use_deterministic_algorithms(deterministic)
        try:
            with fastest_convolutions(torch.device(device)):
                assert torch.backends.cudnn.benchmark is chosen
        finally:
            torch.use_deterministic_algorithms(False)
        assert torch.backends.cudnn.benchmark is before
