//! How time and memory of a training step grow with the batch, with depth and with width: `cargo bench --bench growth`.
//!
//! A stack of 3×3 convolutions with ReLU, a mean over the pixels and a linear layer, trained with Adam on images of 16×16×8.
//! One of batch (1 to 512), depth (2 to 50 convolutions) and width (8 to 128 channels) varies, the others stay. Writes
//! `docs/growth.md` and `docs/growth.svg`; a word after `--` names the device: `cpu` (the default) or `software`.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Instant;

use neuropil::device::{GpuChoice, Options};
use neuropil::loss::cross_entropy;
use neuropil::nn::{Activation, Conv2d, GlobalAvgPool2d, Linear, Module, Sequential};
use neuropil::optim::{Adam, Optimizer};
use neuropil::tensor::Init;
use neuropil::{DType, Device, Mode, Program, Store, Trace};
use plotters::prelude::*;

const BATCH: usize = 16;
const DEPTH: usize = 4;
const WIDTH: usize = 16;

/// A network and a batch.
#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    depth: usize,
    width: usize,
}

/// What varies, and its values.
struct Axis {
    name: &'static str,
    shapes: Vec<(usize, Shape)>,
    /// What time should be in proportion to.
    law: &'static str,
}

struct Point {
    value: usize,
    milliseconds: f64,
    planned: f64,
    bound: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked = std::env::args().find(|argument| argument == "software");
    let device = match asked {
        Some(_) => pollster::block_on(Device::open(&GpuChoice::Software, Options::default()))?,
        None => Device::cpu(),
    };
    let start = Shape { batch: BATCH, depth: DEPTH, width: WIDTH };
    let along = |name, law, values: &[usize], set: fn(&mut Shape, usize)| {
        let shape = |&value: &usize| {
            let mut shape = start;
            set(&mut shape, value);
            (value, shape)
        };
        Axis { name, law, shapes: values.iter().map(shape).collect() }
    };
    let axes = [
        along("batch", "batch", &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512], |shape, value| shape.batch = value),
        along("depth", "depth", &[2, 5, 10, 20, 35, 50], |shape, value| shape.depth = value),
        along("width", "width²", &[8, 16, 32, 64, 128], |shape, value| shape.width = value),
    ];
    let mut measured = Vec::new();
    for axis in &axes {
        let points: Result<Vec<Point>, neuropil::Error> =
            axis.shapes.iter().map(|&(value, shape)| measure(&device, value, shape)).collect();
        measured.push((axis, points?));
    }
    std::fs::write("docs/growth.md", page(&device, &measured))?;
    draw(&measured)?;
    Ok(())
}

/// The median of eleven steps after the first, and the memory of its activations.
fn measure(device: &Device, value: usize, shape: Shape) -> Result<Point, neuropil::Error> {
    let store = Store::new(device, 0);
    let program = Program::compile("step", &store, Mode::Train, |trace| step(trace, shape))?;
    program.run(&[])?;
    device.wait()?;
    let mut times = Vec::new();
    for _ in 0..11 {
        let start = Instant::now();
        program.run(&[])?;
        device.wait()?;
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let mib = |words: usize| 4.0 * words as f64 / f64::from(1 << 20);
    let planned = program.schedule().arenas.iter().map(|(_, words)| words).sum();
    let point =
        Point { value, milliseconds: times[5], planned: mib(planned), bound: mib(program.schedule().lower_bound) };
    eprintln!("{value:>4}: {:.2} ms, {:.2} MiB", point.milliseconds, point.planned);
    Ok(point)
}

fn step(trace: &Trace, shape: Shape) {
    let mut network = Sequential::new();
    for _ in 0..shape.depth {
        network = network.then(Conv2d::new(shape.width, 3).padding(1)).then(Activation::Relu);
    }
    let network = network.then(GlobalAvgPool2d).then(Linear::new(10));
    let images = Init::Uniform { bound: 1.0 };
    let images = trace.scope().shared_state("images", &[shape.batch, 16, 16, 8], DType::F32, images);
    let labels = trace.scope().shared_state("labels", &[shape.batch], DType::U32, Init::Constant(3.0));
    let loss = cross_entropy(&network.forward(&trace.scope(), images), &labels, 0.0);
    Adam::new(1e-3).update(trace, &trace.gradients(&loss));
}

fn page(device: &Device, measured: &[(&Axis, Vec<Point>)]) -> String {
    let mut text = format!(
        "# How a training step grows\n\n\
         A stack of 3×3 convolutions with ReLU on images of 16×16×8, trained with Adam, on {}; batches of {BATCH}, {DEPTH}\n\
         convolutions and {WIDTH} channels, but for what varies. Medians of 11 steps. The last column is time over what it\n\
         should be in proportion to, set to 1 at the largest: where it is above 1, fixed costs weigh.\n\
         `cargo bench --bench growth` measures it again.\n\n![time and memory](growth.svg)\n",
        if device.adapter().is_none() { "the CPU".to_owned() } else { device.name() }
    );
    for (axis, points) in measured {
        let law = |value: usize| if axis.law == "width²" { value * value } else { value } as f64;
        let last = points.last().map_or(1.0, |point| point.milliseconds / law(point.value));
        let _ = write!(
            text,
            "\n| {} | ms a step | activations planned | at least | ms / {} |\n|---|---|---|---|---|\n",
            axis.name, axis.law
        );
        for Point { value, milliseconds, planned, bound } in points {
            let share = milliseconds / law(*value) / last;
            let _ = writeln!(text, "| {value} | {milliseconds:.2} | {planned:.2} MiB | {bound:.2} MiB | {share:.2} |");
        }
    }
    text
}

/// Two rows of three charts: time and memory along each axis, both scales logarithmic.
fn draw(measured: &[(&Axis, Vec<Point>)]) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new("docs/growth.svg", (960, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let panels = area.split_evenly((2, 3));
    let milliseconds: fn(&Point) -> f64 = |point| point.milliseconds;
    let lines = [
        ("ms a step", RGBColor(31, 97, 141), milliseconds),
        ("MiB of activations", RGBColor(176, 58, 46), |point| point.planned),
    ];
    for (row, (what, colour, of)) in lines.into_iter().enumerate() {
        for (column, (axis, points)) in measured.iter().enumerate() {
            let xs = points.iter().map(|point| point.value as f64);
            let ys = || points.iter().map(of);
            let (low, high) = (ys().fold(f64::INFINITY, f64::min), ys().fold(0.0, f64::max));
            let first = points.first().map_or(1.0, |point| point.value as f64);
            let last = points.last().map_or(1.0, |point| point.value as f64);
            let mut chart = ChartBuilder::on(&panels[3 * row + column])
                .margin(12)
                .caption(format!("{what}, by {}", axis.name), ("sans-serif", 15))
                .x_label_area_size(28)
                .y_label_area_size(46)
                .build_cartesian_2d((first..last).log_scale(), (low / 1.5..high * 1.5).log_scale())?;
            let mut mesh = chart.configure_mesh();
            mesh.x_labels(4).y_labels(4).x_label_formatter(&|x| format!("{x:.0}"));
            mesh.light_line_style(WHITE).label_style(("sans-serif", 12)).draw()?;
            let line: Vec<(f64, f64)> = xs.zip(ys()).collect();
            chart.draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)))?;
            chart.draw_series(line.into_iter().map(|at| Circle::new(at, 3, colour.filled())))?;
        }
    }
    area.present()?;
    Ok(())
}
