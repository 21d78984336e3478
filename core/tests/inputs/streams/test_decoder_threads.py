"""Test that decoding starts no more threads than the process is allowed to use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from media import blocks, encoded, video_bytes
from PIL import Image

SCRIPT = """
import sys, threading, time
from pathlib import Path
import deepfake_core.inputs.crop
from deepfake_core.inputs.decode import decode
from deepfake_core.inputs.streams.opening import is_video
from deepfake_core.inputs.video import sample_frames

tasks = Path("/proc/self/task")
most, done = 0, threading.Event()

def watch():
    global most
    while not done.is_set():
        most = max(most, len(list(tasks.iterdir())))

def look(path):
    if is_video(path):
        frames = sample_frames(path, 2)
        list(frames)
    else:
        decode(path)

watcher = threading.Thread(target=watch)
watcher.start()
before = len(list(tasks.iterdir()))
for path in sys.argv[1:]:
    look(path)
done.set()
watcher.join()
print(most - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted by /proc")
def test_decoders_start_no_thread_where_one_is_allowed(tmp_path):
    picture = blocks(640, 360)
    files = {
        "h264.mp4": video_bytes([picture] * 6, codec="libx264"),
        "mpeg2.ts": video_bytes([picture] * 6, format="mpegts", codec="mpeg2video", rate=25),
        "still.avif": encoded(picture, "AVIF", speed=10),
        "still.webp": encoded(picture, "WEBP"),
        "moving.avif": encoded(
            Image.fromarray(picture), "AVIF", save_all=True, append_images=[Image.fromarray(picture[::-1])], speed=10
        ),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    environment = {**os.environ, "DEEPFAKE_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    paths = [str(tmp_path / name) for name in files]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *paths], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "0"
