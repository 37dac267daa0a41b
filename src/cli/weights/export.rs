//! `neuropil weights export`: the weights of a saved network for another program.

use std::path::PathBuf;

use clap::Args;
use neuropil::format::weights::{self, Kind};
use neuropil::nn::models;
use neuropil::nn::parameters::parameters;
use neuropil::train::{ModelFile, transfer};
use neuropil::{Context, Error, ErrorKind};

use super::super::Stop;
use super::super::output::{Output, Record, counted};
use super::Layout;

/// What `weights export` takes.
#[derive(Args)]
pub struct Arguments {
    /// A network that `neuropil train --save` or `neuropil weights import` wrote
    #[arg(value_name = "MODEL.safetensors")]
    model: PathBuf,
    /// Where to: .safetensors, or .npz, which keeps the order of the layers
    #[arg(long, value_name = "FILE.safetensors|FILE.npz")]
    save: PathBuf,
    /// Call the arrays as this file does, in its order: a state dictionary of PyTorch or an .npz for the same network [default:
    /// the names of the network's own layers]
    #[arg(long, value_name = "FILE.pt|FILE.npz")]
    names_of: Option<PathBuf>,
    /// How the axes shall be: pytorch (channels second, flattened images too) or own (channels last)
    #[arg(long, value_enum, value_name = "pytorch|own", default_value = "pytorch", hide_possible_values = true)]
    layout: Layout,
}

/// Writes the file, and says what is not in it.
pub fn run(arguments: &Arguments, output: &Output) -> Result<(), Stop> {
    let file = ModelFile::load(&arguments.model)?;
    let here = || arguments.model.display().to_string();
    let model = file.network().context(here)?;
    let wanted = parameters(&model, file.info.image_shape).context(here)?;
    let names = arguments.names_of.as_deref().map(|path| match weights::load(path)? {
        (Kind::Safetensors, _) => {
            let text = format!("--names-of {}: safetensors keeps no order; name a .pt or .npz", path.display());
            Err(Error::new(ErrorKind::Config, text))
        }
        (_, names) => Ok(names),
    });
    let names = names.transpose()?;
    let arrays = transfer::export(&wanted, &file.weights, names.as_deref(), arguments.layout.into()).context(here)?;
    weights::save(&arguments.save, &arrays)?;

    let normalization = file.normalization()?;
    let (title, saved) = (models::title(&file.info.model), arguments.save.display().to_string());
    let mut record = Record::event("done")
        .with("model", title.as_str())
        .with("arrays", arrays.len())
        .with("layout", if arguments.layout == Layout::Pytorch { "pytorch" } else { "own" })
        .with("saved", saved.as_str());
    let mut text = format!("{title}: {} saved in {saved}", counted(arrays.len(), "array"));
    if let Some(normalization) = &normalization {
        let (mean, deviation) = (&normalization.mean, &normalization.deviation);
        record = record.with("mean", mean.as_slice()).with("deviation", deviation.as_slice());
        text += &format!("; give it pixels in [0, 1] relative to the mean {mean:?} and the deviation {deviation:?}");
    }
    Ok(output.emit(&record, text)?)
}
