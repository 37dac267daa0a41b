//! Operations of other files on tensors of `f16`: one of each kind of work, in forward and gradient, at awkward sizes.
//!
//! A load of `f16` widens, arithmetic and sums are those of `f32`, a store rounds to nearest: so the references are those of
//! `f32`, on rounded inputs, and all that is added to the tolerance is one rounding. What computes in `f32` alone (sums,
//! softmax, norms, losses, shaders of their own) is widened by [`mod@crate::simplify`].

use crate::array::Array;
use crate::dtype::DType;
use crate::graph::{Accumulator, Op, Sample, Tolerance};
use crate::ops::attention::{Attention, AttentionWeights};
use crate::ops::batch_norm::BatchNorm;
use crate::ops::border::{Border, PadBorder};
use crate::ops::conv_transpose2d::ConvTranspose2d;
use crate::ops::conv1d::Conv1d;
use crate::ops::conv2d::{Conv2d, Conv2dGradInput, Conv2dGradWeight};
use crate::ops::cross_entropy::SoftmaxCrossEntropy;
use crate::ops::dropout::Dropout;
use crate::ops::einsum::Einsum;
use crate::ops::elementwise::{Elementwise, row_named};
use crate::ops::glu::Glu;
use crate::ops::matmul::MatMul;
use crate::ops::movement::{Concat, Pad, Permute, Reshape, Slice};
use crate::ops::norm::{Kind, Norm};
use crate::ops::pixel_shuffle::PixelShuffle;
use crate::ops::pool::{AvgPool2d, AvgPool2dGrad, MaxPool2d, MaxPool2dGrad};
use crate::ops::recompute::Recompute;
use crate::ops::reduce::Reduction;
use crate::ops::resample::{Interpolation, Resample};
use crate::ops::softmax::Softmax;
use crate::shape::{Window, Window1d};

/// The samples of all families.
pub fn samples() -> Vec<Sample> {
    [
        elementwise(),
        reductions(),
        products(),
        convolutions(),
        pooling(),
        movement(),
        compositions(),
        products_of_parts(),
        movement_of_parts(),
    ]
    .concat()
}

fn data(shape: &[usize], seed: u64) -> Array {
    Sample::uniform(shape, -1.0, 1.0, seed)
}

fn sample(name: &str, op: impl Op, inputs: Vec<Array>, tolerance: Tolerance) -> Sample {
    Sample::new(name, op, inputs, tolerance).in_half()
}

fn elementwise() -> Vec<Sample> {
    let row = |name| Elementwise { row: row_named(name).expect("a row of the table"), parameters: Vec::new() };
    let numbers = |numbers: &[f32]| Array::new(&[numbers.len()], numbers.to_vec()).expect("one axis");
    let special = numbers(&[f32::NAN, f32::INFINITY, -65504.0, -0.0, 3e-6, -7e-8, 1.0]);
    let (rounded, exact) = (Tolerance::ROUNDED, Tolerance::EXACT);
    let condition = Array::from_fn(&[3, 3], |i| (i[0] % 2) as u32);
    vec![
        sample("odd size", row("add"), vec![data(&[3, 5, 7], 1), data(&[7], 2)], rounded),
        sample("one element", row("mul"), vec![data(&[1], 1), data(&[], 2)], rounded),
        sample("zero size", row("mul"), vec![data(&[0, 3], 1), data(&[3], 2)], rounded),
        // 90,000 is too much; 1e-7 is between the smallest numbers.
        sample(
            "ends of the range",
            row("mul"),
            vec![numbers(&[300.0, -300.0, 1e-4]), numbers(&[300.0, 300.0, 1e-3])],
            rounded,
        )
        .not_smooth(),
        sample("odd size", row("relu"), vec![data(&[3, 7], 1)], exact),
        sample("special values", row("relu"), vec![special.clone()], exact).not_smooth(),
        sample("widened", row("cast_f32"), vec![data(&[3], 1)], exact),
        sample("special values", row("cast_f32"), vec![special], exact).not_smooth(),
        sample("narrowed twice", row("cast_f16"), vec![data(&[5], 1)], exact),
        sample("to integers", row("cast_u32"), vec![numbers(&[0.0, 1.5, 2048.0])], exact),
        sample("in f32 alone", row("exp"), vec![data(&[7], 1)], Tolerance { relative: 6e-6, ..rounded }),
        sample("ordered", row("gt"), vec![data(&[9], 1), data(&[9], 2)], exact),
        sample("chosen", row("select"), vec![condition, data(&[3, 3], 1), data(&[3, 1], 2)], exact),
        Sample::error(
            "mixed types",
            row("add"),
            vec![data(&[2], 1), data(&[2], 2).cast(DType::F16)],
            crate::ErrorKind::DType,
            "operands are f32 and f16; cast one of them",
        ),
    ]
}

