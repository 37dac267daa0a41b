//! The functions of `loss` against PyTorch: every function, with its reductions and its gradient.
//!
//! The expected numbers, in `golden/pytorch_losses.txt`, are those of PyTorch 2.15 in `f64` for the same inputs: the losses,
//! and the gradient of `Σ i·lossᵢ` (i from 1) with respect to the prediction.

use neuropil::loss::{
    CrossEntropy, Reduction, binary_cross_entropy, binary_cross_entropy_with_logits, cosine_embedding_loss,
    cross_entropy, hinge_embedding_loss, huber_loss, kl_div, l1_loss, mse, mse_loss, multi_margin_loss, nll_loss,
    sigmoid_focal_loss, smooth_l1_loss, triplet_margin_loss,
};
use neuropil::{Array, DType, Device, Tensor, Trace};

const LOGITS: [f32; 12] = [0.5, -1.2, 2.0, 0.3, 1.5, 0.1, -0.7, -2.0, -0.4, 0.9, 0.2, 1.1];
const LOGITS_REVERSED: [f32; 12] = [-0.4, 0.9, 0.2, 1.1, 1.5, 0.1, -0.7, -2.0, 0.5, -1.2, 2.0, 0.3];
const X: [f32; 5] = [-2.0, -0.5, 0.1, 0.8, 3.0];
/// Lines of `name | reduction | losses | gradient`.
const EXPECTED: &str = include_str!("golden/pytorch_losses.txt");

type Loss<'a> = &'a dyn Fn(&Trace, &Tensor, Reduction) -> Tensor;

const PROBABILITIES: [f32; 5] = [0.0, 0.2, 0.5, 0.9, 1.0];

/// A vector of five, or rows of four.
fn matrix(elements: &[f32]) -> Array {
    let shape = if elements.len() == 12 { vec![3, 4] } else { vec![elements.len()] };
    Array::new(&shape, elements.to_vec()).expect("as many elements")
}

fn vector(trace: &Trace, elements: &[f32]) -> Tensor {
    trace.data(&matrix(elements))
}

fn labels(trace: &Trace) -> Tensor {
    trace.data(&Array::new(&[3], vec![2u32, 0, 3]).expect("three labels"))
}

fn weights(trace: &Trace) -> Option<Tensor> {
    Some(vector(trace, &[1.0, 0.5, 2.0, 1.5]))
}

fn probabilities(trace: &Trace) -> Tensor {
    vector(trace, &[0.1, 0.2, 0.3, 0.4, 0.7, 0.1, 0.1, 0.1, 0.25, 0.25, 0.25, 0.25])
}

fn targets(trace: &Trace) -> Tensor {
    vector(trace, &[0.0, 1.0, 0.3, 1.0, 0.0])
}

/// Compares a loss and its gradient with what PyTorch says, for each reduction of this name.
#[track_caller]
fn check(name: &str, x: &[f32], loss: Loss) {
    let mut lines = EXPECTED.lines().filter(|line| line.split(" | ").next() == Some(name)).peekable();
    assert!(lines.peek().is_some(), "no line of {name:?}");
    for line in lines {
        let [_, reduction, losses, gradient] = line.split(" | ").collect::<Vec<_>>()[..] else { panic!("{line}") };
        let numbers = |text: &str| text.split(' ').map(|number| number.parse().unwrap()).collect::<Vec<f64>>();
        let (losses, gradient) = (numbers(losses), numbers(gradient));
        let trace = Trace::default();
        let x = trace.data(&matrix(x));
        let how = match reduction {
            "none" => Reduction::None,
            "mean" => Reduction::Mean,
            _ => Reduction::Sum,
        };
        let y = loss(&trace, &x, how);
        let ordinals: Vec<f32> = (1..=losses.len()).map(|i| i as f32).collect();
        let weighted = y.reshape(&[losses.len()]) * vector(&trace, &ordinals);
        let slope = trace.gradient(&weighted.sum_all(), &[&x]).remove(0);
        for (what, tensor, want) in [("loss", y, losses), ("gradient", slope, gradient)] {
            let got = tensor.eval(&Device::cpu()).unwrap_or_else(|error| panic!("{name}: {error}")).to_f64_vec();
            assert_eq!(got.len(), want.len(), "{name}, {reduction}: {what}");
            for (got, want) in got.iter().zip(want) {
                let near = (got - want).abs() <= 2e-6 + 5e-6 * want.abs();
                assert!(near, "{name}, {reduction}: the {what} is {got}, PyTorch's is {want}");
            }
        }
    }
}

