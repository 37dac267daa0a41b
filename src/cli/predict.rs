//! `neuropil predict`: the classes of images, with a saved network.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use neuropil::data::{Dataset, folder};
use neuropil::{Array, Error, ErrorKind};
use serde_json::json;

use super::model::{Saved, shape_text};
use super::output::{Output, Record, device_line, percent, rounded};
use super::{Common, Stop, at_least_one, pgm, whole};

const USAGE: &str = "neuropil predict [OPTIONS] <MODEL.safetensors> <IMAGE.pgm|png|jpg>...
       neuropil predict [OPTIONS] <MODEL.safetensors> --index <N>...";

/// What `predict` takes.
#[derive(Args)]
#[command(group = ArgGroup::new("images").required(true), override_usage = USAGE)]
pub struct Arguments {
    #[command(flatten)]
    saved: Saved,
    /// Pictures of any size, gray or colored: JPEG, PNG, GIF, BMP, WebP, binary PGM (P5). They are scaled to what the network
    /// takes, as folders are in training (the middle is kept where proportions differ), and made gray or colored; digits as
    /// bright ink on black, as in the data sets
    #[arg(value_name = "IMAGE.pgm|png|jpg", group = "images")]
    files: Vec<PathBuf>,
    /// Test images of the data set by their numbers, counted from 0
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',', group = "images", value_parser = whole::<usize>)]
    index: Vec<usize>,
    /// What is behind transparent parts of pictures: black, white or a color as in #ff8000
    #[arg(long, value_name = "COLOR", default_value = "black", value_parser = color)]
    background: [u8; 3],
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
            .map(|path| read_image(path, shape, arguments.background))
            .collect::<Result<Vec<_>, _>>()?
    } else {
        test_images(&arguments.index, &arguments.saved.test_images(&file)?)?
    };
    let device = common.open_device()?;
    let mut trainer = arguments.saved.open(&file, &device)?;
    output.text(device_line(&device))?;

    let batch = trainer.prediction_batch(images.len())?;
    for batch in images.chunks(batch) {
        let pixels = batch.iter().flat_map(|image| image.pixels.iter().copied()).collect();
        let probabilities = trainer.predict(&Array::new(&[batch.len(), shape[0], shape[1], shape[2]], pixels)?)?;
        for (image, probabilities) in batch.iter().zip(probabilities.as_slice::<f32>()?.chunks(classes.len())) {
            print_image(image, probabilities, classes, arguments.top, output)?;
        }
    }
    let done = Record::event("done").with_device(&device).with("images", images.len());
    Ok(output.record(&done)?)
}

/// The picture in a file as the network takes it.
fn read_image(path: &Path, shape: [usize; 3], background: [u8; 3]) -> Result<Image, Error> {
    let [height, width, channels] = shape;
    let pixels = if is_pgm(path)? {
        let image = pgm::read(path)?;
        if !is_pictures(channels) {
            return Err(no_pictures(path, shape));
        }
        match [image.height, image.width] == [height, width] && channels == 1 {
            true => image.pixels,
            false => {
                let size = [image.height, image.width];
                folder::scaled_gray(&image.pixels, size, [height, width], channels)?.as_slice::<f32>()?.to_vec()
            }
        }
    } else if is_pictures(channels) {
        folder::picture_on(path, Some([height, width]), channels, background)?.as_slice::<f32>()?.to_vec()
    } else {
        return Err(no_pictures(path, shape));
    };
    Ok(Image { source: Source::File(path.display().to_string()), pixels, label: None })
}

/// Whether a file is, or is called, a PGM.
fn is_pgm(path: &Path) -> Result<bool, Error> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(2).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    Ok(start == b"P5" || path.extension().is_some_and(|end| end.eq_ignore_ascii_case("pgm")))
}

fn is_pictures(channels: usize) -> bool {
    [1, 3].contains(&channels)
}

fn no_pictures(path: &Path, shape: [usize; 3]) -> Error {
    let text = format!(
        "{}: the network takes images of {} (height, width, channels), and pictures have 1 or 3 channels; use --index",
        path.display(),
        shape_text(shape)
    );
    Error::new(ErrorKind::Shape, text)
}

/// Parses a color.
fn color(text: &str) -> Result<[u8; 3], String> {
    let hex = |text: &str| {
        let parts: Option<Vec<u8>> = [0, 2, 4]
            .iter()
            .map(|&at| text.get(at..at + 2).and_then(|part| u8::from_str_radix(part, 16).ok()))
            .collect();
        parts.filter(|_| text.len() == 6).and_then(|parts| parts.try_into().ok())
    };
    match text {
        "black" => Ok([0; 3]),
        "white" => Ok([u8::MAX; 3]),
        other => {
            other.strip_prefix('#').and_then(hex).ok_or_else(|| "give black, white or a color as #ff8000".to_owned())
        }
    }
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
