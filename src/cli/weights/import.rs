//! `neuropil weights import`: a saved network with the weights of another program.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use neuropil::data::Normalization;
use neuropil::format::weights::{self, Kind, Named};
use neuropil::nn::models;
use neuropil::nn::parameters::{Parameter, parameters};
use neuropil::train::transfer::{self, Matching};
use neuropil::train::{ModelFile, ModelInfo, Settings, Trainer};
use neuropil::{Context, Device, Error, ErrorKind};

use super::super::model::shape_text;
use super::super::output::{Output, Record};
use super::super::{Stop, network};
use super::Layout;

/// What `weights import` takes.
#[derive(Args)]
#[command(group = ArgGroup::new("network").required(true).args(["model", "like"]))]
pub struct Arguments {
    /// The weights: a state dictionary of PyTorch (.pt, .pth; no code of it runs), safetensors or .npz
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The network that they are for: one of those that `train --model` takes, or a FILE.toml with a description
    #[arg(long, value_name = "NAME|FILE.toml", value_parser = network::parse, requires_all = ["image_shape", "classes"])]
    model: Option<String>,
    /// A saved network that they are for, in place of the next three options; its normalisation is kept
    #[arg(long, value_name = "MODEL.safetensors")]
    like: Option<PathBuf>,
    /// Height, width and channels of the images that it takes, such as 32x32x3
    #[arg(long, value_name = "HxWxC", value_parser = image_shape)]
    image_shape: Option<[usize; 3]>,
    /// The names of the classes in the order of the outputs, or how many there are
    #[arg(long, value_name = "N|NAME,NAME…", value_parser = classes)]
    classes: Option<Classes>,
    /// The data set that `evaluate` and `predict --index` take, if it is one by name
    #[arg(long, value_name = "NAME", default_value = "imported")]
    dataset: String,
    /// What pixels in [0, 1] are relative to, a number a channel, where the program that trained it did so
    #[arg(long, value_name = "X,X…", value_delimiter = ',', requires = "deviation", allow_negative_numbers = true)]
    mean: Vec<f32>,
    /// What they are divided by
    #[arg(long, value_name = "X,X…", value_delimiter = ',', requires = "mean")]
    deviation: Vec<f32>,
    /// Which array is which parameter: those of equal names, or in the order in which both declare them, as PyTorch's state
    /// dictionaries and .npz keep it [default: names where all are there, else order]
    #[arg(long = "match", value_name = "names|order", value_enum, hide_possible_values = true)]
    matching: Option<By>,
    /// Replace a part of the names in the file before they are matched, such as layer1.0=stage1_1; may be repeated
    #[arg(long, value_name = "OLD=NEW", value_parser = renaming)]
    rename: Vec<(String, String)>,
    /// How the axes are in the file: pytorch (channels second, flattened images too) or own (channels last)
    #[arg(long, value_enum, value_name = "pytorch|own", default_value = "pytorch", hide_possible_values = true)]
    layout: Layout,
    /// The file of the network
    #[arg(long, value_name = "MODEL.safetensors")]
    save: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Names,
    Order,
}

/// The names of classes.
#[derive(Clone)]
struct Classes(Vec<String>);

fn classes(text: &str) -> Result<Classes, String> {
    /// The most classes that are a number.
    const MAX: usize = 100_000;
    let names: Vec<String> = match text.parse::<usize>() {
        Ok(count) if count <= MAX => (0..count).map(|class| class.to_string()).collect(),
        Ok(_) => Vec::new(),
        Err(_) => text.split(',').map(|name| name.trim().to_owned()).collect(),
    };
    match names.is_empty() || names.iter().any(String::is_empty) {
        true => Err(format!("give a number from 1 to {MAX}, or names with commas between")),
        false => Ok(Classes(names)),
    }
}

fn image_shape(text: &str) -> Result<[usize; 3], String> {
    /// As wide and high as pictures can be read.
    const MAX_EXTENT: usize = 1 << 14;
    let extent = |text: &str| text.parse().ok().filter(|extent| (1..=MAX_EXTENT).contains(extent));
    let extents: Option<Vec<usize>> = text.split('x').map(extent).collect();
    let shape = extents.and_then(|extents| extents.try_into().ok());
    shape.ok_or_else(|| "give height, width and channels as in 32x32x3".to_owned())
}

