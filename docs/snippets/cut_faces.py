"""python cut_faces.py MODEL PHOTO.jpg: write the faces of a picture as the model's network takes them."""

import sys

from PIL import Image

import deepfake_core as df

model, photo = sys.argv[1:]
for index, crop in enumerate(df.load(model).prepare(photo).crops):  # uint8 [H, W, 3] RGB
    Image.fromarray(crop).save(f"face-{index}.png")
