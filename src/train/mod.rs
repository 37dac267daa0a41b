//! Training: the loop around programs.
//!
//! A [`Trainer`] owns a store and a model, compiles one program a mode and batch size when it is first needed, shuffles by
//! seed and epoch, takes batches from a loader, sets the learning rate before every step, and reads loss and accuracy once an
//! epoch: they accumulate on the device. A [`Monitor`] looks on, a [`Checkpoint`] is a run in a file, [`Checkpoints`] a
//! folder of them. [`model_file`] saves and loads weights with what prediction needs. Before: [`crate::program`],
//! [`crate::nn`], [`crate::optim`], [`crate::data`].

mod batch_size;
mod checkpoint;
mod checkpoints;
pub mod metrics;
pub mod model_file;
mod monitor;
mod normalization;
mod progress;
mod trainer;
pub mod transfer;
mod watch;

pub use crate::data::augment::Augmentation;
pub use checkpoint::Checkpoint;
pub use checkpoints::Checkpoints;
pub use metrics::Metrics;
pub use model_file::{ModelFile, ModelInfo};
pub use monitor::Monitor;
pub use progress::{DataPrint, Progress};
pub use trainer::{Epoch, Settings, Trainer};
