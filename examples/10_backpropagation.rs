//! Back-propagation by hand, in plain loops, beside the library's automatic differentiation: the same numbers.
//!
//! A small network, two inputs, three hidden neurons, one output, all with tanh, and the squared error:
//!
//! ```text
//! a = W1·x + b1,  h = tanh(a),      the hidden neurons
//! s = w2·h + b2,  y = tanh(s),      the output
//! L = mean over the points of (y - t)²
//! ```
//!
//! How does the loss change if a weight does? The chain rule answers from the back to the front, each layer handing on to
//! the one before what reached it (Rumelhart, Hinton, Williams 1986).
//!
//! `cargo run --release --example 10_backpropagation -- [device] [--out FILE]`

use std::path::Path;

use neuropil::loss::mse;
use neuropil::nn::{Activation, Linear, Module, Sequential};
use neuropil::optim::{Optimizer, Sgd};
use neuropil::{Array, DType, Device, Mode, Program, Store};

#[path = "common/picture.rs"]
mod picture;
use picture::{Area, BLUE, GREY, INK, ORANGE, Outcome};
use plotters::prelude::{Circle, Color, PathElement, WHITE};

const HIDDEN: usize = 3;
const STEPS: usize = 150;
const RATE: f64 = 0.3;
/// XOR in -1 and 1: what a single neuron cannot do.
const POINTS: [[f64; 2]; 4] = [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]];
const TARGETS: [f64; 4] = [-1.0, 1.0, 1.0, -1.0];
const NAMES: [&str; 4] = ["hidden.weight", "hidden.bias", "output.weight", "output.bias"];

/// The parameters, or the slope of the loss along each.
#[derive(Clone, Default)]
struct Network {
    w1: [[f64; 2]; HIDDEN],
    b1: [f64; HIDDEN],
    w2: [f64; HIDDEN],
    b2: f64,
}

impl Network {
    /// All numbers, in the order of [`NAMES`].
    fn numbers(&self) -> Vec<f64> {
        self.w1.iter().flatten().chain(&self.b1).chain(&self.w2).chain([&self.b2]).copied().collect()
    }

    fn of_numbers(numbers: &[f64]) -> Self {
        let mut network = Network::default();
        for i in 0..HIDDEN {
            network.w1[i] = [numbers[2 * i], numbers[2 * i + 1]];
            network.b1[i] = numbers[2 * HIDDEN + i];
            network.w2[i] = numbers[3 * HIDDEN + i];
        }
        network.b2 = numbers[4 * HIDDEN];
        network
    }

    /// The loss and its gradient.
    #[allow(clippy::needless_range_loop, reason = "the loops are the formulas, index by index")]
    fn back_propagate(&self) -> (f64, Network) {
        let (mut loss, mut slope) = (0.0, Network::default());
        let count = POINTS.len() as f64;
        for (x, t) in POINTS.iter().zip(TARGETS) {
            // Forward. What the way back needs is kept: h and y.
            let mut h = [0.0; HIDDEN];
            for i in 0..HIDDEN {
                h[i] = (self.w1[i][0] * x[0] + self.w1[i][1] * x[1] + self.b1[i]).tanh();
            }
            let y = (0..HIDDEN).map(|i| self.w2[i] * h[i]).sum::<f64>() + self.b2;
            let y = y.tanh();
            loss += (y - t).powi(2) / count;

            // Backward. L = Σ (y - t)² / n, so dL/dy = 2 (y - t) / n.
            let d_y = 2.0 * (y - t) / count;
            // y = tanh(s), and tanh' = 1 - tanh²: dL/ds = dL/dy · dy/ds = dL/dy · (1 - y²).
            let d_s = d_y * (1.0 - y * y);
            // s = Σ w2[i]·h[i] + b2: ds/db2 = 1, ds/dw2[i] = h[i]. Slopes of all points add up, as the losses do.
            slope.b2 += d_s;
            for i in 0..HIDDEN {
                slope.w2[i] += d_s * h[i];
                // ds/dh[i] = w2[i]: the error goes back through the weight by which the signal came.
                let d_h = d_s * self.w2[i];
                // h = tanh(a): da as ds above.
                let d_a = d_h * (1.0 - h[i] * h[i]);
                // a[i] = W1[i][0]·x[0] + W1[i][1]·x[1] + b1[i].
                slope.b1[i] += d_a;
                slope.w1[i][0] += d_a * x[0];
                slope.w1[i][1] += d_a * x[1];
            }
        }
        (loss, slope)
    }

    /// A step down the slope.
    fn descend(&mut self, slope: &Network) {
        let moved: Vec<f64> = self.numbers().iter().zip(slope.numbers()).map(|(p, s)| p - RATE * s).collect();
        *self = Network::of_numbers(&moved);
    }
}

fn main() -> Outcome {
    let (device, out) = picture::arguments("backpropagation.svg")?;
    run(&device, &out)
}