fn reductions() -> Vec<Sample> {
    let reduction = |accumulator, axes: &[usize]| Reduction { accumulator, axes: axes.to_vec() };
    let special = Array::new(&[2, 3], vec![1.0, f32::NAN, 3.0, 2.0, -2.0, 2.0]).expect("six elements");
    let moments = Tolerance { absolute: 5e-7, relative: 1e-6, reason: "as in f32" };
    vec![
        sample("rows", reduction(Accumulator::Sum, &[1]), vec![data(&[5, 33], 3)], Tolerance::sum(33)),
        sample("long columns", reduction(Accumulator::Sum, &[0]), vec![data(&[5000, 3], 3)], Tolerance::sum(5000)),
        sample(
            "above the range",
            reduction(Accumulator::Sum, &[0]),
            vec![Array::full(&[600], 200f32)],
            Tolerance::sum(600),
        )
        .not_smooth(),
        sample("rows", reduction(Accumulator::Max, &[1]), vec![data(&[3, 5], 3)], Tolerance::EXACT),
        sample("NaN and ties", reduction(Accumulator::Max, &[1]), vec![special], Tolerance::EXACT).not_smooth(),
        sample("position", reduction(Accumulator::ArgMax, &[1]), vec![data(&[3, 21], 3)], Tolerance::EXACT),
        sample("moments", reduction(Accumulator::Moments, &[0, 1]), vec![data(&[3, 7, 5], 3)], moments),
    ]
}

fn products() -> Vec<Sample> {
    let matmul = |transpose_a, transpose_b| MatMul { transpose_a, transpose_b };
    let inputs = |a: &[usize], b: &[usize]| vec![data(a, 21), data(b, 22)];
    let (plain, across) = (matmul(false, false), matmul(true, true));
    vec![
        sample("odd sizes", plain.clone(), inputs(&[17, 5], &[5, 33]), Tolerance::sum(5)),
        sample("multiples of four", plain.clone(), inputs(&[12, 8], &[8, 20]), Tolerance::sum(8)),
        sample("multiples of four, AᵀBᵀ", across, inputs(&[8, 12], &[20, 8]), Tolerance::sum(8)),
        sample("batch, one B", plain.clone(), inputs(&[3, 5, 7], &[7, 3]), Tolerance::sum(7)),
        sample("long sum", plain, inputs(&[5, 3000], &[3000, 7]), Tolerance { absolute: 2e-4, ..Tolerance::sum(3000) }),
    ]
}

fn convolutions() -> Vec<Sample> {
    let mut samples = Vec::new();
    let cases = [
        ("odd channels", [2, 7, 6, 3], 5, Window::new([3, 3]).padding(1), 1),
        ("four channels", [2, 6, 5, 4], 8, Window::new([3, 3]).stride(2), 1),
        ("depthwise", [1, 6, 5, 3], 3, Window::new([3, 3]).padding(1), 3),
        ("two channels a group", [1, 7, 6, 4], 4, Window::new([3, 3]).stride(2).padding(1), 2),
    ];
    for (name, image, outputs, window, groups) in cases {
        let [batch, height, width, channels] = image;
        let [rows, columns] = window.output_size("sample", [height, width]).expect("the cases fit");
        let (x, g) = (data(&image, 31), data(&[batch, rows, columns, outputs], 33));
        let weight = data(&[outputs, 3, 3, channels / groups], 32);
        let grad_input = Conv2dGradInput { window, groups, image: [height, width] };
        let sum = Tolerance::sum(9 * channels.max(outputs));
        samples.extend([
            sample(name, Conv2d { window, groups }, vec![x.clone(), weight.clone()], sum),
            sample(name, grad_input, vec![g.clone(), weight], sum),
            sample(name, Conv2dGradWeight { window, groups }, vec![g, x], Tolerance::sum(batch * rows * columns)),
        ]);
    }
    samples
}

fn pooling() -> Vec<Sample> {
    let window = Window::new([3, 2]).stride(2).padding(1);
    let image = [7, 5];
    // 105 different numbers that f16 tells apart.
    let x = Array::from_fn(&[1, 7, 5, 3], |i| ((i[1] * 15 + i[2] * 3 + i[3]) * 67 % 105) as f32 / 64.0);
    let taps = MaxPool2d { window }.reference(std::slice::from_ref(&x)).expect("the window fits").swap_remove(1);
    let g = data(taps.shape(), 42);
    let sum = Tolerance::sum(6);
    let mean = AvgPool2d { window, include_padding: false };
    vec![
        sample("overlapping", MaxPool2d { window }, vec![x.clone()], Tolerance::EXACT),
        sample("overlapping", MaxPool2dGrad { window, image }, vec![g.clone(), taps], sum),
        sample("overlapping", mean, vec![x], sum),
        sample("overlapping", AvgPool2dGrad { window, include_padding: false, image }, vec![g], sum),
    ]
}

