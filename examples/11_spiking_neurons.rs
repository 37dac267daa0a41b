//! Neurons as in a brain: they collect charge, leak it, and fire when they are full. A network of them reads digits.
//!
//! The membrane of a cell holds a potential `v`. Currents through its synapses charge it, it leaks away with time, and at a
//! threshold the cell fires a spike and its potential falls back. This is the leaky integrate-and-fire neuron (Lapicque
//! 1907), in steps of time:
//!
//! ```text
//! v ← DECAY · v + current - THRESHOLD · (did it fire just before?)
//! spike = 1 if v ≥ THRESHOLD else 0
//! ```
//!
//! A spike is all or nothing: its slope is zero but for one point where it is infinite, so nothing could be learned through
//! it. A surrogate takes the slope's place on the way back, a smooth bump around the threshold: `1 / (1 + STEEP·|v - THRESHOLD|)²`
//! (Zenke and Ganguli 2018; Neftci, Mostafa, Zenke 2019). The way forward stays all or nothing.
//!
//! `cargo run --release --example 11_spiking_neurons -- [device] [--out FILE]`

use std::path::Path;

use neuropil::data::{Dataset, digits, shuffle};
use neuropil::graph::{TensorType, expect_inputs};
use neuropil::loss::cross_entropy;
use neuropil::nn::{Linear, Module};
use neuropil::ops::custom::{Custom, Kernel};
use neuropil::optim::{Adam, Optimizer};
use neuropil::{Array, DType, Device, Mode, Program, Scope, Store, Tensor};

#[path = "common/picture.rs"]
mod picture;
use picture::{Area, BLUE, GREEN, GREY, INK, MIST, ORANGE, Outcome};
use plotters::prelude::{Color, PathElement, RGBColor};

/// Steps of time for which a network looks at a digit.
const TIME: usize = 24;
const NEURONS: usize = 80;
const BATCH: usize = 64;
const EPOCHS: usize = 12;
/// What is left of a potential after a step.
const DECAY: f64 = 0.85;
const THRESHOLD: f64 = 1.0;
/// How narrow the bump of the surrogate is.
const STEEP: f64 = 4.0;

/// The spikes of neurons with these potentials: a step forward, the surrogate backward.
fn spike() -> Custom {
    let shape = |inputs: &[TensorType]| {
        expect_inputs("spike", inputs, 1)?;
        Ok(inputs.to_vec())
    };
    let reference = |op: &Custom, inputs: &[Array]| {
        let fires = |&v: &f64| f64::from(u8::from(v >= op.get("THRESHOLD")));
        Ok(vec![Array::new(inputs[0].shape(), inputs[0].as_slice::<f64>()?.iter().map(fires).collect())?])
    };
    let kernel = |inputs: &[TensorType], _: &[TensorType]| Kernel {
        constants: Vec::new(),
        extents: vec![inputs[0].len()],
        workgroups: inputs[0].len().div_ceil(64),
    };
    Custom::new("spike", include_str!("11_spike.wgsl"), shape, reference, kernel)
        .parameter("THRESHOLD", THRESHOLD)
        .gradient(|op, cx| {
            let Some(g) = cx.gradient(0) else { return Ok(()) };
            let distance = cx.graph.shift(cx.input(0), -op.get("THRESHOLD"))?;
            let distance = cx.graph.unary("abs", distance)?;
            let distance = cx.graph.scale(distance, STEEP)?;
            let width = cx.graph.shift(distance, 1.0)?;
            let width = cx.graph.unary("square", width)?;
            let gradient = cx.graph.div(g, width)?;
            cx.give(0, gradient);
            Ok(())
        })
}

/// What a network did in every step of time.
struct Course {
    /// The potentials of the hidden neurons, before those that fired fell back: `[N, NEURONS]` each.
    potentials: Vec<Tensor>,
    spikes: Vec<Tensor>,
    /// The potentials of ten neurons that only listen, one a digit: `[N, 10]` each.
    outputs: Vec<Tensor>,
}

/// Pixels are constant currents into the hidden neurons, their spikes are currents into the ten outputs.
fn network(scope: &Scope, images: &Tensor) -> Course {
    let current = Linear::new(NEURONS).forward(&scope.enter("hidden"), images.flatten(1));
    let synapses = scope.param("output.weight", &[10, NEURONS], neuropil::tensor::Init::fan_in(NEURONS));
    let mut course = Course { potentials: Vec::new(), spikes: Vec::new(), outputs: Vec::new() };
    for time in 0..TIME {
        let (potential, output) = if time == 0 {
            (current.clone(), None)
        } else {
            let (before, fired) = (&course.potentials[time - 1], &course.spikes[time - 1]);
            (before * DECAY + &current - fired * THRESHOLD, course.outputs.last())
        };
        let spikes = potential.custom(spike(), &[]);
        let heard = spikes.linear(&synapses, None);
        let output = output.map_or(heard.clone(), |output| output * DECAY + heard);
        course.potentials.push(potential);
        course.spikes.push(spikes);
        course.outputs.push(output);
    }
    course
}

