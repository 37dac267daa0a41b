//! The folder of a run: `config.toml`, `metrics.jsonl`, `report.html`, `checkpoints/`, `tunings.json`, and in the end
//! `model.safetensors`.
//!
//! The checkpoints say what the run is; `metrics.jsonl` is written anew from their history whenever that grows, so that it
//! never has an epoch twice or one that was lost. Every file is replaced as a whole, so a run can be killed at any moment;
//! what that leaves behind is removed when the run goes on.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use neuropil::format::{tunings, write_atomically};
use neuropil::nn::models;
use neuropil::train::{Checkpoint, Checkpoints, ModelFile, ModelInfo, Progress, Trainer};
use neuropil::{Context, Device, Error, ErrorKind};

use super::super::output::{Record, percent};
use super::super::page::{Curves, Page, Results, machine};
use super::super::shell_word;
use super::config::{self, Config};
use super::tensorboard::Events;

/// The trained network.
pub const MODEL: &str = "model.safetensors";
/// A line of JSON an epoch.
pub const METRICS: &str = "metrics.jsonl";
/// The curves, for a browser.
pub const REPORT: &str = "report.html";
/// Which tiles the run's device was measured to be fastest with.
pub const TUNINGS: &str = "tunings.json";
/// The folder of the checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";

/// What the process that trains the run holds on to.
const LOCK: &str = "lock";

/// The folder of a run, which no other process trains meanwhile.
pub struct Folder {
    path: PathBuf,
    checkpoints: Checkpoints,
    /// Released with the folder, or by the operating system with the process.
    _lock: File,
}

impl Folder {
    /// A new run.
    ///
    /// # Errors
    /// When there is something in the folder, or it cannot be written to.
    pub fn create(path: &Path, config: &Config, keep: usize) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
        if entries(path)?.any(|entry| !entry.ends_with(LOCK) && !is_temporary(&entry)) {
            let folder = shell_word(&path.display().to_string());
            let text = format!(
                "--run {folder}: the folder is not empty; name a new one, or go on with the run in it: --resume {folder}"
            );
            return Err(Error::new(ErrorKind::Config, text));
        }
        let lock = lock(path)?;
        remove_temporary(path)?;
        config.save(&path.join(config::NAME))?;
        Self::opened(path, keep, lock)
    }

    /// A run that is there.
    ///
    /// # Errors
    /// When the folder cannot be read or written to, or another process trains the run.
    pub fn open(path: &Path, keep: usize) -> Result<Self, Error> {
        let lock = lock(path)?;
        remove_temporary(path)?;
        Self::opened(path, keep, lock)
    }

    fn opened(path: &Path, keep: usize, lock: File) -> Result<Self, Error> {
        let checkpoints = Checkpoints::open(&path.join(CHECKPOINTS), keep)?;
        Ok(Folder { path: path.to_path_buf(), checkpoints, _lock: lock })
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The checkpoint to go on from, unless the run ended before its first. Damaged ones are named on stderr.
    ///
    /// # Errors
    /// When there are some and all are damaged.
    pub fn last(&self) -> Result<Option<Checkpoint>, Error> {
        if self.checkpoints.all()?.is_empty() {
            return Ok(None);
        }
        let (path, checkpoint, damaged) = self.checkpoints.last()?;
        for error in damaged {
            eprintln!("warning: {error}; {} is used", path.display());
        }
        Ok(Some(checkpoint))
    }

    /// The checkpoint after the best epoch of `progress`, if it is there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn best(&self, progress: &Progress) -> Result<Option<Checkpoint>, Error> {
        self.checkpoints.best(progress)
    }

    /// Saves the run as it is now.
    ///
    /// # Errors
    /// When the loss is no number, the device is lost, or a file cannot be written.
    pub fn save(&self, trainer: &Trainer, info: &ModelInfo) -> Result<(), Error> {
        let checkpoint = trainer.checkpoint()?;
        // Before the checkpoint, which was computed with them.
        let measured = trainer.store().device().tunings_in_use();
        if !measured.choices.is_empty() {
            tunings::save(&self.file(TUNINGS), &measured)?;
        }
        self.checkpoints.save(&checkpoint, Some(info))?;
        Ok(())
    }

    /// Has a device use the tiles that the run has used so far.
    ///
    /// # Errors
    /// When the file is there and damaged.
    pub fn load_tunings(&self, device: &Device) -> Result<(), Error> {
        let path = self.file(TUNINGS);
        if path.exists() {
            for known in tunings::load(&path)? {
                device.load_tunings(&known);
            }
        }
        Ok(())
    }

    /// Writes the metrics of all complete epochs, and the page that shows them, with `results` once there are any.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_metrics(&self, trainer: &Trainer, info: &ModelInfo, results: Option<Results>) -> Result<(), Error> {
        let progress = trainer.progress();
        let lines: String = progress
            .epochs
            .iter()
            .map(|epoch| {
                let record = Record::new()
                    .with("epoch", epoch.number)
                    .with("steps", epoch.number * progress.steps_per_epoch)
                    .with("loss", epoch.train.loss)
                    .with("train_accuracy", epoch.train.accuracy)
                    .with("test_loss", epoch.test.map(|test| test.loss))
                    .with("test_accuracy", epoch.test.map(|test| test.accuracy))
                    .with_number("seconds", epoch.seconds);
                format!("{record}\n")
            })
            .collect();
        write_text(&self.file(METRICS), &lines)?;
        let config = Config::load(&self.file(config::NAME))?;
        let rate = config.pairs().into_iter().find(|(name, _)| name == "learning-rate");
        let rate = rate.and_then(|(_, text)| text.parse().ok());
        let mut page = Page {
            title: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            lead: lead(trainer, info),
            curves: Some(Curves::of(progress, trainer.settings(), rate)?),
            results,
            options: config.pairs(),
            machine: machine(trainer.store().device()),
            ..Page::default()
        };
        page.draw(&info.model, &trainer.summary()?)?;
        write_text(&self.file(REPORT), &page.html()?)
    }

    /// An event file for TensorBoard, with the epochs so far.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn events(&self, trainer: &Trainer) -> Result<Events, Error> {
        let mut events = Events::start(&self.file("tensorboard"))?;
        events.write(trainer.progress())?;
        Ok(events)
    }

    /// Keeps the trained network; gives the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_model(&self, model: &ModelFile) -> Result<PathBuf, Error> {
        let path = self.file(MODEL);
        model.save(&path)?;
        Ok(path)
    }

    /// The command that goes on with the run.
    pub fn resume_command(&self) -> String {
        format!("neuropil train --resume {}", shell_word(&self.path.display().to_string()))
    }

    /// An error that ended the run, with what can be done now.
    pub fn with_remedy(&self, error: &Error) -> Error {
        let last = self.checkpoints.all().ok().and_then(|mut all| all.pop());
        let Some((steps, path)) = last else {
            let text = format!("{error}; there was no checkpoint yet, `{}` starts the run anew", self.resume_command());
            return Error::new(error.kind(), text);
        };
        let path = shell_word(&path.display().to_string());
        let remedy = match error.kind() {
            ErrorKind::Parity => format!("a new run can start from the last good checkpoint: --from {path}"),
            ErrorKind::Io => format!("then `{}` goes on from step {steps}", self.resume_command()),
            _ => format!("`{}` goes on from step {steps}", self.resume_command()),
        };
        let what = match error.kind() {
            ErrorKind::Io => "make room, or put right what keeps it from being written",
            _ => "the checkpoints are intact",
        };
        Error::new(error.kind(), format!("{error}; {what}; {remedy}"))
    }
}

