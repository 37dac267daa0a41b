#!/usr/bin/env python3
"""Trains ResNet-20 on CIFAR-10 with PyTorch and with Neuropil, from equal weights on equal batches, and compares the losses.

    python3 -m venv .venv && .venv/bin/pip install torch==2.15.0 numpy safetensors
    .venv/bin/python scripts/parity-resnet20.py BATCH.bin[.gz] [--device cpu] [--steps 200]

BATCH.bin is a file of the binary version of CIFAR-10 (data_batch_1.bin), or several of its records; `neuropil data fetch cifar10` gets it.
SGD with momentum, weight decay and a warm-up, no augmentation. PyTorch runs twice, the second time with the images of each batch in
another order, which changes nothing but rounding: how far these two are apart is how far rounding alone takes two right programs
apart. It grows from step to step, and the faster the higher the learning rate; hence the long warm-up.
"""

import argparse
import gzip
import pathlib
import subprocess
import tempfile

import numpy
import safetensors.numpy
import torch
import torch.nn.functional as F

import torch_models

ROOT = pathlib.Path(__file__).resolve().parent.parent
MEAN, DEVIATION = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]


def images_of(path):
    content = pathlib.Path(path).read_bytes()
    content = gzip.decompress(content) if path.endswith(".gz") else content
    records = numpy.frombuffer(content, numpy.uint8).reshape(-1, 3073)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return numpy.ascontiguousarray(images), records[:, 0].astype(numpy.int32)


def rates(options):
    steps = numpy.arange(1, options.steps + 1)
    return (options.learning_rate * numpy.minimum(1, steps / options.warm_up)).astype(numpy.float32)


def train(state, images, labels, order, options):
    module = torch_models.resnet20(3, 32, 10)
    module.load_state_dict(state)
    rule = torch.optim.SGD(module.parameters(), momentum=options.momentum, weight_decay=options.weight_decay)
    losses = []
    for indices, rate in zip(order, rates(options)):
        rule.param_groups[0]["lr"] = float(rate)
        x = images[indices].astype(numpy.float32) / numpy.float32(255)
        x = (x - numpy.array(MEAN, numpy.float32)) / numpy.array(DEVIATION, numpy.float32)
        x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
        rule.zero_grad()
        loss = F.cross_entropy(module(x), torch.from_numpy(labels[indices]).long())
        loss.backward()
        rule.step()
        losses.append(loss.item())
    return numpy.array(losses)


def smooth(losses, width=20):
    return numpy.convolve(losses, numpy.ones(width) / width, "valid")


def report(name, losses, of, first):
    relative = numpy.abs(losses - of) / of
    curve = numpy.abs(smooth(losses) - smooth(of)) / smooth(of)
    print(f"{name}: {relative[:first].max():.1e} in the first {first} steps, {curve.max():.1e} of the smoothed curve")
    return relative[:first].max(), curve.max()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--warm-up", type=int, default=1000, help="steps to the full learning rate")
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    images, labels = images_of(options.data)
    generator = numpy.random.default_rng(options.seed)
    epochs = -(-options.steps * options.batch // len(images)) + 1
    order = numpy.concatenate([generator.permutation(len(images)) for _ in range(epochs)])
    order = order[: options.steps * options.batch].reshape(options.steps, options.batch).astype(numpy.int32)
    torch.manual_seed(options.seed)
    state = torch_models.resnet20(3, 32, 10).state_dict()
    with tempfile.TemporaryDirectory() as folder:
        run, weights = f"{folder}/run.safetensors", f"{folder}/weights.pt"
        torch.save(state, weights)
        arrays = {"images": images, "labels": labels, "order": order}
        arrays |= {"mean": numpy.float32(MEAN), "deviation": numpy.float32(DEVIATION)}
        arrays["rates"] = rates(options)
        for name in ["momentum", "weight_decay"]:
            arrays[name] = numpy.array(getattr(options, name))
        safetensors.numpy.save_file(arrays, run)
        command = ["cargo", "run", "--quiet", "--release", "--example", "parity_resnet20", "--", run, weights, options.device]
        printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    own = numpy.array([float(line) for line in printed.split()])
    other = train(state, images, labels, order, options)
    shuffled = train(state, images, labels, numpy.stack([generator.permutation(batch) for batch in order]), options)
    for step in [*range(0, 20, 4), *range(19, options.steps, 20)]:
        if step < options.steps:
            print(f"step {step + 1:3}: Neuropil {own[step]:.6f}, PyTorch {other[step]:.6f}, reordered {shuffled[step]:.6f}")
    first = min(20, options.steps)
    of_step, of_curve = report("Neuropil and PyTorch", own, other, first)
    report("PyTorch and PyTorch reordered", other, shuffled, first)
    if of_step > 1e-3 or of_curve > 0.05:
        raise SystemExit("the losses are further apart than 1e-3 of a step, or 5 % of the smoothed curve")


main()
