#!/usr/bin/env python3
"""Writes tests/pytorch/*.safetensors: what PyTorch computes, so that tests can compare without Python.

    python3 -m venv .venv && .venv/bin/pip install torch==2.15.0 numpy safetensors
    .venv/bin/python scripts/golden.py

A case is an operation with parameters, inputs, outputs, the gradient that flows into each output ("upstream") and the gradient
of each float input. PyTorch computes in float64 on the CPU from inputs that are exact in float32; results are stored as float32.
Everything is in Neuropil's layouts (channels last: images [N, H, W, C], filters [Cout, Kh, Kw, Cin]); the functions below
transpose on the way in and out, so gradients come out in these layouts too. The metadata of each file holds PyTorch's version and
the cases as JSON ("golden"). Random inputs follow from the case's name alone: two runs write the same bytes.
"""

import itertools
import json
import math
import pathlib
import zlib

import numpy
import safetensors.numpy
import torch
import torch.nn.functional as F

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "pytorch"
VERSION = torch.__version__.split("+")[0]

FAMILIES = {}


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


class Draw:
    """Random inputs that follow from a name."""

    def __init__(self, name):
        self.generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))

    def uniform(self, *shape, low=-1.0, high=1.0):
        values = torch.rand(shape, generator=self.generator, dtype=torch.float64) * (high - low) + low
        return values.to(torch.float32).to(torch.float64)

    def below(self, bound, *shape):
        return torch.randint(0, bound, shape, generator=self.generator)

    def distinct(self, *shape):
        """Values at least 0.01 apart, for maxima without ties."""
        count = math.prod(shape)
        order = torch.randperm(count, generator=self.generator).to(torch.float64)
        return ((order - count / 2) * 0.01).reshape(shape).to(torch.float32).to(torch.float64)


def case(family, op, function, inputs, params=None, name=None, gradient=True):
    """Computes one case. `function` takes the inputs and gives a tensor or a tuple of them."""
    params = params or {}
    index = len(FAMILIES.setdefault(family, {"cases": [], "arrays": {}})["cases"])
    entry = {"op": op, "params": params, "name": name or ", ".join(f"{k}={v}" for k, v in params.items())}
    leaves = [x.clone().requires_grad_(gradient and x.is_floating_point()) for x in inputs]
    outputs = function(*leaves)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    arrays = {f"in{i}": x for i, x in enumerate(inputs)}
    arrays |= {f"out{i}": y.detach() for i, y in enumerate(outputs)}
    differentiable = [(i, y) for i, y in enumerate(outputs) if y.requires_grad and y.numel() > 0]
    if gradient and differentiable:
        draw = Draw(f"{family} {op} {index} upstream")
        total = 0.0
        for i, y in differentiable:
            upstream = draw.uniform(*y.shape, low=0.5, high=1.5)
            arrays[f"upstream{i}"] = upstream
            total = total + (y * upstream).sum()
        total.backward()
        for i, x in enumerate(leaves):
            if x.grad is not None:
                arrays[f"grad{i}"] = x.grad
    entry["inputs"], entry["outputs"] = len(inputs), len(outputs)
    FAMILIES[family]["cases"].append(entry)
    for key, value in arrays.items():
        store = numpy.float32 if value.is_floating_point() else numpy.uint32
        FAMILIES[family]["arrays"][f"{index}/{key}"] = value.detach().numpy().astype(store, order="C")


def pair(value):
    return [value, value] if isinstance(value, int) else list(value)


# Convolution