/// What came out so far.
fn lead(trainer: &Trainer, info: &ModelInfo) -> String {
    let progress = trainer.progress();
    let what = format!("{} on {}", models::title(&info.model), info.dataset);
    match progress.best() {
        Some(best) => format!(
            "{what}, {} of {} epochs; the best is epoch {}, with a loss of {:.4} and an accuracy of {}",
            progress.epochs.len(),
            trainer.settings().epochs,
            best.number,
            best.judged().loss,
            percent(best.judged().accuracy)
        ),
        None => format!("{what}, before the first epoch"),
    }
}

/// Writes a text file, as a whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_text(path: &Path, text: &str) -> Result<(), Error> {
    write_atomically(path, |file| file.write_all(text.as_bytes()).map_err(|e| Error::new(ErrorKind::Io, e.to_string())))
}

/// The lock of the run in `folder`.
fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).append(true).open(&path).map_err(|e| Error::io(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let text = "another process trains this run; wait for it, or stop it";
            Err(Error::new(ErrorKind::Config, format!("{}: {text}", folder.display())))
        }
        // Some network file systems have no locks, and then nothing keeps two processes apart.
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(e)) => Err(Error::io(&path, e)),
    }
}

/// Removes what writing that was interrupted left behind.
fn remove_temporary(folder: &Path) -> Result<(), Error> {
    for path in entries(folder)?.filter(|path| is_temporary(path)) {
        fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
    }
    Ok(())
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.ends_with(".tmp")
}

fn entries(folder: &Path) -> Result<impl Iterator<Item = PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e)).context(|| "--run".to_owned())?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())))
}
