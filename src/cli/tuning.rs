//! Measured tiles from run to run: which file they are kept in, and what is said of candidates that were wrong.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use neuropil::device::{Options, Tuning};
use neuropil::format::tunings;
use neuropil::{Device, Error, ErrorKind};

use super::run::folder::Folder;

/// How the kernels of a GPU are chosen.
#[derive(Args)]
pub struct TuningArguments {
    /// Measure which tiles suit the GPU's products and convolutions best: off, quick (a few candidates, for a few
    /// seconds in all) or full; what was measured is kept for later runs
    #[arg(long, value_enum, value_name = "off|quick|full", default_value = "quick", hide_possible_values = true)]
    tune: Tune,
    /// Keep what was measured in this file, rather than in the user's cache folder
    #[arg(long, value_name = "FILE.json")]
    tunings: Option<PathBuf>,
    /// Measure Winograd's minimal filtering too, for convolutions of 3×3 with stride 1: fewer multiplications, more rounding
    #[arg(long)]
    winograd: bool,
    /// Choose kernels by a fixed rule, so that the last bits depend on no measurement: as --tune off
    #[arg(long, conflicts_with_all = ["tune", "tunings", "winograd"])]
    deterministic: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tune {
    Off,
    Quick,
    Full,
}

impl TuningArguments {
    /// The device with its tuning switched on, and the choices of a run that goes on, then those of other runs.
    ///
    /// # Errors
    /// When the device cannot be opened so, or a file that was named is none of tunings.
    pub fn apply(&self, device: Device, run: Option<&Folder>) -> Result<Device, Error> {
        let tuning = match self.tune {
            Tune::Off if self.winograd => {
                let text = "--winograd is for kernels that are chosen by measurement; leave it out, or --tune off";
                return Err(Error::new(ErrorKind::Config, text));
            }
            _ if self.deterministic || device.adapter().is_none() => return Ok(device),
            Tune::Off => return Ok(device),
            Tune::Quick => Tuning::Quick,
            Tune::Full => Tuning::Full,
        };
        let device = device.reopened_with(Options { tuning, winograd: self.winograd, ..device.options() })?;
        if let Some(run) = run {
            run.load_tunings(&device)?;
        }
        if let Some(path) = self.file().filter(|path| path.exists()) {
            match tunings::load(&path) {
                Ok(known) => known.iter().for_each(|tunings| {
                    device.load_tunings(tunings);
                }),
                // What nobody named must not keep a run from starting.
                Err(error) if self.tunings.is_none() => eprintln!("warning: {error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(device)
    }

    /// Keeps what was measured, and says which candidates were wrong.
    ///
    /// # Errors
    /// When a file that was named cannot be written.
    pub fn keep(&self, device: &Device) -> Result<(), Error> {
        let measured = device.tunings();
        for (class, tiles, error) in measured.refused() {
            eprintln!("warning: {} tiles are not used for {class}: {error}", tiles.name());
        }
        let Some(path) = self.file().filter(|_| !measured.choices.is_empty()) else { return Ok(()) };
        match write(&path, &measured) {
            Err(error) if self.tunings.is_none() => {
                eprintln!("warning: {error}; the next run measures again");
                Ok(())
            }
            written => written,
        }
    }

    fn file(&self) -> Option<PathBuf> {
        let cached = || dirs::cache_dir().map(|folder| folder.join("neuropil").join("tunings.json"));
        self.tunings.clone().or_else(cached)
    }
}

fn write(path: &Path, measured: &neuropil::device::Tunings) -> Result<(), Error> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    }
    tunings::save(path, measured)
}
