"""Datasets and explainers of the core itself, which it offers through the same hooks as any plugin."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_core.contract.hookspecs import hookimpl
from deepfake_core.contract.specs import DatasetSpec, ExplainerSpec

_DATASETS = (
    (
        "image-folder",
        "folders of pictures: real/… and fake/…, or <source>/{real,fake}/…",
        "layouts.image_folder:ImageFolder",
    ),
    (
        "frame-folders",
        "videos as folders of frames: real/<video>/*.jpg and fake/<video>/*.jpg",
        "layouts.frame_folders:FrameFolders",
    ),
    (
        "csv",
        "CSV file with columns path and label (1 = real), or train.csv, valid.csv, test.csv",
        "formats.csv_table:CsvTable",
    ),
    ("video-pairs", "CSV file with columns real and fake, beside folders of frames", "layouts.video_pairs:VideoPairs"),
    (
        "kaggle-140k",
        "140k real and fake faces: real_vs_fake/real-vs-fake/{train,valid,test}",
        "layouts.kaggle:Kaggle140k",
    ),
    ("wilddeepfake", "WildDeepfake: {real,fake}_{train,test}/N.tar.gz", "layouts.wilddeepfake:WildDeepfake"),
    ("celeb-df-v2", "Celeb-DF v2: folders of videos and List_of_testing_videos.txt", "layouts.celeb_df:CelebDF"),
    (
        "faceforensics",
        "FaceForensics++: original_sequences and manipulated_sequences",
        "layouts.faceforensics:FaceForensics",
    ),
    ("dfdc", "Deepfake Detection Challenge: dfdc_train_part_N/metadata.json", "layouts.dfdc:Dfdc"),
    ("shards", "WebDataset tar shards: key.jpg beside key.json, key.cls or key.txt", "formats.shards:Shards"),
    ("crops", "store of face crops, written by dfbench data prepare or pack", "crop_store.dataset:StoredCrops"),
    ("parquet", "Parquet files with columns of pictures and labels", "formats.parquet:Parquet"),
    ("hf", "any dataset of Hugging Face, by its id or local path", "formats.hf:HuggingFace"),
    ("sample", "forty drawn faces and a fake of each, to check that training runs", "layouts.sample:SampleFaces"),
)

_EXPLAINERS = (
    ("evidence", "evidence map of the detector itself: places that look manipulated", "evidence:EvidenceMap", False),
    ("gradcam", "GradCAM: places whose activations speak for the class", "gradcam:GradCam", True),
    ("gradcam++", "GradCAM++: GradCAM with weights for several places of one kind", "gradcam:GradCamPlusPlus", True),
    ("hirescam", "HiResCAM: GradCAM with the gradient of each place, not their mean", "gradcam:HiResCam", True),
    ("layercam", "LayerCAM: GradCAM with the positive gradients of each place", "gradcam:LayerCam", True),
    ("xgradcam", "XGradCAM: GradCAM with gradients weighted by activations", "gradcam:XGradCam", True),
    ("eigencam", "EigenCAM: places where activations vary most, for any class", "gradcam:EigenCam", True),
    ("rollout", "attention rollout: places that a vision transformer attends to", "rollout:AttentionRollout", True),
    ("occlusion", "decrease of the score when a place is hidden; for any model file", "perturb:Occlusion", False),
    ("rise", "mean of random masks, weighted by the score; for any model file", "perturb:Rise", False),
)


@hookimpl
def deepfake_datasets() -> Iterable[DatasetSpec]:
    """Yield the layouts of datasets on disk and on the Hugging Face Hub."""
    for name, summary, home in _DATASETS:
        yield DatasetSpec(name=name, summary=summary, dataset=f"deepfake_core.datasets.{home}")


@hookimpl
def deepfake_explainers() -> Iterable[ExplainerSpec]:
    """Yield the evidence map, the methods that need the network in torch, and those that need its score only."""
    for name, summary, home, needs_torch in _EXPLAINERS:
        yield ExplainerSpec(
            name=name, summary=summary, explainer=f"deepfake_core.explainers.{home}", needs_torch=needs_torch
        )
