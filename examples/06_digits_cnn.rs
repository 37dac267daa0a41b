//! A convolutional network learns to read digits; its weights go to a file and into a new model; and a look inside: its
//! filters, what they answer to a digit, and what part of the image a neuron sees.
//!
//! Neurons of the visual cortex see a small field each, those of later areas larger ones (Hubel and Wiesel 1962). So here:
//! a filter of 3×3 pixels sees those alone, one of the next layer what nine of them see.
//!
//! `cargo run --release --example 06_digits_cnn -- [device] [--out FILE]`

use std::ops::ControlFlow;
use std::path::Path;

use neuropil::data::{Dataset, digits};
use neuropil::nn::models::{ConvBlock, small_cnn};
use neuropil::nn::{Conv2d, MaxPool2d, Module};
use neuropil::train::{ModelFile, ModelInfo, Settings, Trainer};
use neuropil::{Array, DType, Device, Mode, Program, Store};

#[path = "common/picture.rs"]
mod picture;
use picture::{Area, GREEN, GREY, INK, Outcome, blend};
use plotters::prelude::{RGBColor, WHITE};

const BLOCKS: [&str; 3] = ["block1", "block2", "block3"];
/// Channels of each block that are drawn.
const SHOWN: usize = 8;

/// What is inside of a trained network.
struct Inside {
    /// The first layer's filters, 3×3 each.
    filters: Vec<f32>,
    digit: Vec<f32>,
    /// What the channels of each block answer to the digit: pixels a side, then channel by channel.
    answers: Vec<(usize, Vec<Vec<f32>>)>,
    /// How much a neuron in the middle of each block depends on each pixel.
    fields: Vec<Vec<f32>>,
}

fn main() -> Outcome {
    let (device, out) = picture::arguments("cnn.svg")?;
    run(&device, &out)
}

/// Trains, saves, restores, and draws the inside.
pub fn run(device: &Device, out: &Path) -> Outcome {
    // 1,797 scanned digits of 8×8 pixels are part of the crate. Images are [N, H, W, C]: channels last.
    let (train, test) = digits()?;
    println!("On {}: {} digits to train on, {} to test", device.name(), train.len(), test.len());

    // The trainer is the loop around programs: batches, learning rate, metrics. AdamW and a cosine schedule are its
    // defaults; what differs from them is said here.
    let settings = Settings { epochs: 10, ..Settings::default() };
    let mut trainer = Trainer::new(device, small_cnn(train.classes()), train.image_shape(), settings);
    trainer.fit(&train, Some(&test), |epoch| {
        let accuracy = epoch.test.map_or(0.0, |test| 100.0 * test.accuracy);
        println!("epoch {:2}: loss {:.4}, test {accuracy:.1} %", epoch.number, epoch.train.loss);
        ControlFlow::Continue(())
    })?;

    // A model file is safetensors: weights by name, and in its metadata what prediction needs.
    let path = std::env::temp_dir().join(format!("neuropil_digits_{}.safetensors", std::process::id()));
    let info = ModelInfo {
        model: "small_cnn".to_owned(),
        class_names: train.class_names().to_vec(),
        image_shape: train.image_shape(),
        dataset: train.name().to_owned(),
    };
    ModelFile { info, weights: trainer.store().weights()? }.save(&path)?;
    println!("\nSaved {} parameters to {}", trainer.store().parameter_count(), path.display());

    // Everything that is needed to go on is in the file: another program, or another machine, would do this.
    let mut restored = Trainer::open(device, &ModelFile::load(&path)?, Settings::default())?;
    std::fs::remove_file(&path)?;
    let accuracy = restored.evaluate(&test)?.accuracy;
    println!("Restored: test {:.1} %\n", 100.0 * accuracy);
    doubts(&mut restored, &test)?;

    let inside = look(restored.store(), &test)?;
    for (name, field) in BLOCKS.iter().zip(&inside.fields) {
        let seen = field.iter().filter(|&&pixel| pixel > 0.0).count();
        println!("A neuron in the middle of {name} sees {seen} of 64 pixels.");
    }
    picture::save(out, (980, 470), |area| draw(area, &inside))?;
    picture::promise(accuracy > 0.97, "the network reads less than 97 % of the digits")
}

/// The three digits of which the network is least sure.
fn doubts(trainer: &mut Trainer, test: &Dataset) -> Outcome {
    println!("The three digits that it is least sure of:\n");
    let probabilities = trainer.predict(&test.images()?)?;
    let guesses: Vec<(usize, f32)> = probabilities.as_slice::<f32>()?.chunks(test.classes()).map(likeliest).collect();
    let mut order: Vec<usize> = (0..test.len()).collect();
    order.sort_by(|&a, &b| guesses[a].1.total_cmp(&guesses[b].1));
    for &index in &order[..3] {
        print(&test.batch(&[index])?.0)?;
        let (class, probability) = guesses[index];
        let (read, is) = (&test.class_names()[class], &test.class_names()[test.labels()[index] as usize]);
        println!("    read as {read}, {:.0} % sure; it is {is}\n", 100.0 * probability);
    }
    Ok(())
}

/// The class of the largest probability, and that.
fn likeliest(probabilities: &[f32]) -> (usize, f32) {
    probabilities.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
}