#[test]
fn losses_of_labels_are_pytorchs() {
    check("plain", &LOGITS, &|t, x, reduction| {
        CrossEntropy { label_smoothing: 0.0, reduction, ..Default::default() }.forward(x, &labels(t))
    });
    check("weights", &LOGITS, &|t, x, reduction| {
        CrossEntropy { weight: weights(t), reduction, ..Default::default() }.forward(x, &labels(t))
    });
    check("weights and smoothing", &LOGITS, &|t, x, reduction| {
        CrossEntropy { weight: weights(t), label_smoothing: 0.2, reduction, ..Default::default() }
            .forward(x, &labels(t))
    });
    check("ignored", &LOGITS, &|t, x, reduction| {
        CrossEntropy { ignore_index: Some(0), reduction, ..Default::default() }.forward(x, &labels(t))
    });
    check("all options", &LOGITS, &|t, x, reduction| {
        CrossEntropy { weight: weights(t), label_smoothing: 0.2, ignore_index: Some(0), reduction }
            .forward(x, &labels(t))
    });
    check("nll", &LOGITS, &|t, x, reduction| nll_loss(x, &labels(t), weights(t).as_ref(), None, reduction));
    check("nll, ignored", &LOGITS, &|t, x, reduction| nll_loss(x, &labels(t), weights(t).as_ref(), Some(2), reduction));
}

#[test]
fn cross_entropy_of_probabilities_is_pytorchs() {
    check("probabilities", &LOGITS, &|t, x, reduction| {
        CrossEntropy { label_smoothing: 0.0, reduction, ..Default::default() }.forward(x, &probabilities(t))
    });
    check("weighted and smoothed probabilities", &LOGITS, &|t, x, reduction| {
        CrossEntropy { weight: weights(t), label_smoothing: 0.2, reduction, ..Default::default() }
            .forward(x, &probabilities(t))
    });
}

#[test]
fn losses_of_elements_are_pytorchs() {
    check("l1", &X, &|t, x, reduction| l1_loss(x, &targets(t), reduction));
    check("mse", &X, &|t, x, reduction| mse_loss(x, &targets(t), reduction));
    check("smooth l1", &X, &|t, x, reduction| smooth_l1_loss(x, &targets(t), 0.8, reduction));
    check("smooth l1 of beta 0", &X, &|t, x, reduction| smooth_l1_loss(x, &targets(t), 0.0, reduction));
    check("huber", &X, &|t, x, reduction| huber_loss(x, &targets(t), 0.8, reduction));
    check("kl", &X, &|t, x, reduction| kl_div(x, &targets(t), false, reduction));
    check("kl of logarithms", &X, &|t, x, reduction| kl_div(x, &targets(t), true, reduction));
    check("bce", &PROBABILITIES, &|t, x, reduction| {
        binary_cross_entropy(x, &targets(t), Some(&vector(t, &[1.0, 0.5, 2.0, 0.0, 3.0])), reduction)
    });
    check("bce of logits", &X, &|t, x, reduction| {
        binary_cross_entropy_with_logits(x, &targets(t), None, None, reduction)
    });
    check("bce of logits, weighted", &X, &|t, x, reduction| {
        binary_cross_entropy_with_logits(
            x,
            &targets(t),
            Some(&vector(t, &[1.0, 0.5, 2.0, 0.0, 3.0])),
            Some(&vector(t, &[2.0])),
            reduction,
        )
    });
    check("focal", &X, &|t, x, reduction| sigmoid_focal_loss(x, &targets(t), Some(0.25), 2.0, reduction));
}

#[test]
fn losses_with_margins_are_pytorchs() {
    check("hinge embedding", &X, &|t, x, reduction| {
        hinge_embedding_loss(x, &vector(t, &[1.0, -1.0, 1.0, -1.0, -1.0]), 0.7, reduction)
    });
    check("multi margin", &LOGITS, &|t, x, reduction| {
        multi_margin_loss(x, &labels(t), 1.0, false, weights(t).as_ref(), reduction)
    });
    check("multi margin, squared", &LOGITS, &|t, x, reduction| {
        multi_margin_loss(x, &labels(t), 1.0, true, None, reduction)
    });
    check("cosine embedding", &LOGITS, &|t, x, reduction| {
        cosine_embedding_loss(x, &probabilities(t), &vector(t, &[1.0, -1.0, -1.0]), 0.1, reduction)
    });
    check("triplet", &LOGITS, &|t, x, reduction| {
        triplet_margin_loss(x, &probabilities(t), &t.data(&matrix(&LOGITS_REVERSED)), 1.5, reduction)
    });
}

