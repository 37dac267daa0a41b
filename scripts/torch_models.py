"""The networks of nn::models as PyTorch modules, in PyTorch's usual style and with its usual names.

Used by golden_models.py, parity-resnet20.py and weights-round-trip.py. Modules are registered in the order in which data flows, with a
shortcut's convolution behind the block's own, so that state dictionaries match Neuropil's models in their order.
"""

import torch
import torch.nn.functional as F
from torch import nn


def conv_bn(inputs, outputs, kernel, activation=nn.ReLU, **options):
    layers = [nn.Conv2d(inputs, outputs, kernel, bias=False, **options), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def small_cnn(channels, size, classes):
    return nn.Sequential(
        conv_bn(channels, 32, 3, padding=1),
        conv_bn(32, 32, 3, padding=1),
        nn.MaxPool2d(2),
        conv_bn(32, 64, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64 * (size // 4) ** 2, classes),
    )


def mlp(channels, size, classes):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size * size, 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def lenet5(channels, size, classes):
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * ((size // 2 - 4) // 2) ** 2, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, classes),
    )


def vgg8(channels, size, classes):
    layers = []
    for outputs in [64, 128, 256]:
        layers += [conv_bn(channels, outputs, 3, padding=1), conv_bn(outputs, outputs, 3, padding=1), nn.MaxPool2d(2)]
        channels = outputs
    hidden = nn.Linear(256 * (size // 8) ** 2, 256)
    return nn.Sequential(*layers, nn.Flatten(), hidden, nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, classes))


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = conv_bn(inputs, outputs, 1, activation=None, stride=stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class ResNet(nn.Module):
    def __init__(self, channels, classes, widths, blocks, imagenet=False):
        super().__init__()
        if imagenet:
            self.conv1 = nn.Conv2d(channels, widths[0], 7, stride=2, padding=3, bias=False)
        else:
            self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if imagenet else nn.Identity()
        inputs = widths[0]
        stages = []
        for stage, width in enumerate(widths):
            layers = []
            for block in range(blocks):
                layers.append(BasicBlock(inputs, width, 2 if stage > 0 and block == 0 else 1))
                inputs = width
            stages.append(nn.Sequential(*layers))
        self.layers = nn.Sequential(*stages)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.layers(self.pool(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))


def resnet20(channels, size, classes, width=16):
    return ResNet(channels, classes, [width, 2 * width, 4 * width], 3)


def resnet18(channels, size, classes):
    return ResNet(channels, classes, [64, 128, 256, 512], 2, imagenet=True)


def resnet18_cifar(channels, size, classes):
    return ResNet(channels, classes, [64, 128, 256, 512], 2)


def depthwise_cnn(channels, size, classes):
    layers = [conv_bn(channels, 32, 3, padding=1)]
    inputs = 32
    for outputs, stride in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1)]:
        layers.append(conv_bn(inputs, inputs, 3, padding=1, stride=stride, groups=inputs))
        layers.append(conv_bn(inputs, outputs, 1))
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        between = inputs * expansion
        expand = [] if expansion == 1 else [conv_bn(inputs, between, 1, nn.ReLU6)]
        depthwise = conv_bn(between, between, 3, nn.ReLU6, stride=stride, padding=1, groups=between)
        self.conv = nn.Sequential(*expand, depthwise, conv_bn(between, outputs, 1, None))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


STAGES = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def mobilenet_v2(channels, size, classes, stem=32, stages=STAGES, last=1280):
    layers, inputs = [conv_bn(channels, stem, 3, nn.ReLU6, padding=1)], stem
    for expansion, outputs, blocks, stride in stages:
        for block in range(blocks):
            layers.append(InvertedResidual(inputs, outputs, stride if block == 0 else 1, expansion))
            inputs = outputs
    layers += [conv_bn(inputs, last, 1, nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes)]
    return nn.Sequential(*layers)


class Scale(nn.Module):
    def forward(self, x):
        return x / 9


def airbench94(channels, size, classes):
    def group(inputs, outputs):
        norm = lambda: nn.BatchNorm2d(outputs, eps=1e-12, momentum=0.4)
        return [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            norm(),
            nn.GELU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            norm(),
            nn.GELU(),
        ]

    layers = [nn.Conv2d(channels, 24, 2), nn.GELU(), *group(24, 64), *group(64, 256), *group(256, 256)]
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, classes, bias=False), Scale())


def autoencoder(channels, size, code):
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, code, 1),
        nn.Conv2d(code, 32, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, channels, 3, stride=2, padding=1, output_padding=1),
    )


ALL = [small_cnn, mlp, lenet5, vgg8, resnet20, resnet18, resnet18_cifar, depthwise_cnn, mobilenet_v2, airbench94, autoencoder]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def shake(module, seed):
    """Lets batch norms differ from the identity, as those of a trained network do."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda tensor, low, high: tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                draw(layer.weight, 0.5, 1.5)
                draw(layer.bias, -0.3, 0.3)
                draw(layer.running_mean, -0.3, 0.3)
                draw(layer.running_var, 0.5, 1.5)
    return module
