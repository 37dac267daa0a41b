//! Who looks on while `train` trains: shows progress, prints epochs, saves when it is time, and stops at Ctrl-C.
//!
//! Ctrl-C (or SIGTERM) is noticed between two steps; the run is saved there. A second one ends the command at once, which
//! a run survives too. Without a folder nothing can be saved, and Ctrl-C does what it always does.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use neuropil::train::{Epoch, ModelInfo, Monitor, Trainer};
use neuropil::{Error, ErrorKind};

use super::super::output::Progress;
use super::folder::Folder;
use super::screen::Screen;
use super::tensorboard::Events;

/// The exit code of a command that was interrupted, as shells report it.
pub const INTERRUPTED: u8 = 130;

/// When checkpoints are saved, beside those at the end of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Every so many steps.
    pub steps: Option<usize>,
    /// When the last one is so old.
    pub age: Duration,
}

/// Who looks on.
pub struct Watch<'a> {
    /// The progress that is shown.
    pub progress: Option<Progress>,
    /// Curves on the whole terminal.
    pub screen: Option<Screen>,
    /// Prints an epoch.
    pub print: &'a mut dyn FnMut(&Epoch) -> io::Result<()>,
    /// Where the run is kept, and what its network is.
    pub folder: Option<(&'a Folder, &'a ModelInfo)>,
    /// When it is saved.
    pub times: Times,
    /// When it was saved last.
    pub saved: Instant,
    /// What TensorBoard reads.
    pub events: Option<Events>,
    /// Set by Ctrl-C.
    pub interrupted: Arc<AtomicBool>,
    /// Why nothing could be printed.
    pub unprinted: Option<io::Error>,
}

impl Watch<'_> {
    fn save(&mut self, trainer: &Trainer) -> Result<(), Error> {
        if let Some((folder, info)) = self.folder {
            folder.save(trainer, info)?;
            self.saved = Instant::now();
        }
        Ok(())
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

impl Monitor for Watch<'_> {
    fn step(&mut self, trainer: &Trainer, done: usize, _: usize) -> Result<ControlFlow<()>, Error> {
        if let Some(progress) = &self.progress {
            progress.set(done);
        }
        if let Some(screen) = &mut self.screen
            && screen.step(trainer)?
        {
            self.interrupted.store(true, Ordering::Relaxed);
        }
        let due = self.times.steps.is_some_and(|steps| done.is_multiple_of(steps));
        if self.is_interrupted() || due || self.folder.is_some() && self.saved.elapsed() >= self.times.age {
            self.save(trainer)?;
        }
        Ok(if self.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn epoch(&mut self, trainer: &Trainer, epoch: &Epoch) -> Result<ControlFlow<()>, Error> {
        self.save(trainer)?;
        if let Some((folder, info)) = self.folder {
            folder.write_metrics(trainer, info, None)?;
        }
        if let Some(events) = &mut self.events {
            events.write(trainer.progress())?;
        }
        match &mut self.screen {
            Some(screen) => screen.epoch(trainer.progress().steps, epoch)?,
            None => self.unprinted = (self.print)(epoch).err(),
        }
        let stops = self.unprinted.is_some() || self.is_interrupted();
        Ok(if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

/// A flag that Ctrl-C sets from now on. The second time it ends the command.
///
/// # Errors
/// When the operating system does not let it.
pub fn interrupts() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    let handler = move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        eprintln!("stopping after this step; once more to stop at once");
    };
    ctrlc::set_handler(handler).map_err(|e| Error::new(ErrorKind::Config, format!("Ctrl-C cannot be caught: {e}")))?;
    Ok(flag)
}
