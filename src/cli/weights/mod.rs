//! `neuropil weights`: weights from other programs and for them.
//!
//! `show` lists what a file holds, `import` makes a saved network of the weights of another program, `export` writes those of a
//! saved network. Files are safetensors, archives of NumPy, and to read state dictionaries of PyTorch, of which no code runs.

mod export;
mod import;
mod show;

use clap::{Args, Subcommand, ValueEnum};
use neuropil::train::transfer;

use super::Stop;
use super::output::Output;

/// What `weights` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List the arrays of a file: .safetensors, .npz, or a state dictionary of PyTorch (.pt, .pth)
    Show(show::Arguments),
    /// Make a saved network of the weights of another program
    Import(import::Arguments),
    /// Write the weights of a saved network for another program
    Export(export::Arguments),
}

/// In which order the axes of weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Layout {
    Pytorch,
    Own,
}

impl From<Layout> for transfer::Layout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Pytorch => transfer::Layout::PyTorch,
            Layout::Own => transfer::Layout::Own,
        }
    }
}

/// Does what is asked for.
pub fn run(Arguments { action }: &Arguments, output: &Output) -> Result<(), Stop> {
    match action {
        Action::Show(arguments) => show::run(arguments, output),
        Action::Import(arguments) => import::run(arguments, output),
        Action::Export(arguments) => export::run(arguments, output),
    }
}
