//! `neuropil data fetch`: downloads a public data set to where `train` finds it.

use std::cell::RefCell;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use neuropil::data::fetch;

use super::Stop;
use super::output::{Output, Progress, Record};
use super::source::default_data_dir;

/// What `data` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Download a public data set; every file is checked by its SHA-256, and an interrupted download goes on
    Fetch(Fetch),
}

/// What `data fetch` takes.
#[derive(Args)]
struct Fetch {
    /// The data set
    #[arg(value_parser = PossibleValuesParser::new(fetch::NAMES))]
    name: String,
    /// The folder to put it in, for train --data-dir [default: the user's cache folder, where train looks by itself]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Take the files from this address, which ends where their names begin, rather than from their public place
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// Does what is asked for.
pub fn run(Arguments { action: Action::Fetch(arguments) }: &Arguments, output: &Output) -> Result<(), Stop> {
    let Fetch { name, data_dir, mirror } = arguments;
    let folder = data_dir.clone().or_else(default_data_dir).ok_or_else(|| {
        super::bad_argument("this system has no folder for what can be downloaded again; name one with --data-dir")
    })?;
    let shown: RefCell<Option<(String, Progress)>> = RefCell::new(None);
    let mut progress = |fetch::Progress { file, done, total }: fetch::Progress| {
        let mut shown = shown.borrow_mut();
        if shown.as_ref().is_none_or(|(name, _)| name != file) {
            // The bar of the last file disappears before the next one comes.
            *shown = None;
            *shown = Some((file.to_owned(), output.progress(kilobytes(total.unwrap_or(0)), "kB")));
        }
        if let Some((_, progress)) = &*shown {
            progress.set(kilobytes(done));
        }
    };
    let fetched = fetch::dataset(name, &folder, mirror.as_deref(), &mut progress);
    drop(shown);
    let place = fetched?.display().to_string();
    let record = Record::event("done").with("dataset", name.as_str()).with("folder", place.clone());
    let named = data_dir.as_ref().map(|folder| format!(" --data-dir {}", super::shell_word(&folder.to_string_lossy())));
    let train = format!("neuropil train --dataset {name}{}", named.unwrap_or_default());
    Ok(output.emit(&record, format_args!("{name} is whole in {place}; `{train}` trains on it"))?)
}

fn kilobytes(bytes: u64) -> usize {
    (bytes / 1000) as usize
}