#[test]
fn dense_prediction_is_rows_of_pixels() {
    // Three pixels are three rows.
    let trace = Trace::default();
    let image = trace.data(&matrix(&LOGITS).reshape(&[1, 3, 1, 4]).unwrap());
    let pixels = trace.data(&Array::new(&[1, 3, 1], vec![2u32, 0, 3]).unwrap());
    let loss = CrossEntropy { weight: weights(&trace), ignore_index: Some(3), ..Default::default() };
    let each = CrossEntropy { reduction: Reduction::None, ..loss.clone() };
    let value = |loss: &CrossEntropy, logits: &Tensor, labels: &Tensor| {
        loss.forward(logits, labels).eval(&Device::cpu()).unwrap()
    };
    let (rows, row_labels) = (vector(&trace, &LOGITS), labels(&trace));
    assert_eq!(value(&loss, &image, &pixels), value(&loss, &rows, &row_labels));
    let (of_image, of_rows) = (value(&each, &image, &pixels), value(&each, &rows, &row_labels));
    assert_eq!(of_image, of_rows.reshape(&[1, 3, 1]).unwrap());
    assert_eq!(of_image.to_f64_vec()[2], 0.0);
    // The plain loss too, whose kernel reads the image as rows.
    let plain = CrossEntropy { reduction: Reduction::None, ..Default::default() };
    assert_eq!(value(&plain, &image, &pixels).to_f64_vec(), value(&plain, &rows, &row_labels).to_f64_vec());
}

#[test]
fn a_label_without_a_class_makes_the_loss_nan_unless_it_is_ignored() {
    let trace = Trace::default();
    let rows = vector(&trace, &LOGITS);
    let outside = trace.data(&Array::new(&[3], vec![2u32, 255, 3]).unwrap());
    let value = |loss: &Tensor| loss.eval(&Device::cpu()).unwrap().item().unwrap();
    for (weight, label_smoothing) in [(None, 0.0), (None, 0.1), (weights(&trace), 0.0), (weights(&trace), 0.1)] {
        let loss = CrossEntropy { weight, label_smoothing, ..Default::default() };
        assert!(value(&loss.forward(&rows, &outside)).is_nan());
        let ignoring = CrossEntropy { ignore_index: Some(255), ..loss };
        assert!(value(&ignoring.forward(&rows, &outside)).is_finite());
    }
    assert!(value(&nll_loss(&rows, &outside, None, None, Reduction::Sum)).is_nan());
    let all = trace.data(&Array::full(&[3], 255u32));
    let ignoring = CrossEntropy { ignore_index: Some(255), ..Default::default() };
    assert!(value(&ignoring.forward(&rows, &all)).is_nan(), "a mean of nothing");
}

#[test]
fn mistakes_are_named() {
    let error = |build: &dyn Fn(&Trace, &Tensor) -> Tensor| {
        let trace = Trace::default();
        let x = vector(&trace, &LOGITS);
        build(&trace, &x);
        trace.finish().err().expect("a mistake").to_string()
    };
    let refused = |words: &str, build: &dyn Fn(&Trace, &Tensor) -> Tensor| {
        let text = error(build);
        assert!(text.contains(words) && text.contains(file!()), "{text}");
    };
    refused("mse: the target: expected the shape [3, 4], this is [5]", &|t, x| mse(x, &targets(t)));
    refused("l1_loss: the target", &|t, x| l1_loss(x, &targets(t), Reduction::Mean));
    refused("need one a row: u32[3]", &|t, x| cross_entropy(x, &t.input("l", &[2], DType::U32), 0.0));
    refused("cross_entropy: the labels: expected the shape [1, 3]", &|t, x| {
        cross_entropy(&x.reshape(&[1, 3, 4]), &t.input("l", &[3, 1], DType::U32), 0.0)
    });
    refused("the weight of the classes: expected the shape [4], this is [5]", &|t, x| {
        CrossEntropy { weight: Some(targets(t)), ..Default::default() }.forward(x, &labels(t))
    });
    refused("a label smoothing of 1.5 is not in [0, 1]", &|t, x| {
        CrossEntropy { weight: weights(t), label_smoothing: 1.5, ..Default::default() }.forward(x, &labels(t))
    });
    refused("a delta of 0 is not above 0", &|_, x| huber_loss(x, x, 0.0, Reduction::Mean));
    refused("a beta of -1 is less than 0", &|_, x| smooth_l1_loss(x, x, -1.0, Reduction::Mean));
    refused("ignore_index is for labels", &|t, x| {
        CrossEntropy { ignore_index: Some(0), ..Default::default() }.forward(x, &probabilities(t))
    });
    refused("the losses with pos_weight: expected the shape [3, 4]", &|t, x| {
        let weight = t.input("w", &[2, 1, 1], DType::F32);
        binary_cross_entropy_with_logits(x, &probabilities(t), None, Some(&weight), Reduction::Mean)
    });
}
