//! One neuron: weights, a bias, an activation. It learns AND and OR, and cannot learn XOR.
//!
//! A neuron adds up what comes in, each input times a weight (the strength of a synapse) plus a bias (how easily it is
//! roused), and answers with an activation between 0 and 1. It says yes on one side of a straight line, no on the other:
//! no line parts the points of XOR (Minsky and Papert, *Perceptrons*, 1969). `05_xor_mlp` shows what does.
//!
//! `cargo run --release --example 09_neuron -- [device] [--out FILE]`

use std::path::Path;

use neuropil::loss::{Reduction, binary_cross_entropy_with_logits};
use neuropil::nn::{Linear, Module};
use neuropil::optim::{Optimizer, Sgd};
use neuropil::{Array, DType, Device, Mode, Program, Store};

#[path = "common/picture.rs"]
mod picture;
use picture::{Area, BLUE, GREY, INK, ORANGE, Outcome, Plane};
use plotters::prelude::{Circle, Color, PathElement, WHITE};

const POINTS: [[f32; 2]; 4] = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
const STEPS: usize = 1000;
/// Cells a side of the ground on which a decision is drawn.
const SIDE: usize = 54;

/// What a neuron has learned.
struct Learned {
    name: &'static str,
    targets: [f32; 4],
    weights: [f64; 2],
    bias: f64,
    right: usize,
    /// Its answers all over the plane.
    ground: Vec<f32>,
}

fn main() -> Outcome {
    let (device, out) = picture::arguments("neuron.svg")?;
    run(&device, &out)
}

/// Teaches three neurons, and draws what they learned.
pub fn run(device: &Device, out: &Path) -> Outcome {
    let mut learned = Vec::new();
    for (name, targets) in [("AND", [0.0, 0.0, 0.0, 1.0]), ("OR", [0.0, 1.0, 1.0, 1.0]), ("XOR", [0.0, 1.0, 1.0, 0.0])]
    {
        learned.push(learn(device, name, targets)?);
    }
    picture::save(out, (980, 316), |area| draw(area, &learned))?;
    let right: Vec<usize> = learned.iter().map(|neuron| neuron.right).collect();
    picture::promise(right[..2] == [4, 4], "a neuron did not learn AND or OR")?;
    picture::promise(right[2] < 4, "a single neuron cannot learn XOR, but this one did")
}

fn learn(device: &Device, name: &'static str, targets: [f32; 4]) -> Outcome<Learned> {
    // `Linear` with one output is the weights and the bias of one neuron. The activation, a sigmoid, is part of the loss
    // here, which is more exact, and of the program that answers.
    let neuron = Linear::new(1);
    let store = Store::new(device, 3);
    let train = Program::compile("train", &store, Mode::Train, |trace| {
        let x = trace.input("x", &[4, 2], DType::F32);
        let target = trace.input("target", &[4, 1], DType::F32);
        let sum = neuron.forward(&trace.scope(), x);
        let loss = binary_cross_entropy_with_logits(&sum, &target, None, None, Reduction::Mean);
        trace.output("loss", &loss);
        Sgd::new(1.0).update(trace, &trace.gradients(&loss));
    })?;
    let answer = |points: Vec<f32>| -> Outcome<Vec<f32>> {
        let count = points.len() / 2;
        let program = Program::compile("answer", &store, Mode::Evaluate, |trace| {
            let x = trace.input("x", &[count, 2], DType::F32);
            trace.output("answer", &neuron.forward(&trace.scope(), x).sigmoid());
        })?;
        let outputs = program.call(&[("x", &Array::new(&[count, 2], points)?)])?;
        Ok(outputs["answer"].as_slice::<f32>()?.to_vec())
    };

    let x = Array::new(&[4, 2], POINTS.concat())?;
    let target = Array::new(&[4, 1], targets.to_vec())?;
    println!("{name}:");
    for step in 0..=STEPS {
        train.run(&[("x", &x), ("target", &target)])?;
        if step % 250 == 0 {
            println!("  step {step:4}: loss {:.4}", train.read("loss")?.item()?);
        }
    }

    // Rounding to hundredths and adding 0 makes 0 of -0.
    let shown = |number: f64| (100.0 * number).round() / 100.0 + 0.0;
    let weights = store.get("weight")?.to_f64_vec();
    let bias = store.get("bias")?.item()?;
    println!("  it fires where {:.2}·a {:+.2}·b {:+.2} > 0", shown(weights[0]), shown(weights[1]), shown(bias));
    let mut right = 0;
    for ((point, target), answer) in POINTS.iter().zip(targets).zip(answer(POINTS.concat())?) {
        // An answer within a tenth of one half is none.
        let judged = match (answer - 0.5) * (2.0 * target - 1.0) {
            sure if sure > 0.1 => "right",
            sure if sure < -0.1 => "wrong",
            _ => "undecided",
        };
        right += usize::from(judged == "right");
        println!("  {} {name} {} = {target}: it says {answer:.3}, {judged}", point[0], point[1]);
    }
    let ground = answer(plane(0).points())?;
    Ok(Learned { name, targets, weights: [weights[0], weights[1]], bias, right, ground })
}

