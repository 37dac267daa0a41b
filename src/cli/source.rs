//! Where `train`, `evaluate` and `predict` get their images: data sets by name, folders of pictures.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::builder::{EnumValueParser, TypedValueParser};
use clap::error::ErrorKind as UsageError;
use clap::{Arg, Args, Command, ValueEnum};
use neuropil::data::{Dataset, cifar, digits, folder, idx};
use neuropil::{Error, ErrorKind};

/// The data sets that the command knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatasetName {
    Digits,
    Mnist,
    FashionMnist,
    Cifar10,
    Cifar100,
}

impl DatasetName {
    /// The name, as it is written on the command line and in saved networks.
    fn as_str(self) -> &'static str {
        match self {
            DatasetName::Digits => "digits",
            DatasetName::Mnist => "mnist",
            DatasetName::FashionMnist => "fashion-mnist",
            DatasetName::Cifar10 => "cifar10",
            DatasetName::Cifar100 => "cifar100",
        }
    }
}

/// What `--dataset` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A data set by name, also where there is a folder of that name: `./mnist` is the folder.
    Known(DatasetName),
    /// A folder of pictures.
    Folder(PathBuf),
}

impl Choice {
    /// The data set that a saved network calls `text`, if it can be found by that.
    pub fn of_saved(text: &str) -> Option<Self> {
        DatasetName::from_str(text, false).ok().map(Choice::Known)
    }

    /// What the command line calls it, from anywhere.
    ///
    /// # Errors
    /// When it is a folder whose path is not Unicode, which a config cannot hold.
    pub fn to_text(&self) -> Result<String, Error> {
        match self {
            Choice::Known(name) => Ok(name.as_str().to_owned()),
            Choice::Folder(path) => {
                let path = std::path::absolute(path).map_err(|e| Error::io(path, e))?;
                path.to_str().map(str::to_owned).ok_or_else(|| {
                    let text = format!("--dataset {}: a config can hold Unicode alone; rename it", path.display());
                    Error::new(ErrorKind::Config, text)
                })
            }
        }
    }

    /// What a saved network calls the data set, of which `data` is a part.
    pub fn saved(&self, data: &Dataset) -> String {
        match self {
            Choice::Known(name) => name.as_str().to_owned(),
            Choice::Folder(_) => format!("folder {}", data.name()),
        }
    }
}

/// Parses a [`Choice`].
#[derive(Clone)]
struct ChoiceParser;

impl TypedValueParser for ChoiceParser {
    type Value = Choice;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<Choice, clap::Error> {
        let known = EnumValueParser::<DatasetName>::new().parse_ref(command, argument, value);
        let path = Path::new(value);
        match known {
            Ok(name) => Ok(Choice::Known(name)),
            Err(_) if path.is_dir() => Ok(Choice::Folder(path.to_path_buf())),
            Err(_) if path.components().count() > 1 => {
                let text = format!("--dataset {}: there is no such folder; check the path\n", path.display());
                Err(clap::Error::raw(UsageError::ValueValidation, text).with_cmd(command))
            }
            Err(unknown) => Err(unknown),
        }
    }
}

/// Which images, and how they are read.
#[derive(Args)]
pub struct Source {
    /// The images: digits (1,797 of 8×8, part of the program), mnist (70,000 digits of 28×28), fashion-mnist (70,000 pieces
    /// of clothing of 28×28), cifar10 or cifar100 (60,000 photographs of 32×32), or a folder of pictures with
    /// train/CLASS/* and test/CLASS/*, or with CLASS/*, of which a fifth is for testing [default: digits to train on, else
    /// what the network was trained on]
    #[arg(long, value_parser = ChoiceParser, value_name = "NAME|FOLDER")]
    pub dataset: Option<Choice>,
    /// The folder with the files of mnist, fashion-mnist, cifar10 or cifar100, or with a subfolder of that name
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Scale pictures to this height and width, such as 64 or 48x64; the middle is kept where proportions differ
    #[arg(long, value_name = "N|HxW", value_parser = size)]
    pub image_size: Option<[usize; 2]>,
    /// Which pictures of a folder without train and test are for testing
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = super::whole::<u64>)]
    split_seed: u64,
    /// Leave out pictures that are damaged or of another size, and classes without any, after naming them
    #[arg(long)]
    skip_bad: bool,
}

impl Source {
    /// Reads the (train, test) parts of `choice`. Names on stderr what cannot be used, one line each.
    ///
    /// # Errors
    /// A folder that is missing, or not wanted; files that are missing or damaged and are not to be skipped.
    pub fn load(&self, choice: &Choice) -> Result<(Dataset, Dataset), Error> {
        let config = |text: String| Err(Error::new(ErrorKind::Config, text));
        match (choice, self.data_dir.as_deref()) {
            (Choice::Folder(_), Some(_)) => {
                config("--data-dir is for data sets by name; leave it out where --dataset is a folder".to_owned())
            }
            (Choice::Folder(path), None) => self.load_folder(path),
            (Choice::Known(name), _) if self.image_size.is_some() => {
                let name = name.as_str();
                config(format!("--image-size: the images of {name} have one size; leave it out, or name a folder"))
            }
            (Choice::Known(DatasetName::Digits), None) => digits(),
            (Choice::Known(DatasetName::Digits), Some(_)) => {
                let text = "--data-dir: the digits are part of the program; leave it out, or name another --dataset";
                config(text.to_owned())
            }
            (Choice::Known(name), None) => {
                let name = name.as_str();
                config(format!("{name} comes as files; say in which folder they are with --data-dir"))
            }
            (Choice::Known(name @ (DatasetName::Mnist | DatasetName::FashionMnist)), Some(folder)) => {
                idx::dataset(folder, name.as_str())
            }
            (Choice::Known(name @ (DatasetName::Cifar10 | DatasetName::Cifar100)), Some(folder)) => {
                cifar::dataset(folder, name.as_str())
            }
        }
    }

    fn load_folder(&self, path: &Path) -> Result<(Dataset, Dataset), Error> {
        let found = folder::read(path, &folder::Options { size: self.image_size, split_seed: self.split_seed })?;
        let count = found.unusable.len();
        for error in &found.unusable {
            // stderr may be closed; what matters is in the error or was asked to be skipped.
            let _ = writeln!(io::stderr(), "{}: {error}", if self.skip_bad { "skipped" } else { "unusable" });
        }
        if count > 0 && !self.skip_bad {
            let things = if count == 1 { "thing" } else { "things" };
            let text = format!(
                "{}: {count} {things} cannot be used, named above; put that right, or leave it out with --skip-bad",
                path.display()
            );
            return Err(Error::new(ErrorKind::Format, text));
        }
        Ok((found.train, found.test))
    }
}

/// Parses height and width.
fn size(text: &str) -> Result<[usize; 2], String> {
    /// As wide and high as pictures can be read.
    const MAX_EXTENT: usize = 1 << 14;
    let extent = |text: &str| text.parse().ok().filter(|extent| (1..=MAX_EXTENT).contains(extent));
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    let size = extent(height).zip(extent(width)).map(|(height, width)| [height, width]);
    size.ok_or_else(|| format!("give a number of pixels from 1 to {MAX_EXTENT}, or two as in 48x64"))
}