fn renaming(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(old, _)| !old.is_empty());
    parts.map(|(old, new)| (old.to_owned(), new.to_owned())).ok_or_else(|| "give OLD=NEW".to_owned())
}

/// Reads, matches, and saves.
pub fn run(arguments: &Arguments, output: &Output) -> Result<(), Stop> {
    let like = arguments.like.as_deref().map(ModelFile::load).transpose()?;
    let info = info(arguments, like.as_ref())?;
    let model = models::by_name(&info.model, info.class_names.len())?;
    let wanted = parameters(&model, info.image_shape).context(|| models::title(&info.model))?;
    let (kind, mut given) = weights::load(&arguments.file)?;
    for (name, _) in &mut given {
        for (old, new) in &arguments.rename {
            *name = name.replace(old, new);
        }
    }
    let matching = matching(arguments.matching, kind, &wanted, &given)?;
    let values = transfer::import(&wanted, &given, matching, arguments.layout.into())
        .context(|| arguments.file.display().to_string())?;

    let mut trainer = Trainer::new(&Device::cpu(), model, info.image_shape, Settings::default());
    trainer.start_from(&values, &[])?;
    if let Some(normalization) = normalization(arguments, like.as_ref())? {
        trainer.normalize(&normalization)?;
    }
    let (title, count) = (models::title(&info.model), trainer.store().parameter_count());
    let (shape, classes) = (info.image_shape, info.class_names.len());
    ModelFile { info, weights: trainer.store().weights()? }.save(&arguments.save)?;

    let by = if matching == Matching::Names { "names" } else { "order" };
    let saved = arguments.save.display().to_string();
    let record = Record::event("done")
        .with("kind", kind.to_string())
        .with("model", title.as_str())
        .with("parameters", count)
        .with("match", by)
        .with("saved", saved.as_str());
    let text = format!(
        "{title}: {count} parameters from a {kind}, matched by {by}; images of {}, {classes} classes; saved in {saved}",
        shape_text(shape)
    );
    Ok(output.emit(&record, text)?)
}

/// What the network is.
fn info(arguments: &Arguments, like: Option<&ModelFile>) -> Result<ModelInfo, Error> {
    if let Some(like) = like {
        return Ok(like.info.clone());
    }
    // Clap wants all three together.
    let parts = arguments.model.clone().zip(arguments.image_shape).zip(arguments.classes.clone());
    let ((model, image_shape), Classes(class_names)) = parts.ok_or_else(|| {
        Error::new(ErrorKind::Config, "--model needs --image-shape and --classes; give both, or --like a saved network")
    })?;
    Ok(ModelInfo { model, class_names, image_shape, dataset: arguments.dataset.clone() })
}

/// Whether by names or in the order.
fn matching(asked: Option<By>, kind: Kind, wanted: &[Parameter], given: &Named) -> Result<Matching, Error> {
    let has = |parameter: &Parameter| given.iter().any(|(name, _)| *name == parameter.name);
    match asked {
        Some(By::Names) => Ok(Matching::Names),
        None if kind == Kind::Safetensors || wanted.iter().all(has) => Ok(Matching::Names),
        Some(By::Order) if kind == Kind::Safetensors => {
            let text =
                "--match order: safetensors keeps no order; use --rename to make the names equal, or a .pt or .npz";
            Err(Error::new(ErrorKind::Config, text))
        }
        Some(By::Order) | None => Ok(Matching::Order),
    }
}

fn normalization(arguments: &Arguments, like: Option<&ModelFile>) -> Result<Option<Normalization>, Error> {
    if !arguments.mean.is_empty() {
        let (mean, deviation) = (arguments.mean.clone(), arguments.deviation.clone());
        return Ok(Some(Normalization { mean, deviation }));
    }
    like.map_or(Ok(None), ModelFile::normalization)
}
