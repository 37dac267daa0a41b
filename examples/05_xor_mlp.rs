//! A network of layers learns what one neuron cannot: exclusive or, and two spirals wound into each other.
//!
//! Each neuron of the hidden layer draws a line of its own, and the output combines them; two hidden layers combine what is
//! combined already. Two programs, for training and for use, share one store.
//!
//! `cargo run --release --example 05_xor_mlp -- [device] [--out FILE]`

use std::f64::consts::PI;
use std::path::Path;

use neuropil::loss::cross_entropy;
use neuropil::nn::{Activation, Linear, Module, Sequential};
use neuropil::optim::{Adam, Optimizer};
use neuropil::{Array, DType, Device, Mode, Program, Store};

#[path = "common/picture.rs"]
mod picture;
use picture::{Area, BLUE, GREY, INK, ORANGE, Outcome, Plane};

/// Points of the spirals, half of them for each.
const SPIRALS: usize = 160;

/// Points, and the class of each.
struct Task {
    name: &'static str,
    points: Vec<f32>,
    classes: Vec<u32>,
}

/// A network at some step: the share of points that it has right, and what it says all over the plane.
struct Snapshot {
    title: String,
    task: usize,
    right: f64,
    ground: Vec<f32>,
}

fn main() -> Outcome {
    let (device, out) = picture::arguments("mlp.svg")?;
    run(&device, &out)
}

/// Learns both tasks, and draws what the networks say.
pub fn run(device: &Device, out: &Path) -> Outcome {
    // A model is a description: a layer is a struct of a few numbers and holds no weights. How many inputs a layer has
    // follows from what it is applied to.
    let small = Sequential::new()
        .named("hidden", Linear::new(8))
        .named("tanh", Activation::Tanh)
        .named("output", Linear::new(2));
    let large = Sequential::new()
        .named("hidden1", Linear::new(32))
        .named("tanh1", Activation::Tanh)
        .named("hidden2", Linear::new(32))
        .named("tanh2", Activation::Tanh)
        .named("output", Linear::new(2));

    let tasks = [xor(), spirals()];
    let mut snapshots = learn(device, &small, 0, &tasks[0], &[200])?;
    snapshots.extend(learn(device, &large, 1, &tasks[1], &[60, 1500])?);

    picture::save(out, (980, 380), |area| draw(area, &tasks, &snapshots))?;
    picture::promise(snapshots[0].right == 1.0, "the network did not learn exclusive or")?;
    picture::promise(snapshots[2].right >= 0.95, "the network has less than 95 % of the spirals right")
}

fn learn(device: &Device, model: &Sequential, number: usize, task: &Task, stops: &[usize]) -> Outcome<Vec<Snapshot>> {
    let count = task.classes.len();
    let points = Array::new(&[count, 2], task.points.clone())?;
    let labels = Array::new(&[count], task.classes.clone())?;
    let store = Store::new(device, 1);
    let train = Program::compile("train", &store, Mode::Train, |trace| {
        let points = trace.input("points", &[count, 2], DType::F32);
        let labels = trace.input("labels", &[count], DType::U32);
        let logits = model.forward(&trace.scope(), points);
        let loss = cross_entropy(&logits, &labels, 0.0);
        trace.output("loss", &loss);
        Adam::new(0.02).update(trace, &trace.gradients(&loss));
    })?;
    // The same model traced again, for another purpose. It uses the parameters that are there already.
    let predict = |points: Vec<f32>| -> Outcome<Vec<f32>> {
        let count = points.len() / 2;
        let program = Program::compile("predict", &store, Mode::Evaluate, |trace| {
            let points = trace.input("points", &[count, 2], DType::F32);
            trace.output("probabilities", &model.forward(&trace.scope(), points).softmax(-1));
        })?;
        let outputs = program.call(&[("points", &Array::new(&[count, 2], points)?)])?;
        // Of the two probabilities that of class 1.
        Ok(outputs["probabilities"].as_slice::<f32>()?.chunks(2).map(|pair| pair[1]).collect())
    };

    println!("{}: {count} points, {} parameters on {}", task.name, store.parameter_count(), device.name());
    for (name, ty) in store.names(neuropil::graph::Leaf::Parameter) {
        println!("  {name}, {ty}");
    }
    let mut snapshots = Vec::new();
    for step in 1..=*stops.last().unwrap_or(&0) {
        train.run(&[("points", &points), ("labels", &labels)])?;
        if !stops.contains(&step) {
            continue;
        }
        let answers = predict(task.points.clone())?;
        let right = answers.iter().zip(&task.classes).filter(|&(&p, &class)| (p > 0.5) == (class == 1)).count();
        let right = right as f64 / count as f64;
        println!("  step {step:4}: loss {:.4}, {:.1} % right", train.read("loss")?.item()?, 100.0 * right);
        if count == 4 {
            for (point, p) in task.points.chunks(2).zip(&answers) {
                println!("    {} xor {} = {p:.0}  (probability of 1: {p:.3})", point[0], point[1]);
            }
        }
        let title = format!("{}, {step} steps: {:.0} %", task.name, 100.0 * right);
        snapshots.push(Snapshot { title, task: number, right, ground: predict(plane(number, 0).points())? });
    }
    Ok(snapshots)
}

fn xor() -> Task {
    Task { name: "XOR", points: vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], classes: vec![0, 1, 1, 0] }
}

/// Two spirals of one and a half turns, the second half a turn ahead of the first.
fn spirals() -> Task {
    let (mut points, mut classes) = (Vec::new(), Vec::new());
    for i in 0..SPIRALS {
        let (along, class) = ((i / 2) as f64 / (SPIRALS / 2) as f64, i % 2);
        let (radius, angle) = (0.12 + 0.85 * along, 3.0 * PI * along + PI * class as f64);
        points.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
        classes.push(class as u32);
    }
    Task { name: "two spirals", points, classes }
}

/// Where the panel in `column` draws the plane of a task.
fn plane(task: usize, column: usize) -> Plane {
    let range = if task == 0 { -0.4..1.4 } else { -1.1..1.1 };
    Plane { corner: (14 + 322 * column as i32, 46), side: 61, cell: 5, range }
}

fn draw(area: &Area<'_>, tasks: &[Task], snapshots: &[Snapshot]) -> Outcome {
    for (column, snapshot) in snapshots.iter().enumerate() {
        let plane = plane(snapshot.task, column);
        picture::label(area, (plane.corner.0 + 152, 26), 16, INK, &snapshot.title)?;
        plane.ground(area, &snapshot.ground)?;
        let task = &tasks[snapshot.task];
        for (point, &class) in task.points.chunks(2).zip(&task.classes) {
            let at = plane.at(f64::from(point[0]), f64::from(point[1]));
            let radius = if task.classes.len() == 4 { 7 } else { 3 };
            picture::dot(area, at, radius, if class == 1 { ORANGE } else { BLUE })?;
        }
    }
    picture::label(
        area,
        (490, 365),
        13,
        GREY,
        "points: what was taught; ground: what the network says everywhere, white where it is undecided",
    )
}