/// The potentials of the outputs, averaged over time: who was charged most has the word.
fn decide(course: &Course) -> Tensor {
    mean(&course.outputs)
}

fn mean(series: &[Tensor]) -> Tensor {
    series[1..].iter().fold(series[0].clone(), |sum, tensor| sum + tensor) / series.len() as f64
}

fn main() -> Outcome {
    let (device, out) = picture::arguments("spiking.svg")?;
    run(&device, &out)
}

/// Trains, tests, and records what happens while the network looks at one digit.
pub fn run(device: &Device, out: &Path) -> Outcome {
    let (train, test) = digits()?;
    let store = Store::new(device, 5);
    // All steps of time are one graph, and the backward pass goes through time.
    let step = Program::compile("step", &store, Mode::Train, |trace| {
        let images = trace.input("images", &[BATCH, 8, 8, 1], DType::F32);
        let labels = trace.input("labels", &[BATCH], DType::U32);
        let logits = decide(&network(&trace.scope(), &images));
        let loss = cross_entropy(&logits, &labels, 0.0);
        trace.output("loss", &loss);
        Adam::new(5e-3).update(trace, &trace.gradients(&loss));
    })?;
    println!("On {}: {NEURONS} neurons that spike, {TIME} steps of time", device.name());
    for epoch in 0..EPOCHS {
        let order = shuffle(train.len(), 5, epoch as u64);
        for batch in train.batches(&order, BATCH)?.filter(|batch| batch.len() == BATCH) {
            let (images, labels) = train.batch(batch)?;
            step.run(&[("images", &images), ("labels", &labels)])?;
        }
        println!("epoch {:2}: loss of the last batch {:.4}", epoch + 1, step.read("loss")?.item()?);
    }

    let (accuracy, activity) = judge(&store, &test)?;
    println!("test: {:.1} %; a neuron fires in {:.0} % of the steps", 100.0 * accuracy, 100.0 * activity);
    let shown = test.labels().iter().position(|&label| label == 6).unwrap_or_default();
    let recording = record(&store, &test, shown)?;
    picture::save(out, (980, 500), |area| draw(area, &recording, accuracy))?;
    picture::promise(accuracy >= 0.9, "the network reads less than 90 % of the digits")
}

/// The share of digits that are read right, and that of steps in which a neuron fires.
fn judge(store: &Store, test: &Dataset) -> Outcome<(f64, f64)> {
    let program = Program::compile("judge", store, Mode::Evaluate, |trace| {
        let images = trace.input("images", &[test.len(), 8, 8, 1], DType::F32);
        let course = network(&trace.scope(), &images);
        trace.output("read", &decide(&course).argmax(&[1]));
        trace.output("activity", &mean(&course.spikes).mean_all());
    })?;
    let outputs = program.call(&[("images", &test.images()?)])?;
    let read = outputs["read"].as_slice::<u32>()?;
    let right = read.iter().zip(test.labels()).filter(|(read, label)| read == label).count();
    Ok((right as f64 / test.len() as f64, outputs["activity"].item()?))
}

