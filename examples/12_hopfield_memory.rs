//! A memory of neurons: what was learned comes back from a damaged piece of it.
//!
//! In a Hopfield network (Hopfield 1982) every neuron, 1 or -1, is connected with every other. To learn a pattern is to
//! strengthen the connections of neurons that are active together: Hebb's rule (1949), `w[i,j] += x[i]·x[j] / n`. To recall
//! is to start near a pattern and let each neuron follow its inputs, `x ← sign(W·x)`, until nothing changes: the network
//! falls into the nearest thing it knows.
//!
//! Once is enough for patterns that have nothing to do with each other. Digits have much in common, and run together; so
//! here each is learned again and again by the same rule, wherever a neuron is not yet sure (Diederich and Opper 1987).
//!
//! `cargo run --release --example 12_hopfield_memory -- [device] [--out FILE]`

use std::path::Path;

use neuropil::data::digits;
use neuropil::random::Stream;
use neuropil::tensor::Init;
use neuropil::{Array, DType, Device, Mode, Program, Store};

#[path = "common/picture.rs"]
mod picture;
use picture::{Area, BLUE, GREY, INK, ORANGE, Outcome, blend};
use plotters::prelude::{Circle, Color, RGBColor, WHITE};

/// Neurons: the pixels of a digit.
const NEURONS: usize = 64;
/// Digits that are learned, from 0 on.
const PATTERNS: usize = 8;
/// Damaged copies of each that are to be recalled.
const COPIES: usize = 50;
/// Rounds of recalling.
const ROUNDS: usize = 12;
/// How sure a neuron is to be of its part in every pattern.
const SURE: f32 = 10.0;

/// A network that learns and recalls.
struct Memory {
    learn: Program,
    recall: Program,
}

fn main() -> Outcome {
    let (device, out) = picture::arguments("hopfield.svg")?;
    run(&device, &out)
}

/// Learns the digits in two ways, recalls them from damaged ones, and draws both.
pub fn run(device: &Device, out: &Path) -> Outcome {
    let patterns = prototypes()?;
    // Noise, for comparison: eight patterns that have nothing in common.
    let mut stream = Stream::new(7, "noise");
    let noise: Vec<f32> = patterns.iter().map(|_| if stream.below(2) == 0 { 1.0 } else { -1.0 }).collect();
    let [noise_once, once, again] = [Memory::new(device)?, Memory::new(device)?, Memory::new(device)?];
    noise_once.study(&noise, f32::INFINITY, 1)?;
    once.study(&patterns, f32::INFINITY, 1)?;
    let passes = again.study(&patterns, SURE, 1000)?;
    println!("{PATTERNS} digits in {NEURONS} neurons; sure of all of them after {passes} passes\n");

    println!("pixels flipped   recalled: noise, learned once   digits, learned once   digits, learned until sure");
    let mut curves = [Vec::new(), Vec::new(), Vec::new()];
    let mut healed = 0.0;
    // 13 of 64 pixels are 20 %: the damage that is promised to heal.
    for flipped in [0, 2, 4, 6, 8, 10, 13, 16, 18, 20, 22, 24, 26, 28, 30, 32] {
        let damaged = damage(&patterns, flipped);
        let shares = [
            noise_once.recalls(&noise, &damage(&noise, flipped))?,
            once.recalls(&patterns, &damaged)?,
            again.recalls(&patterns, &damaged)?,
        ]
        .map(|share| 100.0 * share);
        let percent = 100.0 * flipped as f64 / NEURONS as f64;
        println!("{flipped:3} ({percent:4.1} %) {:29.1} % {:20.1} % {:25.1} %", shares[0], shares[1], shares[2]);
        for (curve, share) in curves.iter_mut().zip(shares) {
            curve.push((percent, share));
        }
        if flipped == 13 {
            healed = shares[2];
        }
    }

    let probes: Vec<f32> =
        damage(&patterns, 13).chunks(COPIES * NEURONS).flat_map(|copies| copies[..NEURONS].to_vec()).collect();
    let rounds = again.rounds(&probes)?;
    let shown = [&patterns, &probes, &rounds[0], &rounds[ROUNDS - 1]];
    picture::save(out, (980, 356), |area| draw(area, &shown, &curves))?;
    picture::promise(healed >= 90.0, format!("with 20 % of the pixels flipped only {healed:.1} % were recalled"))
}