def convolutions():
    def conv2d(stride, padding, dilation, groups):
        def function(x, w):
            # Asymmetric padding, which PyTorch's convolution lacks, is a padding before it.
            (top, bottom), (left, right) = padding
            x = F.pad(nchw(x), (left, right, top, bottom))
            return nhwc(F.conv2d(x, nchw(w), stride=stride, dilation=dilation, groups=groups))

        return function

    # image [N, H, W, C], outputs, kernel, stride, padding, dilation, groups
    configurations = [
        ((2, 7, 6, 3), 5, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
        ((1, 5, 5, 1), 1, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((1, 1, 1, 1), 1, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((3, 4, 4, 2), 4, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((3, 5, 5, 2), 4, (1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
        ((2, 9, 8, 4), 6, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
        ((2, 9, 8, 4), 6, (3, 3), (2, 1), ((1, 0), (0, 1)), (1, 1), 1),
        ((2, 2, 2, 3), 4, (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 1),
        ((1, 2, 3, 2), 3, (4, 7), (1, 1), ((3, 2), (3, 3)), (1, 1), 1),
        ((2, 11, 10, 2), 3, (2, 2), (3, 3), ((0, 0), (0, 0)), (1, 1), 1),
        ((2, 12, 12, 2), 3, (3, 2), (4, 5), ((1, 1), (0, 0)), (1, 1), 1),
        ((2, 9, 9, 3), 4, (3, 3), (1, 1), ((3, 3), (3, 3)), (3, 3), 1),
        ((1, 10, 9, 2), 2, (3, 3), (2, 2), ((2, 1), (1, 2)), (3, 2), 1),
        ((1, 13, 13, 2), 2, (3, 3), (3, 3), ((1, 1), (1, 1)), (2, 2), 1),
        ((1, 12, 12, 2), 2, (3, 3), (2, 2), ((2, 2), (2, 2)), (2, 2), 1),
        ((2, 6, 6, 4), 4, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 4),
        ((2, 7, 7, 4), 4, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 4),
        ((2, 6, 6, 3), 6, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
        ((2, 9, 6, 3), 6, (5, 3), (1, 2), ((2, 2), (1, 1)), (1, 1), 3),
        ((2, 6, 5, 4), 6, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2),
        ((2, 6, 5, 8), 4, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 4),
        ((2, 8, 5, 6), 6, (3, 1), (1, 1), ((1, 1), (0, 0)), (2, 1), 2),
        ((1, 1, 9, 2), 3, (1, 3), (1, 1), ((0, 0), (1, 1)), (1, 1), 1),
        ((0, 5, 5, 2), 3, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
        ((5, 8, 8, 17), 19, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ]
    for shape, outputs, kernel, stride, padding, dilation, groups in configurations:
        params = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        draw = Draw(f"conv2d {shape} {outputs} {kernel} {params}")
        inputs = [draw.uniform(*shape), draw.uniform(outputs, *kernel, shape[3] // groups)]
        name = f"{list(shape)} by {list(kernel)}, {params}"
        case("conv2d", "conv2d", conv2d(stride, padding, dilation, groups), inputs, params, name)

    # Inputs [N, H, W, Cin], weights [Cin, Kh, Kw, Cout / groups].
    transposed = [
        ((2, 4, 4, 3), 5, (3, 3), (1, 1), (0, 0), (0, 0), (1, 1), 1),
        ((2, 4, 3, 3), 5, (3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 1),
        ((1, 1, 1, 1), 1, (1, 1), (1, 1), (0, 0), (0, 0), (1, 1), 1),
        ((1, 3, 3, 2), 4, (2, 2), (2, 2), (0, 0), (0, 0), (1, 1), 1),
        ((2, 5, 4, 4), 6, (3, 3), (2, 2), (1, 1), (0, 1), (1, 1), 2),
        ((2, 5, 4, 4), 4, (3, 3), (2, 2), (1, 1), (1, 0), (1, 1), 4),
        ((1, 4, 4, 2), 3, (3, 2), (3, 2), (1, 0), (2, 1), (1, 1), 1),
        ((1, 4, 5, 2), 3, (3, 3), (1, 1), (2, 2), (1, 1), (3, 2), 1),
        ((2, 3, 3, 2), 2, (2, 2), (3, 3), (0, 0), (0, 0), (1, 1), 1),
        ((0, 3, 3, 2), 2, (3, 3), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    ]
    for shape, outputs, kernel, stride, padding, extra, dilation, groups in transposed:
        params = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation, "groups": groups}
        draw = Draw(f"conv_transpose2d {shape} {outputs} {kernel} {params}")

        def function(x, w, stride=stride, padding=padding, extra=extra, dilation=dilation, groups=groups):
            return nhwc(F.conv_transpose2d(nchw(x), nchw(w), None, stride, padding, extra, groups, dilation))

        inputs = [draw.uniform(*shape), draw.uniform(shape[3], *kernel, outputs // groups)]
        case("conv2d", "conv_transpose2d", function, inputs, params, f"{list(shape)} by {list(kernel)}, {params}")

    for shape, outputs, kernel, stride, padding, dilation, groups in [
        ((2, 9, 3), 4, 3, 1, 1, 1, 1),
        ((1, 1, 1), 1, 1, 1, 0, 1, 1),
        ((2, 10, 4), 6, 5, 2, 2, 1, 2),
        ((2, 10, 4), 4, 3, 1, 3, 3, 4),
        ((3, 2, 2), 3, 4, 3, 3, 1, 1),
    ]:
        params = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        draw = Draw(f"conv1d {shape} {outputs} {kernel} {params}")

        def function(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups):
            y = F.conv1d(x.transpose(1, 2), w.transpose(1, 2), None, stride, padding, dilation, groups)
            return y.transpose(1, 2)

        inputs = [draw.uniform(*shape), draw.uniform(outputs, kernel, shape[2] // groups)]
        case("conv2d", "conv1d", function, inputs, params, f"{list(shape)} by {kernel}, {params}")


# Products


def products():
    for a, b in [
        ((3, 4), (4, 5)), ((1, 1), (1, 1)), ((7, 1), (1, 9)), ((1, 33), (33, 1)), ((0, 4), (4, 5)), ((3, 0), (0, 5)),
        ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((5, 65), (65, 17)),
    ]:
        draw = Draw(f"matmul {a} {b}")
        case("matmul", "matmul", torch.matmul, [draw.uniform(*a), draw.uniform(*b)], name=f"{list(a)} by {list(b)}")
    for x, outputs, bias in [((5, 7), 3, True), ((2, 3, 7), 4, True), ((1, 1), 1, True), ((4, 9), 6, False), ((0, 3), 2, True)]:
        draw = Draw(f"linear {x} {outputs}")
        inputs = [draw.uniform(*x), draw.uniform(outputs, x[-1])] + ([draw.uniform(outputs)] if bias else [])
        case("matmul", "linear", F.linear, inputs, name=f"{list(x)} to {outputs}")
    for equation, *shapes in [
        ("ij->ji", (3, 4)), ("ij->", (3, 4)), ("ij->i", (3, 4)), ("ij,jk->ik", (3, 4), (4, 5)), ("i,j->ij", (3,), (4,)),
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)), ("nhwc,oc->nhwo", (2, 3, 2, 4), (5, 4)),
        ("ij,ij->i", (3, 4), (3, 4)), ("ij,kj", (3, 4), (5, 4)), ("i,i->", (6,), (6,)), ("bij,kj->bki", (2, 3, 4), (5, 4)),
    ]:
        draw = Draw(f"einsum {equation}")
        inputs = [draw.uniform(*shape) for shape in shapes]
        case("matmul", "einsum", lambda *x, e=equation: torch.einsum(e, *x), inputs, {"equation": equation})
    for heads, queries, keys, width, causal, mask in [
        (2, 5, 5, 4, False, False), (1, 1, 1, 1, False, False), (3, 4, 7, 8, False, False), (2, 6, 6, 4, True, False),
        (2, 5, 6, 4, False, True),
    ]:
        draw = Draw(f"attention {heads} {queries} {keys} {width} {causal} {mask}")
        q, k, v = (draw.uniform(2, heads, n, width, low=-2, high=2) for n in (queries, keys, keys))
        inputs = [q, k, v] + ([draw.uniform(queries, keys)] if mask else [])

        def function(q, k, v, m=None, causal=causal):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=m, is_causal=causal)

        case("matmul", "scaled_dot_product_attention", function, inputs, {"causal": causal},
             f"{heads} heads, {queries} by {keys}, width {width}, causal {causal}, mask {mask}")


# Images


def images():
    windows = [
        ((2, 6, 6, 3), (2, 2), (2, 2), (0, 0), (1, 1)),
        ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
        ((2, 7, 5, 2), (3, 3), (2, 2), (1, 1), (1, 1)),
        ((1, 9, 8, 2), (3, 2), (1, 3), (1, 0), (2, 3)),
        ((2, 8, 8, 1), (2, 3), (4, 4), (0, 1), (1, 1)),
        ((2, 4, 4, 3), (4, 4), (1, 1), (2, 2), (1, 1)),
        ((0, 4, 4, 3), (2, 2), (2, 2), (0, 0), (1, 1)),
        ((3, 10, 10, 5), (3, 3), (3, 3), (0, 0), (3, 3)),
    ]
    for shape, kernel, stride, padding, dilation in windows:
        params = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        draw = Draw(f"max_pool2d {shape} {params}")

        def largest(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation):
            return nhwc(F.max_pool2d(nchw(x), kernel, stride, padding, dilation))

        case("image", "max_pool2d", largest, [draw.distinct(*shape)], params, f"{list(shape)}, {params}")
        if dilation != (1, 1):
            continue
        for include in (True, False):
            params = {"kernel_size": kernel, "stride": stride, "padding": padding, "include_padding": include}

            def mean(x, kernel=kernel, stride=stride, padding=padding, include=include):
                return nhwc(F.avg_pool2d(nchw(x), kernel, stride, padding, count_include_pad=include))

            case("image", "avg_pool2d", mean, [draw.uniform(*shape)], params, f"{list(shape)}, {params}")
        if padding == (0, 0):
            for p in (1.0, 2.0, 3.5):
                params = {"kernel_size": kernel, "stride": stride, "p": p}

                def power(x, p=p, kernel=kernel, stride=stride):
                    return nhwc(F.lp_pool2d(nchw(x), p, kernel, stride))

                inputs = [draw.uniform(*shape, low=0.1, high=2)]
                case("image", "lp_pool2d", power, inputs, params, f"{list(shape)}, {params}")
    for shape, size in [
        ((2, 5, 7, 3), (7, 5)), ((2, 4, 4, 2), (1, 1)), ((1, 1, 1, 1), (4, 3)), ((2, 6, 4, 2), (3, 2)), ((1, 7, 5, 2), (5, 5)),
        ((2, 3, 3, 1), (8, 10)), ((0, 3, 3, 2), (2, 2)), ((1, 10, 3, 2), (4, 3)),
    ]:
        params, name = {"size": size}, f"{list(shape)} to {list(size)}"
        draw = Draw(f"resample {name}")
        x, spread = [draw.uniform(*shape)], [draw.distinct(*shape)]
        case("image", "adaptive_avg_pool2d", lambda x, s=size: nhwc(F.adaptive_avg_pool2d(nchw(x), s)), x, params, name)
        if size[0] <= shape[1] and size[1] <= shape[2]:
            case("image", "adaptive_max_pool2d", lambda x, s=size: nhwc(F.adaptive_max_pool2d(nchw(x), s)), spread, params, name)
        if shape[0] == 0:
            continue
        case("image", "upsample_nearest2d", lambda x, s=size: nhwc(F.interpolate(nchw(x), s, mode="nearest")), x, params, name)
        for corners in (False, True):
            case("image", "upsample_bilinear2d",
                 lambda x, s=size, c=corners: nhwc(F.interpolate(nchw(x), s, mode="bilinear", align_corners=c)), x,
                 {"size": size, "align_corners": corners}, f"{name}, align_corners {corners}")
    for shape, factor in [((2, 3, 2, 8), 2), ((1, 1, 1, 9), 3), ((2, 2, 3, 4), 1)]:
        draw = Draw(f"pixel_shuffle {shape} {factor}")
        x = [draw.uniform(*shape)]
        case("image", "pixel_shuffle", lambda x, f=factor: nhwc(F.pixel_shuffle(nchw(x), f)), x, {"factor": factor}, f"{list(shape)} by {factor}")
    for shape, factor in [((2, 4, 6, 2), 2), ((1, 3, 3, 1), 3)]:
        draw = Draw(f"pixel_unshuffle {shape} {factor}")
        x = [draw.uniform(*shape)]
        case("image", "pixel_unshuffle", lambda x, f=factor: nhwc(F.pixel_unshuffle(nchw(x), f)), x, {"factor": factor}, f"{list(shape)} by {factor}")
    for mode in ("constant", "reflect", "replicate", "circular"):
        for shape, (top, bottom), (left, right) in [
            ((2, 4, 5, 3), (1, 2), (3, 1)), ((1, 3, 2, 1), (0, 2), (1, 0)), ((1, 5, 5, 2), (4, 0), (0, 4)),
        ]:
            draw = Draw(f"pad {mode} {shape}")

            def function(x, mode=mode, sides=(left, right, top, bottom)):
                return nhwc(F.pad(nchw(x), sides, mode))

            case("image", "pad", function, [draw.uniform(*shape)],
                 {"mode": mode, "padding": [[0, 0], [top, bottom], [left, right], [0, 0]]}, f"{mode}, {list(shape)}")


# Normalisation


def norms():
    for shape, low, high in [
        ((4, 3, 5, 6), -2, 2), ((2, 1, 1, 3), -2, 2), ((8, 6), -2, 2), ((6, 4, 4, 5), 99, 101), ((16, 3), 9999, 10001), ((3, 7, 1), -2, 2),
    ]:
        channels, name = shape[-1], f"{list(shape)} in {low}..{high}"
        draw = Draw(f"norms {name}")
        x, weight, bias = draw.uniform(*shape, low=low, high=high), draw.uniform(channels), draw.uniform(channels)
        mean, variance = draw.uniform(channels, low=low, high=high), draw.uniform(channels, low=0.5, high=2)
        first = lambda x: x.movedim(-1, 1)
        last = lambda y: y.movedim(1, -1)
        case("norm", "batch_norm", lambda x, w, b: last(F.batch_norm(first(x), None, None, w, b, True, 0.1, 1e-5)),
             [x, weight, bias], {"epsilon": 1e-5}, name)
        case("norm", "batch_norm_inference",
             lambda x, w, b, m, v: last(F.batch_norm(first(x), m.detach(), v.detach(), w, b, False, 0.1, 1e-5)),
             [x, weight, bias, mean, variance], {"epsilon": 1e-5}, name)
        case("norm", "layer_norm", lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b, 1e-5), [x, weight, bias],
             {"epsilon": 1e-5, "axes": 1}, name)
        case("norm", "rms_norm", lambda x, w: F.rms_norm(x, (x.shape[-1],), w, 1e-5), [x, weight], {"epsilon": 1e-5, "axes": 1}, name)
        if len(shape) > 2:
            wide = [draw.uniform(*shape[1:]), draw.uniform(*shape[1:])]
            case("norm", "layer_norm", lambda x, w, b: F.layer_norm(x, x.shape[1:], w, b, 1e-5), [x, *wide],
                 {"epsilon": 1e-5, "axes": len(shape) - 1}, f"{name}, all but the batch")
        if math.prod(shape[1:-1]) > 1:
            case("norm", "instance_norm", lambda x, w, b: last(F.instance_norm(first(x), None, None, w, b, True, 0.1, 1e-5)),
                 [x, weight, bias], {"epsilon": 1e-5}, name)
    for shape, groups in [((2, 3, 4, 6), 2), ((1, 2, 2, 4), 4), ((3, 5, 8), 1), ((4, 9), 3), ((2, 3, 3, 6), 6)]:
        for low, high in ((-2, 2), (99, 101)):
            draw = Draw(f"group_norm {shape} {groups} {low}")
            inputs = [draw.uniform(*shape, low=low, high=high), draw.uniform(shape[-1]), draw.uniform(shape[-1])]
            case("norm", "group_norm", lambda x, w, b, g=groups: F.group_norm(x.movedim(-1, 1), g, w, b, 1e-5).movedim(1, -1),
                 inputs, {"groups": groups, "epsilon": 1e-5}, f"{list(shape)} in {groups} groups, {low}..{high}")


# Elementwise functions: the name is that of the operation; `low`, `high` bound the drawn points; the special ones follow.


def elementwise():
    inf, nan = math.inf, math.nan
    every = [-inf, -100.0, -3.0, -1.0, -0.5, -0.0, 0.0, 1e-20, 0.5, 1.0, 3.0, 6.0, 20.0, 100.0, inf, nan]
    unary = {
        "abs": torch.abs, "neg": torch.neg, "exp": torch.exp, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "erf": torch.erf,
        "relu": F.relu, "relu6": F.relu6, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu,
        "softplus": F.softplus, "hard_swish": F.hardswish, "selu": F.selu, "mish": F.mish, "hard_sigmoid": F.hardsigmoid,
        "softsign": F.softsign, "log_sigmoid": F.logsigmoid, "square": torch.square, "sign": torch.sign,
    }
    for name, function in unary.items():
        draw = Draw(f"elementwise {name}")
        case("elementwise", name, function, [draw.uniform(3, 17, low=-5, high=5)], name="drawn")
        # PyTorch gives NaN, from infinity times 0, where the limit is 0; and 0 as the sign of NaN, which NumPy does not.
        left_out = {"hard_swish": -inf, "sign": nan}.get(name)
        points = [x for x in every if str(x) != str(left_out)]
        special = torch.tensor(points, dtype=torch.float64).to(torch.float32).to(torch.float64)
        case("elementwise", name, function, [special], name="special", gradient=False)
    positive = {"log": torch.log, "sqrt": torch.sqrt}
    for name, function in positive.items():
        draw = Draw(f"elementwise {name}")
        case("elementwise", name, function, [draw.uniform(3, 17, low=0.1, high=5)], name="drawn")
        case("elementwise", name, function, [torch.tensor([0.0, 1.0, -1.0, inf, nan], dtype=torch.float64)], name="special", gradient=False)
    parametric = [
        ("leaky_relu", F.leaky_relu, [[0.01], [0.2]]), ("elu", F.elu, [[1.0], [0.5]]), ("celu", F.celu, [[1.0], [0.5]]),
        ("hard_tanh", F.hardtanh, [[-1.0, 1.0], [-2.0, 0.5]]), ("clamp", torch.clamp, [[-1.0, 1.0], [0.0, 6.0]]),
        ("hard_shrink", F.hardshrink, [[0.5], [1.0]]),
    ]
    for name, function, sets in parametric:
        for values in sets:
            draw = Draw(f"elementwise {name} {values}")
            x = draw.uniform(3, 17, low=-5, high=5)
            case("elementwise", name, lambda x, v=values: function(x, *v), [x], {"values": values})
            special = torch.tensor(every, dtype=torch.float64).to(torch.float32).to(torch.float64)
            case("elementwise", name, lambda x, v=values: function(x, *v), [special], {"values": values}, f"special, {values}", gradient=False)
    for exponent in (-1.0, 0.5, 1.5, 3.0):
        draw = Draw(f"pow {exponent}")
        case("elementwise", "pow", lambda x, e=exponent: x**e, [draw.uniform(3, 17, low=0.2, high=3)], {"values": [exponent]})
    binary = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "minimum": torch.minimum, "maximum": torch.maximum}
    for name, function in binary.items():
        for a, b in [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((2, 3, 4), (3, 1)), ((), (5,)), ((0, 4), (4,)), ((1,), (1,))]:
            draw = Draw(f"elementwise {name} {a} {b}")
            other = draw.uniform(*b, low=0.5, high=2)
            case("elementwise", name, function, [draw.uniform(*a, low=-2, high=2), other], name=f"{list(a)} and {list(b)}")
        values = [0.0, 1.0, -1.0, inf, -inf, nan]
        grid = torch.tensor(list(itertools.product(values, values)), dtype=torch.float64)
        case("elementwise", name, function, [grid[:, 0], grid[:, 1]], name="special", gradient=False)
    for shape in [(3, 5), (2, 3, 3, 4), (1, 1)]:
        draw = Draw(f"prelu {shape}")
        inputs = [draw.uniform(*shape), draw.uniform(shape[-1])]
        case("elementwise", "prelu", lambda x, w: torch.where(x > 0, x, x * w), inputs, name=str(list(shape)))
    for shape, axis in [((3, 6), 1), ((4, 3), 0), ((2, 3, 3, 8), 3)]:
        draw = Draw(f"glu {shape}")
        case("elementwise", "glu", lambda x, a=axis: F.glu(x, a), [draw.uniform(*shape, low=-3, high=3)], {"axis": axis}, f"{list(shape)}, axis {axis}")


# Reductions and softmax


def reductions():
    shapes = [((3, 4), [1]), ((3, 4), [0]), ((2, 3, 4), [0, 2]), ((2, 3, 4), [0, 1, 2]), ((1,), [0]), ((2, 70), [1]), ((0, 4), [1])]
    for shape, axes in shapes:
        params, name = {"axes": axes}, f"{list(shape)} over {axes}"
        draw = Draw(f"reduce {name}")
        x, spread = [draw.uniform(*shape, low=-2, high=2)], [draw.distinct(*shape)]
        case("reduce", "sum", lambda x, a=axes: x.sum(a), x, params, name)
        case("reduce", "mean", lambda x, a=axes: x.mean(a), x, params, name)
        case("reduce", "max", lambda x, a=axes: x.amax(a), spread, params, name)
        case("reduce", "min", lambda x, a=axes: x.amin(a), spread, params, name)
        case("reduce", "logsumexp", lambda x, a=axes: x.logsumexp(a), x, params, name)
        count = math.prod(shape[a] for a in axes)
        if count > 1 and math.prod(shape) > 0:
            for correction in (0, 1):
                extra = {"axes": axes, "correction": correction}
                case("reduce", "var", lambda x, a=axes, c=correction: x.var(a, correction=c), x, extra, f"{name}, correction {correction}")
                case("reduce", "std", lambda x, a=axes, c=correction: x.std(a, correction=c), x, extra, f"{name}, correction {correction}")
        for p in (1.0, 2.0, 3.0, math.inf):
            if math.prod(shape) > 0:
                case("reduce", "norm", lambda x, a=axes, p=p: torch.linalg.vector_norm(x, p, a), spread if p == math.inf else x,
                     {"axes": axes, "p": str(p)}, f"{name}, p {p}")
        if len(axes) == 1:
            case("reduce", "prod", lambda x, a=axes: x.prod(a[0]), x, params, name)
            case("reduce", "argmax", lambda x, a=axes: x.argmax(a[0]), spread, params, name, gradient=False)
            case("reduce", "softmax", lambda x, a=axes: x.softmax(a[0]), x, {"axis": axes[0]}, name)
            case("reduce", "log_softmax", lambda x, a=axes: x.log_softmax(a[0]), x, {"axis": axes[0]}, name)
            case("reduce", "cumsum", lambda x, a=axes: x.cumsum(a[0]), x, {"axis": axes[0]}, name)
    for zeros in (0, 1, 2):
        draw = Draw(f"prod {zeros}")
        x = draw.uniform(3, 5, low=0.5, high=2)
        x[0, :zeros] = 0.0
        case("reduce", "prod", lambda x: x.prod(1), [x], {"axes": [1]}, f"{zeros} zeros in a row")
    for scale in (80.0, 1e4):
        draw = Draw(f"softmax {scale}")
        x = draw.uniform(4, 6, low=-scale, high=scale)
        for name, function in [("softmax", torch.softmax), ("log_softmax", torch.log_softmax)]:
            case("reduce", name, lambda x, f=function: f(x, 1), [x], {"axis": 1}, f"logits up to {scale}")
        case("reduce", "logsumexp", lambda x: x.logsumexp([1]), [x], {"axes": [1]}, f"logits up to {scale}")
    ruled_out = torch.tensor([[0.5, -math.inf, 1.0], [-math.inf, 2.0, -math.inf]], dtype=torch.float64)
    for name, function in [("softmax", torch.softmax), ("log_softmax", torch.log_softmax)]:
        case("reduce", name, lambda x, f=function: f(x, 1), [ruled_out], {"axis": 1}, "classes ruled out", gradient=False)
    case("reduce", "logsumexp", lambda x: x.logsumexp([1]), [torch.full((2, 3), -math.inf, dtype=torch.float64)], {"axes": [1]},
         "nothing but minus infinity", gradient=False)


# Indexing


def indexing():
    for shape, axis, count in [((4, 3), 0, 6), ((4, 3), 1, 2), ((2, 5, 3), 1, 7), ((1,), 0, 3), ((3, 1), 1, 1), ((6, 2), 0, 0)]:
        draw = Draw(f"gather {shape} {axis} {count}")
        x = draw.uniform(*shape)
        wide = list(shape)
        wide[axis] = count
        index, rows = draw.below(shape[axis], *wide), draw.below(shape[axis], count)
        name = f"{list(shape)}, axis {axis}, {count}"
        case("indexing", "gather", lambda x, i, a=axis: x.gather(a, i), [x, index], {"axis": axis}, name)
        case("indexing", "scatter_add", lambda x, i, s, a=axis: x.scatter_add(a, i, s), [x, index, draw.uniform(*wide)], {"axis": axis}, name)
        case("indexing", "index_select", lambda x, i, a=axis: x.index_select(a, i), [x, rows], {"axis": axis}, name)
    for rows, width, shape in [(5, 3, (4,)), (7, 1, (2, 3)), (1, 4, (3, 2)), (4, 2, (0,))]:
        draw = Draw(f"embedding {rows} {width} {shape}")
        inputs = [draw.uniform(rows, width), draw.below(rows, *shape)]
        case("indexing", "embedding", lambda w, i: F.embedding(i, w), inputs, name=f"[{rows}, {width}], {list(shape)}")
    draw = Draw("one_hot")
    case("indexing", "one_hot", lambda i: F.one_hot(i, 5).to(torch.float64), [draw.below(5, 2, 3)], {"classes": 5}, gradient=False)
    for shape, axis, k in [((3, 7), 1, 3), ((7, 3), 0, 2), ((1,), 0, 1), ((2, 4, 65), 2, 5), ((5, 2), 0, 5)]:
        draw = Draw(f"sort {shape} {axis}")
        x = [draw.distinct(*shape)]
        for descending in (False, True):
            case("indexing", "sort", lambda x, a=axis, d=descending: torch.sort(x, dim=a, descending=d, stable=True), x,
                 {"axis": axis, "descending": descending}, f"{list(shape)}, axis {axis}, descending {descending}")
            case("indexing", "top_k", lambda x, a=axis, k=k, d=descending: torch.topk(x, k, a, d), x,
                 {"axis": axis, "k": k, "largest": descending}, f"{list(shape)}, axis {axis}, k {k}, largest {descending}")


# Losses


def losses():
    for reduction in ("none", "mean", "sum"):
        elementwise_losses(reduction)
        class_losses(reduction)


def elementwise_losses(reduction):
    for shape in [(4, 3), (1,), (2, 3, 4)]:
        draw = Draw(f"losses {shape}")
        x, t = draw.uniform(*shape, low=-3, high=3), draw.uniform(*shape, low=-3, high=3)
        p, probability = draw.uniform(*shape, low=0.05, high=0.95), draw.uniform(*shape, low=0.05, high=0.95)
        binary = draw.below(2, *shape).to(torch.float64)
        sign = binary * 2 - 1
        fixed = lambda f, target: lambda x: f(x, target)
        simple = [
            ("l1", F.l1_loss, x, t, {}), ("mse", F.mse_loss, x, t, {}),
            ("smooth_l1", lambda a, b, reduction: F.smooth_l1_loss(a, b, beta=0.5, reduction=reduction), x, t, {"beta": 0.5}),
            ("huber", lambda a, b, reduction: F.huber_loss(a, b, delta=1.5, reduction=reduction), x, t, {"delta": 1.5}),
            ("bce", F.binary_cross_entropy, p, probability, {}), ("bce", F.binary_cross_entropy, p, binary, {}),
            ("bce_with_logits", F.binary_cross_entropy_with_logits, x, binary, {}),
            ("kl_div", F.kl_div, p.log(), probability, {"log_target": False}),
            ("kl_div", lambda a, b, reduction: F.kl_div(a, b, log_target=True, reduction=reduction), p.log(), probability.log(), {"log_target": True}),
            ("hinge_embedding", lambda a, b, reduction: F.hinge_embedding_loss(a, b, margin=1.0, reduction=reduction), x, sign, {"margin": 1.0}),
            ("sigmoid_focal", sigmoid_focal, x, binary, {"alpha": 0.25, "gamma": 2.0}),
        ]
        for name, function, a, b, params in simple:
            a, b = (v.to(torch.float32).to(torch.float64) for v in (a, b))
            # Only the prediction gets a gradient: PyTorch refuses one for some targets.
            entry = lambda a, b, f=function: f(a, b.detach(), reduction=reduction)
            case("loss", name, entry, [a, b], {**params, "reduction": reduction}, f"{list(shape)}, {params}, {reduction}")
    special = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.5], dtype=torch.float64), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    case("loss", "bce", lambda a, b: F.binary_cross_entropy(a, b.detach(), reduction=reduction), list(special), {"reduction": reduction},
         f"certain, {reduction}", gradient=False)
    logits = torch.tensor([1e4, -1e4, 1e4, -1e4, 0.0], dtype=torch.float64)
    case("loss", "bce_with_logits", lambda a, b: F.binary_cross_entropy_with_logits(a, b.detach(), reduction=reduction),
         [logits, special[1]], {"reduction": reduction}, f"logits of ±1e4, {reduction}")
    draw = Draw("bce weights")
    x, t, positive = draw.uniform(4, 3, low=-3, high=3), draw.below(2, 4, 3).to(torch.float64), draw.uniform(3, low=0.5, high=2)
    case("loss", "bce_with_logits",
         lambda x, t, w: F.binary_cross_entropy_with_logits(x, t.detach(), pos_weight=w.detach(), reduction=reduction),
         [x, t, positive], {"reduction": reduction, "pos_weight": True}, f"pos_weight, {reduction}")
    for shape in [(4, 5), (1, 1), (3, 17)]:
        draw = Draw(f"cosine {shape}")
        a, b, sign = draw.uniform(*shape), draw.uniform(*shape), draw.below(2, shape[0]).to(torch.float64) * 2 - 1
        case("loss", "cosine_embedding", lambda a, b, s: F.cosine_embedding_loss(a, b, s.detach(), margin=0.25, reduction=reduction),
             [a, b, sign], {"margin": 0.25, "reduction": reduction}, f"{list(shape)}, {reduction}")


def sigmoid_focal(x, t, reduction, alpha=0.25, gamma=2.0):
    """Lin et al. 2017, as torchvision.ops.sigmoid_focal_loss."""
    p = torch.sigmoid(x)
    cross_entropy = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    hit = p * t + (1 - p) * (1 - t)
    loss = (alpha * t + (1 - alpha) * (1 - t)) * cross_entropy * (1 - hit) ** gamma
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss


def class_losses(reduction):
    for rows, classes, size in [(5, 4, 3.0), (1, 1, 1.0), (6, 10, 80.0), (3, 70, 2.0), (2, 3, 1e4)]:
        draw = Draw(f"cross_entropy {rows} {classes}")
        logits, labels = draw.uniform(rows, classes, low=-size, high=size), draw.below(classes, rows)
        weight, soft = draw.uniform(classes, low=0.5, high=2), draw.uniform(rows, classes, low=0.1, high=1)
        soft = (soft / soft.sum(1, keepdim=True)).to(torch.float32).to(torch.float64)
        name = f"[{rows}, {classes}] up to {size}, {reduction}"
        for smoothing in (0.0, 0.1):
            params = {"label_smoothing": smoothing, "reduction": reduction}
            case("loss", "cross_entropy", lambda x, t, s=smoothing: F.cross_entropy(x, t, label_smoothing=s, reduction=reduction),
                 [logits, labels], params, f"{name}, smoothing {smoothing}")
            case("loss", "cross_entropy",
                 lambda x, t, w, s=smoothing: F.cross_entropy(x, t, w.detach(), label_smoothing=s, reduction=reduction),
                 [logits, labels, weight], {**params, "weight": True}, f"{name}, smoothing {smoothing}, weights")
            case("loss", "cross_entropy_soft", lambda x, t, s=smoothing: F.cross_entropy(x, t.detach(), label_smoothing=s, reduction=reduction),
                 [logits, soft], params, f"{name}, smoothing {smoothing}, soft targets")
            if rows > 1:
                case("loss", "cross_entropy",
                     lambda x, t, w, s=smoothing, i=int(labels[0]): F.cross_entropy(x, t, w.detach(), ignore_index=i, label_smoothing=s, reduction=reduction),
                     [logits, labels, weight], {**params, "weight": True, "ignore_index": int(labels[0])},
                     f"{name}, smoothing {smoothing}, weights, an ignored class")
        log_probabilities = logits.log_softmax(1).to(torch.float32).to(torch.float64)
        case("loss", "nll", lambda x, t: F.nll_loss(x, t, reduction=reduction), [log_probabilities, labels], {"reduction": reduction}, name)


# Optimizers: the parameter after each of 20 steps on given gradients; learning-rate schedules: the rate at each of 40 steps.


def optimizers():
    constructors = {
        "sgd": (torch.optim.SGD, [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}]),
        "adam": (torch.optim.Adam, [{}, {"weight_decay": 0.01, "betas": (0.8, 0.99)}]),
        "adamw": (torch.optim.AdamW, [{}, {"weight_decay": 0.1}]),
        "nadam": (torch.optim.NAdam, [{}, {"weight_decay": 0.01}]),
        "rmsprop": (torch.optim.RMSprop, [{}, {"centered": True, "momentum": 0.9}, {"weight_decay": 0.01, "alpha": 0.9}]),
        "adagrad": (torch.optim.Adagrad, [{}, {"lr_decay": 0.1, "weight_decay": 0.01}, {"initial_accumulator_value": 0.5}]),
    }
    for name, (constructor, sets) in constructors.items():
        for options in sets:
            draw = Draw(f"optimizer {name} {options}")
            start, gradients = draw.uniform(3, 4), draw.uniform(20, 3, 4)
            parameter = torch.nn.Parameter(start.clone())
            optimizer = constructor([parameter], lr=0.05, **options)
            trajectory = []
            for gradient in gradients:
                parameter.grad = gradient.clone()
                optimizer.step()
                trajectory.append(parameter.detach().clone())
            steps = torch.stack(trajectory)
            case("optim", name, lambda start, gradients, steps=steps: steps, [start, gradients], {"lr": 0.05, **options}, gradient=False)


def schedules():
    S = torch.optim.lr_scheduler
    constructors = {
        "step": (lambda o: S.StepLR(o, 7, 0.5), {"every": 7, "gamma": 0.5}),
        "multi_step": (lambda o: S.MultiStepLR(o, [5, 9, 30], 0.1), {"milestones": [5, 9, 30], "gamma": 0.1}),
        "exponential": (lambda o: S.ExponentialLR(o, 0.9), {"gamma": 0.9}),
        "cosine": (lambda o: S.CosineAnnealingLR(o, 40, 0.01), {"steps": 40, "floor": 0.01}),
        "cosine_restarts": (lambda o: S.CosineAnnealingWarmRestarts(o, 6, 2), {"first": 6, "growth": 2}),
        "linear": (lambda o: S.LinearLR(o, 0.25, 1.0, 8), {"from": 0.25, "to": 1.0, "steps": 8}),
        "polynomial": (lambda o: S.PolynomialLR(o, 30, 2.0), {"steps": 30, "power": 2.0}),
        "one_cycle": (lambda o: S.OneCycleLR(o, 1.0, 41), {"steps": 41}),
    }
    for name, (constructor, params) in constructors.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = constructor(optimizer)
        rates = []
        for _ in range(40):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        case("schedule", name, lambda rates=rates: torch.tensor(rates, dtype=torch.float64), [], params, gradient=False)


def main():
    torch.set_num_threads(1)
    for write in (convolutions, products, images, norms, elementwise, reductions, indexing, losses, optimizers, schedules):
        write()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, family in FAMILIES.items():
        # One entry: the library writes several in any order.
        metadata = {"golden": json.dumps({"pytorch": VERSION, "cases": family["cases"]}, separators=(",", ":"))}
        path = FOLDER / f"{name}.safetensors"
        safetensors.numpy.save_file(dict(sorted(family["arrays"].items())), path, metadata)
        print(f"{path.name}: {len(family['cases'])} cases, {path.stat().st_size / 1e3:.0f} kB")
    print(f"{sum(len(f['cases']) for f in FAMILIES.values())} cases of PyTorch {VERSION}")


if __name__ == "__main__":
    main()
