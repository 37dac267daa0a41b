//! `neuropil graph`: what a network is made of, as a table, as JSON or drawn.

use std::path::{Path, PathBuf};

use clap::Args;
use neuropil::nn::{Summary, models};
use neuropil::train::ModelFile;
use neuropil::{Error, ErrorKind};

use super::output::{Output, Record};
use super::run::folder::write_text;
use super::{Stop, at_least_one, drawing, network};

/// What `graph` takes.
#[derive(Args)]
pub struct Arguments {
    /// A saved network, a description, or a name as `train --model` takes it
    #[arg(value_name = "MODEL.safetensors|FILE.toml|NAME")]
    model: String,
    /// Of a description or a name: height, width and channels of the images
    #[arg(long, value_name = "HxWxC", default_value = "32x32x3", value_parser = image_shape)]
    image: [usize; 3],
    /// Of a description or a name: the number of classes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    classes: usize,
    /// Draw it into this file
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
}

fn image_shape(text: &str) -> Result<[usize; 3], String> {
    let extents: Result<Vec<usize>, String> = text.split('x').map(at_least_one).collect();
    extents
        .ok()
        .and_then(|extents| extents.try_into().ok())
        .ok_or_else(|| "give three whole numbers, as 32x32x3".to_owned())
}

/// Prints or draws it.
pub fn run(arguments: &Arguments, output: &Output) -> Result<(), Stop> {
    let (title, summary) = summary(arguments)?;
    if let Some(path) = &arguments.svg {
        write_text(path, &drawing::network(&title, &summary)?)?;
    }
    for layer in &summary.layers {
        let record = Record::event("layer")
            .with("path", layer.path.as_str())
            .with("kind", layer.kind())
            .with("inputs", layer.inputs.clone())
            .with("output", layer.output.clone())
            .with("parameters", layer.parameters)
            .with("flops", layer.flops)
            .with("bytes", layer.memory);
        output.record(&record)?;
    }
    let done = Record::event("done")
        .with("model", title.as_str())
        .with("parameters", summary.parameters())
        .with("flops", summary.flops())
        .with("bytes", summary.memory())
        .with("saved", arguments.svg.as_ref().map(|path| path.display().to_string()));
    Ok(output.emit(&done, format_args!("{title}\n{summary}"))?)
}

fn summary(arguments: &Arguments) -> Result<(String, Summary), Error> {
    let path = Path::new(&arguments.model);
    let (model, shape, classes) = if path.extension().is_some_and(|end| end == "safetensors") {
        let info = ModelFile::load(path)?.info;
        (info.model, info.image_shape, info.class_names.len())
    } else {
        let model = network::parse(&arguments.model)
            .map_err(|error| Error::new(ErrorKind::Config, format!("{:?} is no network: {error}", arguments.model)))?;
        (model, arguments.image, arguments.classes)
    };
    Ok((models::title(&model), Summary::of(&models::by_name(&model, classes)?, shape)?))
}