impl Memory {
    fn new(device: &Device) -> Outcome<Self> {
        let store = Store::new(device, 0);
        let connections = [NEURONS, NEURONS];
        // No neuron is connected with itself.
        let mut others = vec![1f32; NEURONS * NEURONS];
        others.iter_mut().step_by(NEURONS + 1).for_each(|own| *own = 0.0);
        let others = Array::new(&connections, others)?;
        // Learning is an update that the program makes itself: no gradient, each connection sees its two neurons alone.
        let learn = Program::compile("learn", &store, Mode::Train, |trace| {
            let weights = trace.scope().state("weights", &connections, DType::F32, Init::Constant(0.0));
            let pattern = trace.input("pattern", &[NEURONS, 1], DType::F32);
            let sure = trace.input("sure", &[1, 1], DType::F32);
            // How strongly the others hold each neuron where it should be; who is not sure learns.
            let hold = &pattern * weights.matmul(&pattern);
            let unsure = hold.less(&sure).cast(DType::F32);
            let together = (&pattern * &unsure).matmul_transposed(&pattern, false, true) / NEURONS as f64;
            trace.update(&weights, &(&weights + together * trace.data(&others)));
            trace.output("unsure", &unsure.sum_all());
        })?;
        let recall = Program::compile("recall", &store, Mode::Evaluate, |trace| {
            let weights = trace.scope().state("weights", &connections, DType::F32, Init::Constant(0.0));
            let mut x = trace.input("probes", &[PATTERNS * COPIES, NEURONS], DType::F32);
            for round in 0..ROUNDS {
                // Row by row x·Wᵀ. A neuron whose inputs balance stays as it is.
                let inputs = x.matmul_transposed(&weights, false, true);
                x = (inputs.sign() * 2.0 + &x).sign();
                trace.output(&format!("round {round}"), &x);
            }
        })?;
        Ok(Memory { learn, recall })
    }

    /// Learns all patterns, pass after pass until every neuron is sure of every pattern; gives the number of passes.
    fn study(&self, patterns: &[f32], sure: f32, most: usize) -> Outcome<usize> {
        let sure = Array::new(&[1, 1], vec![sure])?;
        for pass in 1..=most {
            let mut unsure = 0.0;
            for pattern in patterns.chunks(NEURONS) {
                let pattern = Array::new(&[NEURONS, 1], pattern.to_vec())?;
                unsure += self.learn.call(&[("pattern", &pattern), ("sure", &sure)])?["unsure"].item()?;
            }
            if unsure == 0.0 {
                return Ok(pass);
            }
        }
        Ok(most)
    }

    /// The state after each round, from as many probes as there are patterns, or all copies of all.
    fn rounds(&self, probes: &[f32]) -> Outcome<Vec<Vec<f32>>> {
        let mut all = probes.to_vec();
        all.resize(PATTERNS * COPIES * NEURONS, 1.0);
        let outputs = self.recall.call(&[("probes", &Array::new(&[PATTERNS * COPIES, NEURONS], all)?)])?;
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            rounds.push(outputs[&format!("round {round}")].as_slice::<f32>()?[..probes.len()].to_vec());
        }
        Ok(rounds)
    }

    /// The share of damaged patterns that come back without a wrong pixel.
    fn recalls(&self, patterns: &[f32], damaged: &[f32]) -> Outcome<f64> {
        let last = self.rounds(damaged)?.pop().unwrap_or_default();
        let originals = patterns.chunks(NEURONS).flat_map(|pattern| std::iter::repeat_n(pattern, COPIES));
        let right = last.chunks(NEURONS).zip(originals).filter(|(recalled, original)| recalled == original).count();
        Ok(right as f64 / (PATTERNS * COPIES) as f64)
    }
}

