"""python cut_faces.py MODEL PHOTO.jpg: cut the faces out of a picture, as input for the network."""

import sys

from PIL import Image

import deepfake_core as df

model, photo = sys.argv[1:]
for index, crop in enumerate(df.load(model).prepare(photo).crops):  # uint8 [H, W, 3] RGB
    Image.fromarray(crop).save(f"face-{index}.png")