/// A digit as text.
fn print(image: &Array) -> Outcome {
    const INK: &[u8] = b" .:-=+*#%@";
    for line in image.as_slice::<f32>()?.chunks(image.shape()[2]) {
        let shade = |pixel: &f32| char::from(INK[(pixel * (INK.len() - 1) as f32) as usize]);
        println!("    {}", line.iter().flat_map(|pixel| [shade(pixel); 2]).collect::<String>());
    }
    Ok(())
}

/// The trained layers again, in a program that gives what lies between them. It finds the weights by their names.
fn look(store: &Store, test: &Dataset) -> Outcome<Inside> {
    let count = test.len();
    let program = Program::compile("look", store, Mode::Evaluate, |trace| {
        let images = trace.input("images", &[count, 8, 8, 1], DType::F32);
        let mut x = images.clone();
        for (name, channels) in BLOCKS.into_iter().zip([32, 32, 64]) {
            let block = ConvBlock { conv: Conv2d::new(channels, 3).padding(1) };
            x = block.forward(&trace.scope().enter(name), x);
            trace.output(name, &x);
            // One place in the middle, all channels and images: how does each pixel change it? Averaged over the images
            // that is the receptive field (Luo et al. 2016).
            let middle = x.shape()[1] / 2;
            let neuron = x.slice(&[0..count, middle..middle + 1, middle..middle + 1, 0..channels]).sum_all();
            let slopes = trace.gradient(&neuron, &[&images]).remove(0);
            trace.output(&format!("field of {name}"), &slopes.abs().mean(&[0]));
            if name != "block1" {
                x = MaxPool2d::new(2).forward(&trace.scope(), x);
            }
        }
    })?;
    let outputs = program.call(&[("images", &test.images()?)])?;
    let shown = test.labels().iter().position(|&label| label == 3).unwrap_or_default();
    let mut inside = Inside {
        filters: store.get("block1.conv.weight")?.as_slice::<f32>()?.to_vec(),
        digit: test.batch(&[shown])?.0.as_slice::<f32>()?.to_vec(),
        answers: Vec::new(),
        fields: Vec::new(),
    };
    for name in BLOCKS {
        let answers = &outputs[name];
        let (side, channels) = (answers.shape()[1], answers.shape()[3]);
        let of_digit = &answers.as_slice::<f32>()?[shown * side * side * channels..][..side * side * channels];
        let channel = |c: usize| of_digit.iter().skip(c).step_by(channels).copied().collect();
        inside.answers.push((side, (0..SHOWN).map(channel).collect()));
        inside.fields.push(outputs[&format!("field of {name}")].as_slice::<f32>()?.to_vec());
    }
    Ok(inside)
}

fn draw(area: &Area<'_>, inside: &Inside) -> Outcome {
    // Left: the filters, by the strongest weight of all.
    picture::label(area, (112, 26), 16, INK, "32 filters of the first layer")?;
    let strongest = inside.filters.iter().fold(0f32, |most, weight| most.max(weight.abs()));
    for (i, filter) in inside.filters.chunks(9).enumerate() {
        let colours: Vec<RGBColor> =
            filter.iter().map(|weight| picture::signed(f64::from(weight / strongest))).collect();
        let corner = (20 + 48 * (i % 4) as i32, 48 + 48 * (i / 4) as i32);
        picture::tile(area, corner, 13, 3, &colours)?;
    }
    picture::label(area, (112, 448), 13, GREY, "blue: negative, orange: positive")?;

    // The middle: a digit, and below what the channels of each block answer.
    picture::label(area, (510, 26), 16, INK, "what eight channels of each block answer to a digit")?;
    picture::image(area, (474, 48), 9, 8, &inside.digit)?;
    for (row, (name, (side, channels))) in BLOCKS.iter().zip(&inside.answers).enumerate() {
        let top = 164 + 92 * row as i32;
        picture::text(area, (252, top - 13), 13, GREY, &format!("{name}: {side}×{side}"))?;
        let cell = 56 / *side as i32;
        for (column, pixels) in channels.iter().enumerate() {
            let most = pixels.iter().fold(1e-6f32, |most, pixel| most.max(*pixel));
            let pixels: Vec<f32> = pixels.iter().map(|pixel| pixel / most).collect();
            picture::image(area, (252 + 64 * column as i32, top), cell, *side, &pixels)?;
        }
    }
    picture::label(area, (510, 448), 13, GREY, "dark: a strong answer")?;

    // Right: receptive fields.
    picture::label(area, (880, 26), 16, INK, "what a neuron sees")?;
    for (row, (name, field)) in BLOCKS.iter().zip(&inside.fields).enumerate() {
        let most = field.iter().fold(1e-12f32, |most, pixel| most.max(*pixel));
        // The square root, so that the weak rim shows too.
        let share = |pixel: &f32| f64::from(pixel / most).sqrt();
        let colours: Vec<RGBColor> = field.iter().map(|pixel| blend(WHITE, GREEN, share(pixel))).collect();
        let top = 48 + 132 * row as i32;
        picture::tile(area, (828, top), 13, 8, &colours)?;
        picture::label(area, (880, top + 116), 13, GREY, &format!("in the middle of {name}"))?;
    }
    Ok(())
}
