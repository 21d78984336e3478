"""Pairs of the same draws from host and device; and a device that the host never waits for."""

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
from drawn_faces import DrawnFaces

from deepfake_core.training.pairs.autoencoder import Autoencoder, DecoderSpec, reconstruct
from deepfake_core.training.pairs.device.apply import device_pairs
from deepfake_core.training.pairs.device.crops import Resident
from deepfake_core.training.pairs.device.feed import part_of
from deepfake_core.training.pairs.host import host_pairs
from deepfake_core.training.pairs.planner import EQUAL, PairSource, Planner

CPU = torch.device("cpu")
MIXED = "labelled, mixed"
FAMILIES = ("self_blend", "composite", "reconstruct", "labelled", MIXED)
# Operations that make the host wait for a GPU.
WAITS = {f"aten::{name}" for name in ("item", "_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")}


@cache
def made_from():
    """Faces, their crops on the device, an autoencoder, and the planner."""
    faces = DrawnFaces()
    torch.manual_seed(0)
    autoencoder = Autoencoder(DecoderSpec(factor=4, latent=6, upsampling="nearest", width=8)).eval()
    source = PairSource(
        faces,
        np.arange(len(faces)),
        decoders=(0,),
        reconstruct=lambda row, index: reconstruct((autoencoder,)[index], faces.pixels(row)[None], CPU)[0],
    )
    planner = Planner(source, EQUAL, size=96, margin=1.3, cells=7)
    return source, planner, Resident(faces, np.arange(len(faces)), CPU), [autoencoder]


def chunks(family, count, n=2):
    planner = made_from()[1]
    if family == MIXED:
        planner = Planner(planner.source, EQUAL.model_copy(update={"mix": 1.0}), size=96, margin=1.3, cells=7)
        family = "labelled"
    return [planner.draw(np.random.default_rng([5, number]), n, family) for number in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_host_and_device_make_the_same_pairs(family, device):
    source, _, _, autoencoders = made_from()
    crops = Resident(source.faces, np.arange(len(source.faces)), torch.device(device))
    autoencoders = [deepcopy(autoencoder).to(device) for autoencoder in autoencoders]
    differences = []
    for chunk in chunks(family, 8):
        images, masks = device_pairs(chunk, crops, autoencoders)
        wanted, wanted_masks = host_pairs(chunk, source.faces, source.reconstruct)
        assert (images.dtype, images.shape) == (torch.uint8, wanted.shape)
        differences += np.abs(images.cpu().numpy() - wanted.astype(np.float64)).mean((1, 2, 3)).tolist()
        np.testing.assert_allclose(masks.cpu().numpy(), wanted_masks, atol=0.02)
    assert np.mean(differences) < 1.5
    assert max(differences) < 4, "three codings of one picture add up"


class Nowhere:
    """Crops whose tensors have a shape and no values."""

    device, side = torch.device("meta"), 160

    def fetch(self, rows):
        return torch.empty(len(rows), 3, self.side, self.side, device=self.device)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_operation_reads_a_value_or_names_a_device(family, monkeypatch):
    # torch has no version of this one for tensors without values.
    monkeypatch.setattr(torch, "fake_quantize_per_channel_affine", lambda values, *_: values + 0)
    autoencoders = [deepcopy(autoencoder).to("meta") for autoencoder in made_from()[3]]
    for chunk in chunks(family, 4):
        images, masks = device_pairs(chunk, Nowhere(), autoencoders)
        assert (images.device, masks.device) == (Nowhere.device,) * 2


def operations(chunk, crops, autoencoders):
    """Names of the operations, of all depths, that making a chunk computes."""
    with torch.autograd.profiler.profile(use_kineto=False) as record:
        device_pairs(chunk, crops, autoencoders)
    return [event.name for event in record.function_events]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_host_never_waits_for_the_device(family):
    _, _, crops, autoencoders = made_from()
    for chunk in chunks(family, 8, n=1):
        assert not WAITS & set(operations(chunk, crops, autoencoders))


def test_the_number_of_kernels_does_not_depend_on_that_of_the_pairs():
    _, _, crops, autoencoders = made_from()
    (chunk,) = chunks("composite", 1)
    counts = [
        len(operations(part_of(chunk, np.array(places)), crops, autoencoders)) for places in ([0, 1], [0, 1, 0, 1, 0])
    ]
    assert counts[0] == counts[1]
    assert counts[0] < 1500, "about a sixth of the operations are kernels, the others contain them or are views"


def test_part_of_a_chunk_gives_the_same_pictures_as_the_whole():
    _, _, crops, autoencoders = made_from()
    for chunk in chunks("self_blend", 3, n=3):
        images, masks = device_pairs(chunk, crops, autoencoders)
        part, part_masks = device_pairs(part_of(chunk, slice(1, 3)), crops, autoencoders)
        both = torch.cat([images[1:3], images[4:]])
        assert (part.float() - both.float()).abs().mean() < 0.01  # sums of another length may round another way
        torch.testing.assert_close(part_masks, masks[1:], atol=1e-5, rtol=0)
