#!/usr/bin/env python3
"""Writes tests/pytorch/models/*: narrow networks as torch.save wrote them, and what PyTorch computes with them.

    python3 -m venv .venv && .venv/bin/pip install torch==2.15.0 numpy safetensors
    .venv/bin/python scripts/golden_models.py

NAME.pt is the state dictionary; NAME.safetensors has images [N, H, W, C], labels, the logits of evaluation, and the losses of some
steps of SGD on them, both computed in float64. Prints the numbers of parameters and operations that tests/zoo.rs has.
"""

import pathlib

import numpy
import safetensors.numpy
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import torch_models

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "pytorch" / "models"
STEPS = 5
# Small, so that rounding is not magnified: with ten times as much, float32 and float64 differ by percents after five steps.
LEARNING_RATE = 0.005


def ramp(*shape):
    """Numbers in [0, 1) that follow from their place."""
    count = int(numpy.prod(shape))
    return ((numpy.arange(count, dtype=numpy.uint64) * 2654435761 % 2**32) / 2**32).astype(numpy.float32).reshape(shape)


def write(name, module, images, labels):
    torch.save(module.state_dict(), FOLDER / f"{name}.pt")
    module.double()
    x, labels = torch.from_numpy(images).permute(0, 3, 1, 2).double(), torch.from_numpy(labels)
    module.eval()
    with torch.no_grad():
        logits = module(x).numpy().astype(numpy.float32)
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=5e-4)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(module(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    arrays = {"images": images, "labels": labels.numpy().astype(numpy.int32), "logits": logits}
    arrays["losses"] = numpy.array(losses, dtype=numpy.float32)
    safetensors.numpy.save_file(arrays, FOLDER / f"{name}.safetensors", {"torch": torch.__version__.split("+")[0]})
    print(name, torch_models.count(module), "parameters, losses", losses)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    labels = numpy.arange(8) % 5
    resnet = torch_models.shake(torch_models.resnet20(3, 16, 5, width=4), 1)
    write("resnet20", resnet, ramp(8, 16, 16, 3), labels)
    stages = [(1, 8, 1, 1), (4, 8, 2, 2), (4, 12, 2, 2)]
    mobile = torch_models.shake(torch_models.mobilenet_v2(3, 16, 5, stem=8, stages=stages, last=32), 2)
    write("mobilenet", mobile, ramp(8, 16, 16, 3), labels)
    lenet = torch_models.lenet5(1, 16, 5)
    write("lenet5", lenet, ramp(8, 16, 16, 1), labels)
    for build in torch_models.ALL:
        channels, size = (1, 28) if build is torch_models.lenet5 else (3, 32)
        module = build(channels, size, 10).eval()
        with FlopCounterMode(display=False) as counter:
            module(torch.zeros(1, channels, size, size))
        counts = f"{torch_models.count(module)}, {counter.get_total_flops()}"
        print(f'("{build.__name__}", [{size}, {size}, {channels}], {counts}),')


main()
