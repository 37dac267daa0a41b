//! Runs of `train` that are folders: what a run was started with, what it did, and where it goes on.
//!
//! `config` turns options into `config.toml` and back, `folder` is the folder with its checkpoints and its page,
//! `tensorboard` writes event files. `watch` looks on while the trainer trains, saves when it is time, and ends a run that
//! Ctrl-C interrupts; `screen` shows it with `--tui`. `recipe` is how the weights are changed: optimizer, schedule and what goes around them. After:
//! `super::train` puts them together.

pub mod config;
pub mod folder;
pub mod recipe;
pub mod screen;
pub mod tensorboard;
pub mod watch;

use std::path::PathBuf;

use clap::Args;

use super::{at_least_one, positive};

/// Where a run is kept.
#[derive(Args)]
pub struct RunArguments {
    /// Keep the run in this new folder: options, metrics, checkpoints, and the trained network
    #[arg(long, value_name = "FOLDER")]
    pub run: Option<PathBuf>,
    /// Go on with the run in this folder, to the same bits as if it had not been interrupted
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["run", "config"])]
    pub resume: Option<PathBuf>,
    /// Take the options in this file, such as the config.toml of a run; those on the command line go first
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// With --run: save a checkpoint after so many steps too, beside those after every epoch
    #[arg(long, value_name = "STEPS", value_parser = at_least_one, allow_negative_numbers = true)]
    pub checkpoint_every: Option<usize>,
    /// With --run: save a checkpoint when the last one is so many minutes old
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, value_parser = positive, allow_negative_numbers = true)]
    pub checkpoint_minutes: f64,
    /// With --run: keep so many of the last checkpoints; that of the best epoch is kept in any case
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one, allow_negative_numbers = true)]
    pub keep: usize,
    /// With --run: write event files for TensorBoard to the run's folder `tensorboard`
    #[arg(long)]
    pub tensorboard: bool,
}
