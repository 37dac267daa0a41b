//! A folder of checkpoints: the last few and the best, however a run ends.
//!
//! A file is called by its step. Older ones go only when a newer one is whole on the disk, so there always is one to go on
//! from; the end of the best epoch stays. What a run that was killed in the middle of writing left behind is removed when
//! the folder is opened. Before: [`super::Checkpoint`]. After: a run of the command, or a [`super::Monitor`] of a user.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Checkpoint, ModelInfo, Progress};
use crate::error::{Error, ErrorKind, Result};

const PREFIX: &str = "step-";
const EXTENSION: &str = ".safetensors";

/// A folder of checkpoints of one run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// The folder, made if it is not there. `keep` is how many of the last are kept, at least one, beside the best.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: &Path, keep: usize) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        for path in files(folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(&format!(".{PREFIX}")) && name.ends_with(".tmp") {
                fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            }
        }
        Ok(Checkpoints { folder: folder.to_path_buf(), keep: keep.max(1) })
    }

    /// Writes a checkpoint, then removes those that need not be kept; gives the file's path.
    ///
    /// # Errors
    /// When it cannot be written; then those that were there are.
    pub fn save(&self, checkpoint: &Checkpoint, info: Option<&ModelInfo>) -> Result<PathBuf> {
        let progress = &checkpoint.progress;
        let path = self.folder.join(format!("{PREFIX}{:08}{EXTENSION}", progress.steps));
        checkpoint.save(&path, info)?;
        let best = best_step(progress);
        let mut older = self.all()?;
        older.retain(|(steps, _)| *steps < progress.steps);
        let surplus = older.len().saturating_sub(self.keep - 1);
        for (steps, path) in older.into_iter().take(surplus) {
            if Some(steps) != best {
                fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            }
        }
        Ok(path)
    }

    /// The checkpoint after the best of the epochs that `progress` has, if it is there.
    ///
    /// # Errors
    /// When the folder or the file cannot be read.
    pub fn best(&self, progress: &Progress) -> Result<Option<Checkpoint>> {
        let Some(best) = best_step(progress) else { return Ok(None) };
        let found = self.all()?.into_iter().find(|(steps, _)| *steps == best);
        found.map(|(_, path)| Ok(Checkpoint::load(&path)?.0)).transpose()
    }

    /// All checkpoints by the number of their step, the oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all(&self) -> Result<Vec<(usize, PathBuf)>> {
        let mut found: Vec<(usize, PathBuf)> =
            files(&self.folder)?.into_iter().filter_map(|path| Some((steps_of(&path)?, path))).collect();
        found.sort();
        Ok(found)
    }

    /// The last checkpoint that can be read, with its path and what was wrong with later ones.
    ///
    /// # Errors
    /// When there is none.
    pub fn last(&self) -> Result<(PathBuf, Checkpoint, Vec<Error>)> {
        let mut damaged = Vec::new();
        for (_, path) in self.all()?.into_iter().rev() {
            match Checkpoint::load(&path) {
                Ok((checkpoint, _)) => return Ok((path, checkpoint, damaged)),
                Err(error) => damaged.push(error),
            }
        }
        let folder = self.folder.display();
        Err(damaged.into_iter().next().unwrap_or_else(|| {
            Error::new(ErrorKind::Io, format!("{folder}: there is no checkpoint yet; start the run anew"))
        }))
    }
}

/// The step after which the best epoch ended.
fn best_step(progress: &Progress) -> Option<usize> {
    progress.best().map(|epoch| epoch.number * progress.steps_per_epoch)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    entries.map(|entry| Ok(entry.map_err(|e| Error::io(folder, e))?.path())).collect()
}

fn steps_of(path: &Path) -> Option<usize> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(EXTENSION)?.parse().ok()
}
