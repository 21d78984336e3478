"""The feed of pairs made on a device: decided by the step alone, and honest about what it could not read."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawn_faces import DrawnFaces

from deepfake_core.contract.recipe import Pairs, Phase, PseudoFakes, TrainRecipe
from deepfake_core.errors import TrainingDataError
from deepfake_core.training.pairs.device import crops as crops_module
from deepfake_core.training.pairs.device import feed as feed_module
from deepfake_core.training.pairs.device.feed import DevicePairs, chunks_of, pairs_together
from deepfake_core.training.pairs.planner import PairSource, Planner

CPU = torch.device("cpu")
PSEUDO = PseudoFakes(self_blend=1, composite=1, reconstruct=0, labelled=1)


def make(faces=None, *, place="resident", process=0, processes=1, **recipe):
    faces = faces or DrawnFaces(30, side=64)
    settings = {"samples": "pairs", "batch_size": 8, "pairs": Pairs(pseudo=PSEUDO), **recipe}
    accelerator = SimpleNamespace(device=CPU, num_processes=processes, process_index=process)
    planner = Planner(PairSource(faces, np.arange(len(faces))), settings["pairs"], size=32, margin=1.3, cells=4)
    return DevicePairs(planner, (), TrainRecipe(**settings), accelerator, place=place)


def tensors(steps):
    return [
        (part.keys, {name: torch.nan_to_num(value, -1) for name, value in part.tensors.items()})
        for parts in steps
        for part in parts
    ]


def assert_same(some, others):
    some, others = tensors(some), tensors(others)
    assert len(some) == len(others)
    for (keys, one), (other_keys, other) in zip(some, others, strict=True):
        assert keys == other_keys
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


def test_a_part_is_as_the_training_loop_takes_it():
    feed = make(accumulate=2)
    (parts,) = feed.from_step(0, 1)
    assert len(parts) == 2
    batch = parts[0].on(CPU)
    assert (batch["images"].shape, batch["images"].dtype) == ((8, 32, 32, 3), torch.uint8)
    assert batch["fake"].tolist() == [0, 1] * 4
    assert batch["weight"].tolist() == [1] * 8
    assert batch["mask"].shape == (8, 4, 4)
    assert not batch["mask"][::2].any(), "real faces have no mask"
    assert feed.steps_per_epoch == 3  # 20 real faces, 4 pairs in a pass, 2 passes in a step
    assert len(next(feed.from_step(2))) == 1, "the last step of an epoch has one pass left"


@pytest.mark.parametrize("place", ["resident", "streamed"])
def test_a_run_that_goes_on_makes_the_same_pairs(place):
    feed = make(place=place)
    steps = list(feed.from_step(0, 6))
    assert_same(steps[3:], feed.from_step(3, 6))
    assert_same(steps[:2], make(place="resident").from_step(0, 2))
    assert any(key != other for key, other in zip(steps[0][0].keys, steps[1][0].keys, strict=True))


def test_processes_share_the_pairs_of_one(monkeypatch):
    monkeypatch.setattr(feed_module, "FEWEST", 1)  # one chunk, of which each process takes a part
    whole = tensors(make().from_step(0, 2))
    shared = [tensors(make(process=rank, processes=2).from_step(0, 2)) for rank in range(2)]
    for number, (keys, expected) in enumerate(whole):
        assert keys == shared[0][number][0] + shared[1][number][0]
        images = torch.cat([part[number][1]["images"] for part in shared])
        assert (images.float() - expected["images"].float()).abs().mean() < 0.01
    with pytest.raises(TrainingDataError, match="choose a multiple of 6"):
        make(processes=3)


def test_small_inputs_come_first_and_end_when_the_loop_says_so():
    pairs = Pairs(pseudo=PSEUDO, small_until=0.5, small_size=32)
    feed = make(pairs=pairs, phases=(Phase(steps=4),))
    assert feed.small_until == 2
    feed.planner.size, feed.planner.cells = 64, 8
    assert [parts[0].tensors["images"].shape[2] for parts in feed.from_step(0, 4)] == [32, 32, 64, 64]
    assert [parts[0].tensors["mask"].shape[2] for parts in feed.from_step(1, 3)] == [4, 8]
    feed.grow(1)
    assert next(feed.from_step(1))[0].tensors["images"].shape[2] == 64


@pytest.mark.parametrize("place", ["resident", "streamed"])
def test_a_crop_that_cannot_be_read_counts_for_nothing(place):
    faces = DrawnFaces(30, side=64, damaged=(0, 5))
    pairs = Pairs(pseudo=PseudoFakes(self_blend=0, composite=0, reconstruct=0, labelled=1))
    feed, seen, found = make(faces, place=place, max_bad=0.1, pairs=pairs), [], []
    for parts in feed.from_step(0, 16):
        for part in parts:
            feed.note(part, seen)
            bad = part.tensors.get("unreadable", torch.zeros(4, 2, dtype=torch.bool))
            assert torch.equal(part.tensors["weight"], 1 - bad.float())
            found += [part] if bad.any() else []
    assert set(seen) == {0, 5}
    assert feed.close_epoch(seen) == ["face 0", "face 5"]
    assert seen == []
    with pytest.raises(TrainingDataError, match="1 of 30 samples could not be read"):
        make(faces, place=place, max_bad=0.01).note(found[0], [])


def test_crops_stay_on_a_device_that_has_room_and_are_streamed_otherwise(monkeypatch, caplog):
    faces = DrawnFaces(30, side=64)
    needed = 30 * 3 * 64 * 64
    caplog.set_level("INFO")
    for free, kind in ((2 * needed, crops_module.Resident), (2 * needed - 1, crops_module.Streamed)):
        monkeypatch.setattr(crops_module, "free_memory", lambda device, free=free: free)
        assert isinstance(crops_module.crops_on(faces, np.arange(30), CPU), kind)
    assert "30 crops take 0.0 of 0.0 GB" in caplog.text
    assert "they are read for each step instead" in caplog.text


def test_streamed_crops_lie_in_memory_as_resident_ones_do():
    faces, rows = DrawnFaces(30, side=64), np.array([3, 8, 3])
    resident, streamed = (crops_module.crops_on(faces, np.arange(30), CPU, kind) for kind in ("resident", "streamed"))
    try:
        one, other = resident.fetch(rows), streamed.fetch(rows)
    finally:
        streamed.close()
    assert torch.equal(one, other)
    assert one.stride() == other.stride(), "kernels round by the order in memory"


def test_only_rows_in_use_are_loaded():
    faces = DrawnFaces(30, side=64)
    make(faces, pairs=Pairs(pseudo=PseudoFakes(self_blend=1, composite=0, reconstruct=0, labelled=0)))
    assert sorted(faces.reads) == np.flatnonzero(faces.fake == 0).tolist()


def test_a_small_device_makes_the_same_pairs_a_few_at_a_time(monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(feed_module, "FEWEST", 1)
    whole = tensors(make().from_step(0, 1))
    monkeypatch.setattr(feed_module, "free_memory", lambda device: 8 * 3 * feed_module.PAIR_BYTES)
    feed = make()
    assert [len(chunk) for chunk in feed.chunks(0)[0]] == [3, 1]
    assert "3 pairs are made at a time, not 4, because of the memory of cpu" in caplog.text
    ((keys, small),) = tensors(feed.from_step(0, 1))
    assert keys == whole[0][0]
    assert (small["images"].float() - whole[0][1]["images"].float()).abs().mean() < 0.01


def test_batches_are_of_several_chunks():
    assert [chunks_of(pairs) for pairs in (1, 3, 16, 128, 130)] == [1, 3, 4, 4, 5]
    assert (pairs_together(0), pairs_together(1 << 40)) == (1, feed_module.LARGEST)
