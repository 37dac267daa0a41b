//! What `evaluate` and `predict` share: saved networks, and the images to try them on.

use std::path::PathBuf;

use clap::Args;
use neuropil::data::Dataset;
use neuropil::train::{ModelFile, Settings, Trainer};
use neuropil::{Context, Device, Error, ErrorKind};

use super::source::{Choice, Source};

/// A network from a file, and the data to try it on.
#[derive(Args)]
pub struct Saved {
    /// A network that `neuropil train --save` wrote
    #[arg(value_name = "MODEL.safetensors")]
    model: PathBuf,
    #[command(flatten)]
    pub source: Source,
}

impl Saved {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, or does not hold a network.
    pub fn read(&self) -> Result<ModelFile, Error> {
        if !self.model.exists() {
            let text = "there is no such file; `neuropil train --save FILE.safetensors` makes one";
            return Err(Error::new(ErrorKind::Io, text).context(self.model.display().to_string()));
        }
        ModelFile::load(&self.model)
    }

    /// The test images to try `file` on.
    ///
    /// # Errors
    /// When they cannot be read, or are of other classes than the network's.
    pub fn test_images(&self, file: &ModelFile) -> Result<Dataset, Error> {
        let saved = || {
            Choice::of_saved(&file.info.dataset).ok_or_else(|| {
                let (model, right) = (self.model.display(), &file.info.dataset);
                let text =
                    format!("{model}: it was trained on {right:?}, which is not found by that; name a --dataset");
                Error::new(ErrorKind::Config, text)
            })
        };
        let choice = self.source.dataset.clone().map_or_else(saved, Ok)?;
        let (_, test) = self.source.load_as(&choice, Some(file.info.image_shape))?;
        let text_of = |shape, classes: &[String]| format!("{} images of {}", shape_text(shape), classes.join(", "));
        let takes = text_of(file.info.image_shape, &file.info.class_names);
        let gets = text_of(test.image_shape(), test.class_names());
        if takes != gets {
            let (model, data, right) = (self.model.display(), test.name(), &file.info.dataset);
            let text = format!(
                "{model}: the network takes {takes}; {data} has {gets}; use the --dataset that it was trained on, {right}"
            );
            return Err(Error::new(ErrorKind::Config, text));
        }
        Ok(test)
    }

    /// The network, ready on `device`.
    ///
    /// # Errors
    /// When the weights do not fit the network that the file names.
    pub fn open(&self, file: &ModelFile, device: &Device) -> Result<Trainer, Error> {
        Trainer::open(device, file, Settings::default()).context(|| self.model.display().to_string())
    }
}

/// Height, width and channels as people write them: `28×28×1`.
pub fn shape_text(shape: [usize; 3]) -> String {
    shape.map(|extent| extent.to_string()).join("×")
}