fn movement() -> Vec<Sample> {
    let x = |shape: &[usize]| vec![data(shape, 51)];
    let exact = Tolerance::EXACT;
    let pad = Pad { before: vec![1, 0], after: vec![0, 2], interior: vec![0, 0], value: -0.5 };
    vec![
        sample("odd size", Reshape { shape: vec![15] }, x(&[3, 5]), exact),
        sample("transpose", Permute { axes: vec![1, 0] }, x(&[3, 5]), exact),
        sample("steps", Slice { begin: vec![0, 1], end: vec![3, 7], step: vec![2, 3] }, x(&[3, 7]), exact),
        sample("border", pad, x(&[2, 3]), exact),
        sample("odd pieces", Concat { axis: 1 }, vec![data(&[3, 1], 51), data(&[3, 2], 52), data(&[3, 4], 53)], exact),
    ]
}

fn compositions() -> Vec<Sample> {
    let softmax = Tolerance { absolute: 1e-9, relative: 1e-5, reason: "as in f32" };
    let norm = Tolerance { absolute: 2e-6, relative: 1e-6, reason: "as in f32" };
    let key = Array::new(&[2], vec![0xa409_3822u32, 0x299f_31d0]).expect("two words");
    let labels = Array::from_fn(&[5], |i| (i[0] * 3 % 7) as u32);
    vec![
        sample("odd classes", Softmax { axis: 1 }, vec![data(&[3, 7], 61)], softmax),
        sample(
            "image",
            BatchNorm { epsilon: 1e-5 },
            vec![data(&[3, 3, 5, 3], 62), data(&[3], 63), data(&[3], 64)],
            norm,
        ),
        sample(
            "image",
            Norm { kind: Kind::Group { groups: 2 }, epsilon: 1e-5 },
            vec![data(&[3, 3, 5, 4], 62), data(&[4], 63), data(&[4], 64)],
            norm,
        ),
        sample("odd classes", SoftmaxCrossEntropy { label_smoothing: 0.1 }, vec![data(&[5, 7], 65), labels], norm),
        sample(
            "half",
            Dropout { rate: 0.5, stream: 7 },
            vec![data(&[3, 5], 66), key, Array::scalar(3u32)],
            Tolerance::ROUNDED,
        ),
    ]
}

fn products_of_parts() -> Vec<Sample> {
    let inputs = |x: &[usize], weight: &[usize]| vec![data(x, 71), data(weight, 72)];
    let conv = Conv1d { window: Window1d::new(3).padding(1), groups: 1 };
    let window = Window::new([3, 3]).stride(2).padding(1);
    let transposed = ConvTranspose2d { window, output_padding: [1, 1], groups: 1 };
    let attention = Attention { weights: AttentionWeights { scale: 0.5, causal: true } };
    let qkv = vec![data(&[2, 5, 4], 73), data(&[2, 5, 4], 74), data(&[2, 5, 3], 75)];
    let rounded_often =
        Tolerance { absolute: 1e-3, relative: 4e-3, reason: "scores and weights are rounded to f16 on the way" };
    vec![
        sample("odd sizes", conv, inputs(&[2, 7, 3], &[5, 3, 3]), Tolerance::sum(9)),
        sample("twice the size", transposed, inputs(&[1, 3, 4, 3], &[3, 3, 3, 5]), Tolerance::sum(27)),
        sample(
            "bij,bkj->bki",
            Einsum::new("bij,bkj->bki").expect("a good equation"),
            inputs(&[2, 3, 5], &[2, 7, 5]),
            Tolerance::sum(5),
        ),
        sample("causal", attention, qkv, rounded_often),
    ]
}

fn movement_of_parts() -> Vec<Sample> {
    let x = |shape: &[usize]| vec![data(shape, 81)];
    let exact = Tolerance::EXACT;
    let reflected = PadBorder { border: Border::Reflect, before: vec![0, 1, 2, 0], after: vec![0, 2, 1, 0] };
    let resample = |mode, size| Resample { mode, size, transposed: false };
    let bilinear = Interpolation::Bilinear { align_corners: false };
    let gate = Tolerance { absolute: 1e-9, relative: 6e-6, reason: "as in f32" };
    vec![
        sample("one block", Recompute { block: "block".into() }, x(&[3, 5]), exact),
        sample("image", reflected, x(&[1, 3, 4, 3]), exact),
        sample("odd size", PixelShuffle { upscale_factor: 2 }, x(&[1, 3, 2, 12]), exact),
        sample("last axis", Glu { axis: 1 }, x(&[5, 6]), gate),
        sample("twice the size", resample(Interpolation::Nearest, [6, 4]), x(&[1, 3, 2, 3]), exact),
        // A shader of its own.
        sample("odd size", resample(bilinear, [5, 7]), x(&[1, 3, 4, 3]), Tolerance::sum(4)),
    ]
}