/// The typical digit of every class: 1 where its images have ink on average, else -1.
fn prototypes() -> Outcome<Vec<f32>> {
    let (train, _) = digits()?;
    let images = train.images()?;
    let mut sums = vec![0f32; PATTERNS * NEURONS];
    let mut counts = [0f32; PATTERNS];
    for (image, &label) in images.as_slice::<f32>()?.chunks(NEURONS).zip(train.labels()) {
        let label = label as usize;
        if label < PATTERNS {
            counts[label] += 1.0;
            sums[label * NEURONS..][..NEURONS].iter_mut().zip(image).for_each(|(sum, pixel)| *sum += pixel);
        }
    }
    let active = |(i, sum): (usize, &f32)| if sum / counts[i / NEURONS] > 0.45 { 1.0 } else { -1.0 };
    Ok(sums.iter().enumerate().map(active).collect())
}

/// Copies of all patterns with so many pixels flipped, other ones in each.
fn damage(patterns: &[f32], flipped: usize) -> Vec<f32> {
    let mut stream = Stream::new(7, &format!("damage {flipped}"));
    let mut damaged = Vec::new();
    for pattern in patterns.chunks(NEURONS) {
        for _ in 0..COPIES {
            let mut copy = pattern.to_vec();
            let mut pixels: Vec<usize> = (0..NEURONS).collect();
            for _ in 0..flipped {
                let pixel = pixels.swap_remove(stream.below(pixels.len() as u64) as usize);
                copy[pixel] = -copy[pixel];
            }
            damaged.extend(copy);
        }
    }
    damaged
}

fn draw(area: &Area<'_>, shown: &[&Vec<f32>; 4], curves: &[Vec<(f64, f64)>; 3]) -> Outcome {
    let (left, right) = area.split_horizontally(640);
    let rows = ["learned", "damaged", "1 round", "recalled"];
    picture::label(
        &left,
        (360, 24),
        16,
        INK,
        "eight digits, 13 of 64 pixels flipped, and what the network makes of them",
    )?;
    for (row, (name, patterns)) in rows.iter().zip(shown).enumerate() {
        let top = 46 + 74 * row as i32;
        picture::text(&left, (14, top + 32), 14, INK, name)?;
        for (digit, (pattern, original)) in patterns.chunks(NEURONS).zip(shown[0].chunks(NEURONS)).enumerate() {
            let colour = |(&x, &y): (&f32, &f32)| -> RGBColor {
                let ink = if x > 0.0 { INK } else { blend(WHITE, INK, 0.06) };
                // What is wrong is orange.
                if x == y { ink } else { blend(ink, ORANGE, 0.75) }
            };
            let colours: Vec<RGBColor> = pattern.iter().zip(original).map(colour).collect();
            picture::tile(&left, (90 + 68 * digit as i32, top), 8, 8, &colours)?;
        }
    }
    picture::label(&left, (360, 343), 13, GREY, "orange: pixels that are wrong")?;

    let mut chart =
        picture::chart(&right, "recalled without a mistake", (0.0..50.0, "% of pixels flipped"), (0.0..103.0, "%"))?;
    for (curve, colour) in curves.iter().zip([GREY, ORANGE, BLUE]) {
        picture::line(&mut chart, curve.clone(), colour, 2)?;
        chart.draw_series(curve.iter().map(|&at| Circle::new(at, 3, colour.filled())))?;
    }
    picture::text(&right, (196, 70), 13, BLUE, "digits, until sure")?;
    picture::text(&right, (240, 130), 13, GREY, "noise, once")?;
    picture::text(&right, (88, 290), 13, ORANGE, "digits, once")
}
