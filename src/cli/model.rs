//! What `train`, `evaluate` and `predict` share: data sets by name, and saved networks.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use neuropil::data::{Dataset, digits, idx};
use neuropil::train::{ModelFile, ModelInfo, Settings, Trainer};
use neuropil::{Context, Device, Error, ErrorKind};

/// The data sets that the command knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatasetName {
    Digits,
    Mnist,
    FashionMnist,
}

impl DatasetName {
    /// The name, as it is written on the command line and in saved networks.
    pub fn as_str(self) -> &'static str {
        match self {
            DatasetName::Digits => "digits",
            DatasetName::Mnist => "mnist",
            DatasetName::FashionMnist => "fashion-mnist",
        }
    }

    /// The data set that a network was trained on.
    fn of(info: &ModelInfo) -> Result<Self, Error> {
        Self::from_str(&info.dataset, false).map_err(|_| {
            let text = format!("it was trained on {:?}, which is not known here; name a --dataset", info.dataset);
            Error::new(ErrorKind::Config, text)
        })
    }

    /// Reads the (train, test) parts.
    ///
    /// # Errors
    /// A folder that is missing, or not wanted; files that are missing or damaged.
    pub fn load(self, folder: Option<&Path>) -> Result<(Dataset, Dataset), Error> {
        match (self, folder) {
            (DatasetName::Digits, None) => digits(),
            (DatasetName::Digits, Some(_)) => {
                let text = "--data-dir: the digits are part of the program; leave it out, or name another --dataset";
                Err(Error::new(ErrorKind::Config, text))
            }
            (name, None) => {
                let name = name.as_str();
                let text = format!("{name} comes as four files; say in which folder they are with --data-dir");
                Err(Error::new(ErrorKind::Config, text))
            }
            (name, Some(folder)) => idx::dataset(folder, name.as_str()),
        }
    }
}

/// A network from a file, and the data to try it on.
#[derive(Args)]
pub struct Saved {
    /// A network that `neuropil train --save` wrote
    #[arg(value_name = "MODEL.safetensors")]
    model: PathBuf,
    /// The data set with the images: digits, mnist or fashion-mnist [default: the one that the network was trained on]
    #[arg(long, value_enum, value_name = "NAME", hide_possible_values = true)]
    dataset: Option<DatasetName>,
    /// The folder with the four files of mnist or fashion-mnist, or with a subfolder of that name
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
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
        let name = match self.dataset {
            Some(name) => name,
            None => DatasetName::of(&file.info).context(|| self.model.display().to_string())?,
        };
        let (_, test) = name.load(self.data_dir.as_deref())?;
        let text_of = |shape, classes: &[String]| format!("{} images of {}", shape_text(shape), classes.join(", "));
        let takes = text_of(file.info.image_shape, &file.info.class_names);
        let gets = text_of(test.image_shape(), test.class_names());
        if takes != gets {
            let (model, data, right) = (self.model.display(), test.name(), &file.info.dataset);
            let text = format!("{model}: the network takes {takes}; {data} has {gets}; use --dataset {right}");
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