/// Where the decision of neuron `number` is drawn.
fn plane(number: i32) -> Plane {
    Plane { corner: (268 + 238 * number, 50), side: SIDE, cell: 4, range: -0.4..1.4 }
}

fn draw(area: &Area<'_>, learned: &[Learned]) -> Outcome {
    draw_neuron(area, &learned[0])?;
    for (neuron, number) in learned.iter().zip(0..) {
        let plane = plane(number);
        let middle = plane.at(0.5, 1.4).0;
        let verdict = format!("{}: {} of 4 right", neuron.name, neuron.right);
        picture::label(area, (middle, 30), 16, INK, &verdict)?;
        plane.ground(area, &neuron.ground)?;
        draw_line(area, &plane, neuron)?;
        for (point, target) in POINTS.iter().zip(neuron.targets) {
            let at = plane.at(f64::from(point[0]), f64::from(point[1]));
            picture::dot(area, at, 7, if target > 0.5 { ORANGE } else { BLUE })?;
        }
        for value in [0.0, 1.0] {
            picture::label(area, (plane.at(value, 0.0).0, 278), 12, GREY, &format!("a = {value}"))?;
            picture::text(area, (plane.corner.0 + 5, plane.at(0.0, value).1), 12, GREY, &format!("b = {value}"))?;
        }
    }
    picture::label(
        area,
        (plane(1).at(0.5, 0.0).0, 301),
        13,
        GREY,
        "blue: no, orange: yes; points: what it should say; line: where it decides",
    )
}

/// The line on which the sum is 0, as far as it is in the plane.
fn draw_line(area: &Area<'_>, plane: &Plane, neuron: &Learned) -> Outcome {
    let ([a, b], bias) = (neuron.weights, neuron.bias);
    let (low, high) = (plane.range.start, plane.range.end);
    // The crossings with the four sides of the square.
    let mut ends = Vec::new();
    for side in [low, high] {
        let (x, y) = (-(bias + b * side) / a, -(bias + a * side) / b);
        ends.extend((low..=high).contains(&x).then_some((x, side)));
        ends.extend((low..=high).contains(&y).then_some((side, y)));
    }
    // A neuron that always says the same, or nothing at all, has no line here.
    if ends.len() >= 2 && a.abs().max(b.abs()) > 0.01 {
        let points: Vec<(i32, i32)> = ends[..2].iter().map(|&(x, y)| plane.at(x, y)).collect();
        area.draw(&PathElement::new(points, INK.stroke_width(2)))?;
    }
    Ok(())
}

/// Inputs, weights, sum and activation, with the numbers of one that learned.
fn draw_neuron(area: &Area<'_>, neuron: &Learned) -> Outcome {
    let body = (132, 158);
    for (name, weight, y) in [("a", neuron.weights[0], 96), ("b", neuron.weights[1], 220)] {
        area.draw(&PathElement::new([(46, y), body], INK.stroke_width(2)))?;
        area.draw(&Circle::new((34, y), 15, WHITE.filled()))?;
        area.draw(&Circle::new((34, y), 15, INK.stroke_width(2)))?;
        picture::label(area, (34, y), 15, INK, name)?;
        let above = if y < body.1 { -16 } else { 18 };
        picture::label(area, (84, (y + body.1) / 2 + above), 13, ORANGE, &format!("× {weight:.1}"))?;
    }
    area.draw(&PathElement::new([body, (228, body.1)], INK.stroke_width(2)))?;
    area.draw(&PathElement::new([(220, body.1 - 5), (228, body.1), (220, body.1 + 5)], INK.stroke_width(2)))?;
    area.draw(&Circle::new(body, 32, WHITE.filled()))?;
    area.draw(&Circle::new(body, 32, INK.stroke_width(2)))?;
    // The curve of the activation inside the body.
    let curve = |i: i32| {
        let height = 26.0 / (1.0 + (-f64::from(i) / 4.0).exp());
        (body.0 + i, body.1 + 13 - height.round() as i32)
    };
    area.draw(&PathElement::new((-20..=20).map(curve).collect::<Vec<_>>(), BLUE.stroke_width(2)))?;
    picture::label(area, (body.0, 30), 16, INK, "the neuron of AND")?;
    picture::label(area, (body.0 + 36, 206), 13, ORANGE, &format!("bias {:+.1}", neuron.bias))?;
    picture::label(area, (body.0 + 8, 264), 12, GREY, "answer = σ(weights · inputs + bias)")
}
