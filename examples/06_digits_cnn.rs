//! A convolutional network learns to read digits; its weights go to a file and into a new model.
//!
//! `cargo run --release --example 06_digits_cnn [device]`

use std::ops::ControlFlow;

use neuropil::data::digits;
use neuropil::nn::models::small_cnn;
use neuropil::train::{ModelFile, ModelInfo, Settings, Trainer};
use neuropil::{Array, Device, Result};

fn main() -> Result<()> {
    let device = Device::select(std::env::args().nth(1).as_deref().unwrap_or("auto"))?;

    // 1,797 scanned digits of 8×8 pixels are part of the crate. Images are [N, H, W, C]: channels last.
    let (train, test) = digits()?;
    println!("On {}: {} digits to train on, {} to test", device.name(), train.len(), test.len());

    // The trainer is the loop around programs: batches, learning rate, metrics. AdamW and a cosine schedule are its
    // defaults; what differs from them is said here.
    let settings = Settings { epochs: 10, ..Settings::default() };
    let mut trainer = Trainer::new(&device, small_cnn(train.classes()), train.image_shape(), settings);
    trainer.fit(&train, Some(&test), |epoch| {
        let accuracy = epoch.test.map_or(0.0, |test| 100.0 * test.accuracy);
        println!("epoch {:2}: loss {:.4}, test {accuracy:.1} %", epoch.number, epoch.train.loss);
        ControlFlow::Continue(())
    })?;

    // A model file is safetensors: weights by name, and in its metadata what prediction needs.
    let path = std::env::temp_dir().join("neuropil_digits.safetensors");
    let info = ModelInfo {
        model: "small_cnn".to_owned(),
        class_names: train.class_names().to_vec(),
        image_shape: train.image_shape(),
        dataset: train.name().to_owned(),
    };
    ModelFile { info, weights: trainer.store().weights()? }.save(&path)?;
    println!("\nSaved {} parameters to {}", trainer.store().parameter_count(), path.display());

    // Everything that is needed to go on is in the file: another program, or another machine, would do this.
    let mut restored = Trainer::open(&device, &ModelFile::load(&path)?, Settings::default())?;
    println!("Restored: test {:.1} %\n", 100.0 * restored.evaluate(&test)?.accuracy);

    println!("The three digits that it is least sure of:\n");
    let probabilities = restored.predict(&test.images()?)?;
    let guesses: Vec<(usize, f32)> = probabilities.as_slice::<f32>()?.chunks(test.classes()).map(likeliest).collect();
    let mut order: Vec<usize> = (0..test.len()).collect();
    order.sort_by(|&a, &b| guesses[a].1.total_cmp(&guesses[b].1));
    for &index in &order[..3] {
        draw(&test.batch(&[index])?.0)?;
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
fn draw(image: &Array) -> Result<()> {
    const INK: &[u8] = b" .:-=+*#%@";
    for line in image.as_slice::<f32>()?.chunks(image.shape()[2]) {
        let shade = |pixel: &f32| char::from(INK[(pixel * (INK.len() - 1) as f32) as usize]);
        println!("    {}", line.iter().flat_map(|pixel| [shade(pixel); 2]).collect::<String>());
    }
    Ok(())
}