/// What was measured while the network looked at one digit; the outer index is time.
struct Recording {
    digit: Vec<f32>,
    label: usize,
    potentials: Vec<Vec<f32>>,
    spikes: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

fn record(store: &Store, test: &Dataset, index: usize) -> Outcome<Recording> {
    let program = Program::compile("record", store, Mode::Evaluate, |trace| {
        let image = trace.input("image", &[1, 8, 8, 1], DType::F32);
        let course = network(&trace.scope(), &image);
        for (what, series) in [("v", &course.potentials), ("s", &course.spikes), ("o", &course.outputs)] {
            for (time, tensor) in series.iter().enumerate() {
                trace.output(&format!("{what}{time}"), tensor);
            }
        }
    })?;
    let image = test.batch(&[index])?.0;
    let outputs = program.call(&[("image", &image)])?;
    let series = |what: &str| -> Outcome<Vec<Vec<f32>>> {
        let at = |time: usize| Ok(outputs[&format!("{what}{time}")].as_slice::<f32>()?.to_vec());
        (0..TIME).map(at).collect()
    };
    let label = test.labels()[index] as usize;
    let digit = image.as_slice::<f32>()?.to_vec();
    Ok(Recording { digit, label, potentials: series("v")?, spikes: series("s")?, outputs: series("o")? })
}

fn draw(area: &Area<'_>, recording: &Recording, accuracy: f64) -> Outcome {
    let (left, right) = area.split_horizontally(500);
    let (upper, lower) = right.split_vertically(240);
    draw_raster(&left, recording, accuracy)?;
    draw_membrane(&upper, recording)?;
    draw_outputs(&lower, recording)
}

/// Every spike of every neuron.
fn draw_raster(area: &Area<'_>, recording: &Recording, accuracy: f64) -> Outcome {
    picture::image(area, (20, 52), 9, 8, &recording.digit)?;
    picture::label(area, (56, 140), 13, GREY, "what it sees")?;
    picture::label(area, (56, 430), 24, INK, &format!("{:.1} %", 100.0 * accuracy))?;
    picture::label(area, (56, 454), 13, GREY, "of 359 digits read")?;
    picture::label(area, (310, 26), 16, INK, &format!("the spikes of {NEURONS} neurons"))?;
    let (corner, width, height) = ((136, 48), 14, 5);
    let end = (corner.0 + width * TIME as i32, corner.1 + height * NEURONS as i32);
    picture::frame(area, corner, end, MIST)?;
    for (time, spikes) in recording.spikes.iter().enumerate() {
        for (neuron, _) in spikes.iter().enumerate().filter(|(_, spike)| **spike > 0.5) {
            let x = corner.0 + width * time as i32 + width / 2;
            let y = corner.1 + height * neuron as i32;
            area.draw(&PathElement::new([(x, y), (x, y + height - 1)], INK.stroke_width(2)))?;
        }
    }
    picture::label(area, ((corner.0 + end.0) / 2, end.1 + 18), 13, INK, "time →")
}

/// The potential of the neuron whose interval between spikes is most like an example: it fires, but not all the time.
fn draw_membrane(area: &Area<'_>, recording: &Recording) -> Outcome {
    let fires = |neuron: usize| recording.spikes.iter().filter(|spikes| spikes[neuron] > 0.5).count();
    let neuron = (0..NEURONS).min_by_key(|&neuron| fires(neuron).abs_diff(4)).unwrap_or_default();
    let caption = format!("the membrane of neuron {neuron}");
    let mut chart = picture::chart(area, &caption, (0.0..TIME as f64, ""), (-0.5..1.9, "potential"))?;
    picture::line(&mut chart, [(0.0, THRESHOLD), (TIME as f64, THRESHOLD)], GREY, 1)?;
    // A cell that fires falls back at once, by the threshold.
    let mut course = vec![(0.0, 0.0)];
    for (time, (potentials, spikes)) in recording.potentials.iter().zip(&recording.spikes).enumerate() {
        let (time, potential) = (time as f64 + 0.5, f64::from(potentials[neuron]));
        course.push((time, potential));
        if spikes[neuron] > 0.5 {
            course.push((time, potential - THRESHOLD));
            picture::line(&mut chart, [(time, 1.5), (time, 1.8)], ORANGE, 3)?;
        }
    }
    picture::line(&mut chart, course, BLUE, 2)?;
    picture::text(area, (74, 48), 13, ORANGE, "spikes")?;
    picture::text(area, (74, 88), 13, GREY, "threshold")
}

/// The ten outputs: that of the right digit in green.
fn draw_outputs(area: &Area<'_>, recording: &Recording) -> Outcome {
    let values = || recording.outputs.iter().flatten().map(|&value| f64::from(value));
    let (low, high) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let caption = format!("ten neurons listen: that of {} is charged", recording.label);
    let range = (low * 1.1)..(high * 1.15);
    let mut chart = picture::chart(area, &caption, (0.0..TIME as f64, "time"), (range, "potential"))?;
    let others: Vec<usize> = (0..10).filter(|&digit| digit != recording.label).collect();
    let mut draw = |digit: usize, colour: RGBColor, width: u32| {
        let course = recording.outputs.iter().enumerate();
        let course: Vec<(f64, f64)> = course.map(|(time, all)| (time as f64 + 0.5, f64::from(all[digit]))).collect();
        picture::line(&mut chart, course, colour, width)
    };
    for digit in others {
        draw(digit, picture::blend(MIST, GREY, 0.4), 1)?;
    }
    draw(recording.label, GREEN, 3)
}
