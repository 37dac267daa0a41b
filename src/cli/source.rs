//! Where `train`, `evaluate` and `predict` get their images: data sets by name, folders of pictures, arrays, tables.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::builder::{EnumValueParser, TypedValueParser};
use clap::error::ErrorKind as UsageError;
use clap::{Arg, Args, Command, ValueEnum};
use neuropil::data::{Dataset, Parts, arrays, cifar, digits, fetch, folder, idx, table};
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

    /// The (train, test) parts, from files in `folder` unless it is part of the program.
    fn read(self, folder: &Path) -> Result<(Dataset, Dataset), Error> {
        match self {
            DatasetName::Digits => digits(),
            DatasetName::Mnist | DatasetName::FashionMnist => idx::dataset(folder, self.as_str()),
            DatasetName::Cifar10 | DatasetName::Cifar100 => cifar::dataset(folder, self.as_str()),
        }
    }

    /// What to do where its files are not known.
    fn remedy(self) -> String {
        let name = self.as_str();
        let fetch = match fetch::NAMES.contains(&name) {
            true => format!("download them with `neuropil data fetch {name}`, or "),
            false => String::new(),
        };
        format!("{name} comes as files; {fetch}say in which folder they are with --data-dir")
    }
}

/// What `--dataset` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A data set by name, also where there is a folder of that name: `./mnist` is the folder.
    Known(DatasetName),
    /// A folder of pictures.
    Folder(PathBuf),
    /// An archive or a folder of NumPy arrays.
    Arrays(PathBuf),
    /// A table.
    Table(PathBuf),
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
            Choice::Folder(path) | Choice::Arrays(path) | Choice::Table(path) => {
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
            Choice::Arrays(_) => format!("arrays {}", data.name()),
            Choice::Table(_) => format!("table {}", data.name()),
        }
    }

    /// What is at `path`, if it is something that can be read.
    fn of_path(path: &Path) -> Option<Self> {
        if path.is_dir() {
            let of = if arrays::is_folder_of_arrays(path) { Choice::Arrays } else { Choice::Folder };
            return Some(of(path.to_path_buf()));
        }
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let is_table = [".csv", ".tsv"].iter().any(|end| name.trim_end_matches(".gz").ends_with(end));
        match path.is_file() {
            true if is_table => Some(Choice::Table(path.to_path_buf())),
            true if name.ends_with(".npz") => Some(Choice::Arrays(path.to_path_buf())),
            _ => None,
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
        match (known, Choice::of_path(path)) {
            (Ok(name), _) => Ok(Choice::Known(name)),
            (Err(_), Some(found)) => Ok(found),
            (Err(_), None) if path.components().count() > 1 || path.extension().is_some() || path.exists() => {
                let found = if path.exists() {
                    "this is none of the files that are read"
                } else {
                    "there is no such folder or file"
                };
                let text = format!("--dataset {}: {found}; name a folder, or a .npz or .csv file\n", path.display());
                Err(clap::Error::raw(UsageError::ValueValidation, text).with_cmd(command))
            }
            (Err(unknown), None) => Err(unknown),
        }
    }
}

/// Which images, and how they are read.
#[derive(Args)]
pub struct Source {
    /// The images: digits (1,797 of 8×8, part of the program), mnist (70,000 digits of 28×28), fashion-mnist (70,000 pieces
    /// of clothing of 28×28), cifar10 or cifar100 (60,000 photographs of 32×32); a folder of pictures with
    /// train/CLASS/* and test/CLASS/*, or with CLASS/*; NumPy arrays x_train, y_train, x_test, y_test, or images and labels
    /// (.npz, or a folder of .npy); a table with a sample a line (.csv). Where nothing is said to be for testing, a fifth of
    /// every class is [default: digits to train on, else what the network was trained on]
    #[arg(long, value_parser = ChoiceParser, value_name = "NAME|FOLDER|FILE")]
    pub dataset: Option<Choice>,
    /// The folder with the files of mnist, fashion-mnist, cifar10 or cifar100, or with a subfolder of that name [default:
    /// where `data fetch` puts them]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Scale pictures to this height and width, such as 64 or 48x64; the middle is kept where proportions differ. Of a
    /// table: the numbers of a line are an image of that size
    #[arg(long, value_name = "N|HxW", value_parser = size)]
    pub image_size: Option<[usize; 2]>,
    /// The column of a table with the class, by its name or number [default: one called label, class, target or species, else
    /// the last]
    #[arg(long, value_name = "NAME|N")]
    label_column: Option<String>,
    /// Keep up to so many megabytes of decoded pictures of a folder in memory; of more than that, batches are decoded ahead
    /// of the device
    #[arg(long, value_name = "MB", default_value_t = folder::Options::MEMORY >> 20, value_parser = super::whole::<u64>)]
    image_memory: u64,
    /// Which images are for testing, where that is drawn
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = super::whole::<u64>)]
    split_seed: u64,
    /// Leave out pictures that are damaged or of another size, lines that are incomplete and classes without images, after
    /// naming them
    #[arg(long)]
    skip_bad: bool,
}