/// Trains both ways, compares, and draws the network with its first gradient.
pub fn run(device: &Device, out: &Path) -> Outcome {
    // The library's way: the forward pass is said, the backward pass follows.
    let model = Sequential::new()
        .named("hidden", Linear::new(HIDDEN))
        .then(Activation::Tanh)
        .named("output", Linear::new(1))
        .then(Activation::Tanh);
    let store = Store::new(device, 4);
    let train = Program::compile("train", &store, Mode::Train, |trace| {
        let x = trace.input("x", &[4, 2], DType::F32);
        let target = trace.input("target", &[4, 1], DType::F32);
        let loss = mse(&model.forward(&trace.scope(), x), &target);
        let gradients = trace.gradients(&loss);
        trace.output("loss", &loss);
        for (name, _, gradient) in &gradients.entries {
            trace.output(name, gradient);
        }
        Sgd::new(RATE).update(trace, &gradients);
    })?;
    let x = Array::new(&[4, 2], POINTS.concat())?.cast(DType::F32);
    let target = Array::new(&[4, 1], TARGETS.to_vec())?.cast(DType::F32);

    // By hand, from the same initial values.
    let mut numbers = Vec::new();
    for name in NAMES {
        numbers.extend(store.get(name)?.to_f64_vec());
    }
    let mut network = Network::of_numbers(&numbers);
    let first = network.clone();
    let (_, first_slope) = network.back_propagate();

    let (mut by_hand, mut automatic) = (Vec::new(), Vec::new());
    let mut furthest: f64 = 0.0;
    for step in 0..STEPS {
        let (loss, slope) = network.back_propagate();
        network.descend(&slope);
        let outputs = train.call(&[("x", &x), ("target", &target)])?;
        let gradients: Vec<f64> = NAMES.iter().flat_map(|&name| outputs[name].to_f64_vec()).collect();
        if step == 0 {
            report(&slope.numbers(), &gradients);
        }
        let apart = slope.numbers().iter().zip(&gradients).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // f32 rounds to a relative 6e-8; after many steps the two have gone slightly different ways.
        furthest = furthest.max(apart);
        picture::promise(step > 0 || apart < 1e-6, format!("the first gradients are {apart:.1e} apart"))?;
        by_hand.push(loss);
        automatic.push(outputs["loss"].item()?);
    }
    println!(
        "\nThe loss after {STEPS} steps: {:.6} by hand, {:.6} by autodiff",
        by_hand[STEPS - 1],
        automatic[STEPS - 1]
    );
    println!("The gradients were never more than {furthest:.1e} apart.");
    picture::save(out, (980, 380), |area| draw(area, [&first, &first_slope], [&by_hand, &automatic]))?;
    picture::promise(furthest < 1e-5, format!("gradients were {furthest:.1e} apart"))?;
    picture::promise(by_hand[STEPS - 1] < 0.05, "the network did not learn XOR")
}

fn report(by_hand: &[f64], automatic: &[f64]) {
    println!("{:18} {:>14} {:>14}", "dL/d…", "by hand", "autodiff");
    let places = [2 * HIDDEN, HIDDEN, HIDDEN, 1];
    let names = NAMES.iter().zip(places).flat_map(|(name, count)| (0..count).map(move |i| format!("{name}[{i}]")));
    for ((name, a), b) in names.zip(by_hand).zip(automatic) {
        println!("{name:18} {a:14.9} {b:14.9}");
    }
}

fn draw(area: &Area<'_>, [network, slope]: [&Network; 2], [by_hand, automatic]: [&[f64]; 2]) -> Outcome {
    let (left, right) = area.split_horizontally(500);
    picture::label(&left, (250, 26), 16, INK, "the error on its way back, before the first step")?;
    let input = |j: usize| (50, 110 + 170 * j as i32);
    let hidden = |i: usize| (270, 80 + 115 * i as i32);
    let output = (450, 195);
    let mut edges = Vec::new();
    for i in 0..HIDDEN {
        edges.extend((0..2).map(|j| (input(j), hidden(i), slope.w1[i][j], network.w1[i][j])));
        edges.push((hidden(i), output, slope.w2[i], network.w2[i]));
    }
    for &(from, to, slope, _) in &edges {
        let width = 1 + (slope.abs() * 16.0).round().min(9.0) as u32;
        let colour = if slope < 0.0 { BLUE } else { ORANGE };
        left.draw(&PathElement::new([from, to], colour.mix(0.55).stroke_width(width)))?;
    }
    for &(from, to, slope, weight) in &edges {
        // Where edges lie apart: those that cross all others near their end.
        let share = if (from.1 - to.1).abs() > 150 { 0.74 } else { 0.33 };
        let along = |a: i32, b: i32| a + (f64::from(b - a) * share).round() as i32;
        let at = (along(from.0, to.0), along(from.1, to.1));
        left.draw(&plotters::prelude::Rectangle::new(
            [(at.0 - 38, at.1 - 15), (at.0 + 38, at.1 + 15)],
            WHITE.mix(0.85).filled(),
        ))?;
        picture::label(&left, (at.0, at.1 - 7), 12, GREY, &format!("w {weight:+.2}"))?;
        picture::label(
            &left,
            (at.0, at.1 + 7),
            12,
            if slope < 0.0 { BLUE } else { ORANGE },
            &format!("dL/dw {slope:+.3}"),
        )?;
    }
    let neurons =
        [(input(0), "x₁"), (input(1), "x₂"), (hidden(0), "h₁"), (hidden(1), "h₂"), (hidden(2), "h₃"), (output, "y")];
    for (at, name) in neurons {
        left.draw(&Circle::new(at, 20, WHITE.filled()))?;
        left.draw(&Circle::new(at, 20, INK.stroke_width(2)))?;
        picture::label(&left, at, 15, INK, name)?;
    }
    picture::label(
        &left,
        (250, 358),
        13,
        GREY,
        "thick: the loss depends much on this weight; blue: more of it lowers the loss",
    )?;

    let mut chart = picture::chart(&right, "the loss, both ways", (0.0..STEPS as f64, "step"), (0.0..1.3, "loss"))?;
    picture::line(&mut chart, by_hand.iter().enumerate().map(|(i, &y)| (i as f64, y)), BLUE, 2)?;
    let every = automatic.iter().enumerate().step_by(6);
    chart.draw_series(every.map(|(i, &y)| Circle::new((i as f64, y), 4, ORANGE.stroke_width(2))))?;
    picture::text(&right, (330, 70), 14, BLUE, "line: by hand")?;
    picture::text(&right, (330, 92), 14, ORANGE, "rings: autodiff")
}
