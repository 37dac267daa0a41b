#!/usr/bin/env python3
"""Takes ResNet-20 and MobileNetV2 from PyTorch to Neuropil and back, through files and the command, and compares what they say.

    python3 -m venv .venv && .venv/bin/pip install torch==2.15.0 numpy safetensors
    cargo build --release && .venv/bin/python scripts/weights-round-trip.py

`weights import` reads what torch.save wrote, `predict` classifies pictures, `weights export` writes safetensors under PyTorch's names, and
.npz. The probabilities of all classes must be PyTorch's within 1e-4, and the logits of what comes back those of what was sent.
"""

import json
import pathlib
import struct
import subprocess
import tempfile
import zlib

import numpy
import safetensors.torch
import torch

import torch_models

ROOT = pathlib.Path(__file__).resolve().parent.parent
MEAN, DEVIATION = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]
CLASSES = 10


def neuropil(*arguments):
    command = [ROOT / "target/release/neuropil", *arguments, "--json", "--device", "cpu"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


def write_png(path, pixels):
    """An RGB picture, by the specification's plainest means."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def compare(name, build, folder):
    torch.manual_seed(3)
    module = torch_models.shake(build(3, 32, CLASSES), 4).eval()
    state, saved, back, numbers = (folder / f"{name}{end}" for end in [".pt", ".net.safetensors", ".safetensors", ".npz"])
    torch.save(module.state_dict(), state)
    listed = lambda numbers: ",".join(map(str, numbers))
    network = ["--model", name, "--image-shape", "32x32x3", "--classes", str(CLASSES)]
    pixels_as = ["--mean", listed(MEAN), "--deviation", listed(DEVIATION)]
    neuropil("weights", "import", state, *network, *pixels_as, "--save", saved)

    pictures = numpy.random.default_rng(5).integers(0, 256, (16, 32, 32, 3), dtype=numpy.uint8)
    paths = [folder / f"{i}.png" for i in range(len(pictures))]
    [write_png(path, picture) for path, picture in zip(paths, pictures)]
    x = (pictures.astype(numpy.float32) / 255 - numpy.float32(MEAN)) / numpy.float32(DEVIATION)
    x = torch.from_numpy(x).permute(0, 3, 1, 2)
    with torch.no_grad():
        sent = module(x)
    predictions = neuropil("predict", saved, *paths, "--top", str(CLASSES))[: len(paths)]
    own = numpy.array([[p["probability"] for p in sorted(one["top"], key=lambda p: int(p["class"]))] for one in predictions])
    difference = numpy.abs(own - sent.softmax(1).numpy()).max()

    neuropil("weights", "export", saved, "--save", back, "--names-of", state)
    neuropil("weights", "export", saved, "--save", numbers, "--names-of", state)
    others = [safetensors.torch.load_file(back), {k: torch.from_numpy(v) for k, v in numpy.load(numbers).items()}]
    of_logits = 0
    for other in others:
        received = build(3, 32, CLASSES)
        received.load_state_dict(other)
        with torch.no_grad():
            of_logits = max(of_logits, (received.eval()(x) - sent).abs().max().item())
    print(f"{name}: probabilities differ by {difference:.1e}, the logits of what came back by {of_logits:.1e}")
    return max(difference, of_logits)


def main():
    with tempfile.TemporaryDirectory() as folder:
        networks = [("resnet20", torch_models.resnet20), ("mobilenet_v2", torch_models.mobilenet_v2)]
        networks += [("vgg8", torch_models.vgg8)]
        worst = max(compare(name, build, pathlib.Path(folder)) for name, build in networks)
    if worst > 1e-4:
        raise SystemExit("they differ by more than 1e-4")


main()