impl Source {
    /// Reads the (train, test) parts of `choice`. Names on stderr what cannot be used, one line each.
    ///
    /// # Errors
    /// A folder that is missing, or not wanted; files that are missing or damaged and are not to be skipped.
    pub fn load(&self, choice: &Choice) -> Result<(Dataset, Dataset), Error> {
        self.load_as(choice, None)
    }

    /// As [`Source::load`]; pictures of folders become images `[H, W, C]` of this shape, unless a size is given.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub fn load_as(&self, choice: &Choice, shape: Option<[usize; 3]>) -> Result<(Dataset, Dataset), Error> {
        let config = |text: String| Err(Error::new(ErrorKind::Config, text));
        match (choice, self.data_dir.as_deref()) {
            (Choice::Folder(_) | Choice::Arrays(_) | Choice::Table(_), Some(_)) => config(
                "--data-dir is for data sets by name; leave it out where --dataset is a folder or file".to_owned(),
            ),
            (choice, _) if self.label_column.is_some() && !matches!(choice, Choice::Table(_)) => {
                config("--label-column is for tables; leave it out, or name a .csv file".to_owned())
            }
            (Choice::Folder(path), None) => {
                let options = folder::Options {
                    size: self.image_size.or(shape.map(|[height, width, _]| [height, width])),
                    split_seed: self.split_seed,
                    memory: self.image_memory.saturating_mul(1 << 20),
                    channels: shape.map(|[_, _, channels]| channels).filter(|channels| [1, 3].contains(channels)),
                };
                self.usable(path, folder::read(path, &options)?)
            }
            (Choice::Arrays(_), None) if self.image_size.is_some() => {
                config("--image-size: arrays are taken as they are; leave it out, or reshape them".to_owned())
            }
            (Choice::Arrays(path), None) => self.usable(path, arrays::read(path, self.split_seed)?),
            (Choice::Table(path), None) => {
                let (label_column, size) = (self.label_column.clone(), self.image_size);
                self.usable(
                    path,
                    table::read(path, &table::Options { label_column, size, split_seed: self.split_seed })?,
                )
            }
            (Choice::Known(name), _) if self.image_size.is_some() => {
                let name = name.as_str();
                config(format!("--image-size: the images of {name} have one size; leave it out, or name a folder"))
            }
            (Choice::Known(DatasetName::Digits), None) => digits(),
            (Choice::Known(DatasetName::Digits), Some(_)) => {
                let text = "--data-dir: the digits are part of the program; leave it out, or name another --dataset";
                config(text.to_owned())
            }
            (Choice::Known(name), None) => match default_data_dir().filter(|folder| folder.is_dir()) {
                Some(folder) => name.read(&folder).map_err(|error| error.context(name.remedy())),
                None => config(name.remedy()),
            },
            (Choice::Known(name), Some(folder)) => name.read(folder),
        }
    }

    /// Both parts of what was found at `path`, if all of it can be used or the rest is to be skipped; names that on stderr.
    fn usable(&self, path: &Path, found: Parts) -> Result<(Dataset, Dataset), Error> {
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

/// Where `data fetch` puts data sets, and where they are looked for without --data-dir.
pub fn default_data_dir() -> Option<PathBuf> {
    dirs::cache_dir().map(|folder| folder.join("neuropil").join("data"))
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
