//! `neuropil predict`: the classes of images, with a saved network.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use neuropil::data::{Dataset, folder};
use neuropil::train::Trainer;
use neuropil::{Array, Error, ErrorKind};
use serde_json::json;

use super::model::{Saved, shape_text};
use super::output::{Output, Record, device_line, percent, rounded};
use super::{Common, Stop, at_least_one, pgm, whole};

/// How many images are classified at a time.
const BATCH: usize = Trainer::EVALUATION_BATCH;

const USAGE: &str = "neuropil predict [OPTIONS] <MODEL.safetensors> <IMAGE.pgm|png|jpg>...
       neuropil predict [OPTIONS] <MODEL.safetensors> --index <N>...";

/// What `predict` takes.
#[derive(Args)]
#[command(group = ArgGroup::new("images").required(true), override_usage = USAGE)]
pub struct Arguments {
    #[command(flatten)]
    saved: Saved,
    /// Images of the size that the network takes, or scaled to it with --image-size: JPEG, PNG, GIF, BMP, WebP, binary PGM
    /// (P5); digits as bright ink on black, as in the data sets
    #[arg(value_name = "IMAGE.pgm|png|jpg", group = "images")]
    files: Vec<PathBuf>,
    /// Test images of the data set by their numbers, counted from 0
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',', group = "images", value_parser = whole::<usize>)]
    index: Vec<usize>,
    /// How many classes are named for each image
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one)]
    top: usize,
}

/// An image to classify.
struct Image {
    source: Source,
    /// Row-major, in [0, 1].
    pixels: Vec<f32>,
    /// The right class, where it is known.
    label: Option<u32>,
}

enum Source {
    File(String),
    /// The number of a test image.
    Test(usize),
}

/// Prints the likeliest classes of every image.
pub fn run(arguments: &Arguments, common: &Common, output: &Output) -> Result<(), Stop> {
    let file = arguments.saved.read()?;
    let (classes, shape) = (&file.info.class_names, file.info.image_shape);
    let images = if arguments.index.is_empty() {
        arguments
            .files
            .iter()
            .map(|path| read_image(path, shape, arguments.saved.source.image_size))
            .collect::<Result<Vec<_>, _>>()?
    } else {
        test_images(&arguments.index, &arguments.saved.test_images(&file)?)?
    };
    let device = common.open_device()?;
    let mut trainer = arguments.saved.open(&file, &device)?;
    output.text(device_line(&device))?;

    for batch in images.chunks(BATCH) {
        let pixels = batch.iter().flat_map(|image| image.pixels.iter().copied()).collect();
        let probabilities = trainer.predict(&Array::new(&[batch.len(), shape[0], shape[1], shape[2]], pixels)?)?;
        for (image, probabilities) in batch.iter().zip(probabilities.as_slice::<f32>()?.chunks(classes.len())) {
            print_image(image, probabilities, classes, arguments.top, output)?;
        }
    }
    let done = Record::event("done").with_device(&device).with("images", images.len());
    Ok(output.record(&done)?)
}

fn read_image(path: &Path, shape: [usize; 3], size: Option<[usize; 2]>) -> Result<Image, Error> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let (found, pixels) = if folder::EXTENSIONS.contains(&extension.as_str()) {
        let picture = folder::picture(path, size, shape[2])?;
        ([picture.shape()[0], picture.shape()[1], shape[2]], picture.as_slice::<f32>()?.to_vec())
    } else {
        let image = pgm::read(path)?;
        ([image.height, image.width, 1], image.pixels)
    };
    if found != shape {
        let text = format!(
            "{}: the image is {} (height, width, channels), the network takes {}; scale it to that size",
            path.display(),
            shape_text(found),
            shape_text(shape)
        );
        return Err(Error::new(ErrorKind::Shape, text));
    }
    Ok(Image { source: Source::File(path.display().to_string()), pixels, label: None })
}

fn test_images(indices: &[usize], data: &Dataset) -> Result<Vec<Image>, Error> {
    if let Some(index) = indices.iter().find(|&&index| index >= data.len()) {
        let text = format!("--index {index}: {} has the test images 0 to {}", data.name(), data.len() - 1);
        return Err(Error::new(ErrorKind::Config, text));
    }
    let chosen = data.subset(indices)?;
    let pixels = chosen.images()?;
    let pixels = pixels.as_slice::<f32>()?.chunks(chosen.image_shape().iter().product());
    let images = indices.iter().zip(pixels).zip(chosen.labels());
    let image = |((&index, pixels), &label): ((&usize, &[f32]), _)| Image {
        source: Source::Test(index),
        pixels: pixels.to_vec(),
        label: Some(label),
    };
    Ok(images.map(image).collect())
}

fn print_image(
    image: &Image,
    probabilities: &[f32],
    classes: &[String],
    top: usize,
    output: &Output,
) -> Result<(), Stop> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let best: Vec<(usize, f64)> =
        order.into_iter().take(top).map(|class| (class, f64::from(probabilities[class]))).collect();
    let Some(&(class, probability)) = best.first() else { return Ok(()) };
    let label = image.label.map(|label| classes[label as usize].as_str());
    let (name, file, index) = match &image.source {
        Source::File(path) => (path.clone(), Some(path.as_str()), None),
        Source::Test(index) => (format!("test image {index}"), None, Some(*index)),
    };
    let value = |&(class, p): &(usize, f64)| json!({ "class": classes[class], "probability": rounded(p) });
    let record = Record::event("prediction")
        .with("file", file)
        .with("index", index)
        .with("class", classes[class].as_str())
        .with_number("probability", probability)
        .with("label", label)
        .with("top", best.iter().map(value).collect::<Vec<_>>());

    let named: Vec<String> = best.iter().map(|&(class, p)| format!("{} ({})", classes[class], percent(p))).collect();
    let verdict = match label {
        None => String::new(),
        Some(label) if label == classes[class] => "; right".to_owned(),
        Some(label) => format!("; wrong, it is {label}"),
    };
    Ok(output.emit(&record, format_args!("{name}: {}{verdict}", named.join(", ")))?)
}
