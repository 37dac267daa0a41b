"""The suite of `neuropil bench` in PyTorch, on the shapes of suite.json: `python3 pytorch.py [cpu|cuda] [quick|full]`.

Operands are made once, every number is the median of ten runs after two, TF32 is off. Images are NCHW in memory format
channels_last, which is what `neuropil` has.
"""

import json
import pathlib
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

DEVICE = sys.argv[1] if len(sys.argv) > 1 else "cpu"
FULL = len(sys.argv) > 2 and sys.argv[2] == "full"
SUITE = json.loads((pathlib.Path(__file__).parent.parent / "suite.json").read_text())
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.benchmark = True


def median(run):
    """Seconds of `run`."""
    seconds = []
    for _ in range(12):
        start = time.perf_counter()
        run()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def report(name, seconds, operations=None):
    rate = f"{operations / seconds / 1e9:8.1f} GFLOP/s" if operations else ""
    print(f"{name:<44} {1e3 * seconds:10.3f} ms {rate}", flush=True)


def image(*shape, dtype=torch.float32):
    return torch.rand(shape, device=DEVICE).to(dtype, memory_format=torch.channels_last)


def wanted(kind):
    """What is measured; half precision on CUDA alone, where it is for speed."""
    possible = [shape for shape in SUITE[kind] if DEVICE == "cuda" or not shape.get("half")]
    return [shape for shape in possible if FULL or shape["suite"] == "quick"]


def precision(shape):
    """The type of the operands, and what the name says of it."""
    return (torch.float16, " f16") if shape.get("half") else (torch.float32, "")


def products():
    for shape in wanted("products"):
        side, (dtype, suffix) = shape["side"], precision(shape)
        a, b = (torch.rand(side, side, device=DEVICE).to(dtype) for _ in range(2))
        report(f"matmul {side}{suffix}", median(lambda: a @ b), 2 * side**3)


def convolutions():
    for shape in wanted("convolutions"):
        batch, side, channels, outputs, kernel = (shape[of] for of in ["batch", "side", "channels", "outputs", "kernel"])
        dtype, suffix = precision(shape)
        name = f"conv {kernel}×{kernel} [{batch},{side},{side},{channels}]→{outputs}{suffix}"
        operations = 2 * batch * side * side * channels * outputs * kernel**2
        x = image(batch, channels, side, side, dtype=dtype)
        weight = image(outputs, channels, kernel, kernel, dtype=dtype)
        upstream = image(batch, outputs, side, side, dtype=dtype)
        padding = kernel // 2
        report(name, median(lambda: F.conv2d(x, weight, padding=padding)), operations)
        gradient = lambda mask: torch.ops.aten.convolution_backward(
            upstream, x, weight, None, [1, 1], [padding, padding], [1, 1], False, [0, 0], 1, mask
        )
        report(f"{name}, input gradient", median(lambda: gradient([True, False, False])), operations)
        report(f"{name}, weight gradient", median(lambda: gradient([False, True, False])), operations)


class Residual(nn.Module):
    def __init__(self, width, channels, stride):
        super().__init__()
        conv = lambda i, kernel, stride: nn.Conv2d(i, channels, kernel, stride, kernel // 2, bias=False)
        self.body = nn.Sequential(
            conv(width, 3, stride), nn.BatchNorm2d(channels), nn.ReLU(), conv(channels, 3, 1), nn.BatchNorm2d(channels)
        )
        same = stride == 1 and width == channels
        self.shortcut = nn.Identity() if same else nn.Sequential(conv(width, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


def residual_stages(layers, channels_of_stages, blocks):
    width = channels_of_stages[0]
    for stage, channels in enumerate(channels_of_stages):
        for block in range(blocks):
            layers.append(Residual(width, channels, 2 if stage > 0 and block == 0 else 1))
            width = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def resnet20():
    stem = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return residual_stages(stem, [16, 32, 64], 3)


def resnet18():
    stem = [nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return residual_stages(stem + [nn.MaxPool2d(3, 2, 1)], [64, 128, 256, 512], 2)


def depthwise_cnn():
    block = lambda i, o, stride: [
        nn.Conv2d(i, i, 3, stride, 1, groups=i, bias=False), nn.BatchNorm2d(i), nn.ReLU(),
        nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(),
    ]
    layers, width = [nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()], 32
    for channels, stride in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1)]:
        layers += block(width, channels, stride)
        width = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))


def two_convolutions():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10),
    )


def steps():
    networks = {"CNN": two_convolutions, "depthwise CNN": depthwise_cnn, "ResNet-20": resnet20, "ResNet-18": resnet18}
    for shape in wanted("steps"):
        batch, (height, width, channels) = shape["batch"], shape["image"]
        half = bool(shape.get("half"))
        name = f"{shape['network']}{' mixed' if half else ''}, {batch} of {height}×{width}×{channels}"
        model = networks[shape['network']]().to(DEVICE).to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        images, labels = image(batch, channels, height, width), torch.full((batch,), 3, device=DEVICE)

        scaler = torch.amp.GradScaler(DEVICE, enabled=half)

        def step():
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(DEVICE, dtype=torch.float16, enabled=half):
                loss = F.cross_entropy(model(images), labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

        report(name, median(step))


print(f"PyTorch {torch.__version__} on {torch.cuda.get_device_name() if DEVICE == 'cuda' else 'the CPU'}")
products()
convolutions()
steps()
