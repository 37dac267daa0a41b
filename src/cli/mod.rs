//! The command line: arguments, dispatch, and how a command ends.
//!
//! Each command is a file with its arguments and a function `run`; all of them use the public interface of the library
//! alone. Results go to stdout, as text or with `--json` as one JSON object a line; progress and errors go to stderr. The
//! exit code is 0 only when what was asked for happened, 1 when `check` found a wrong number, else 2 with one line that
//! says what is wrong and what to do. A run that Ctrl-C ended gives 130. Before: everything else.

mod batch_size;
mod bench;
mod check;
mod data;
mod evaluate;
mod info;
mod model;
mod network;
mod output;
mod pages;
mod pgm;
mod predict;
mod report;
#[cfg(test)]
mod report_tests;
mod run;
mod source;
mod train;
mod tuning;
mod weights;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use neuropil::{Device, Error, ErrorKind};

use output::Output;

/// Train convolutional networks on any GPU, and prove on this machine that the numbers are right
#[derive(Parser)]
#[command(name = "neuropil", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the GPUs of this machine and say which device would be used
    Info,
    /// Check every operation and its gradients on this device against the reference
    Check(check::Arguments),
    /// Measure kernels and training steps on this device
    Bench(bench::Arguments),
    /// Download public data sets
    Data(data::Arguments),
    /// Train a network and, with --save, keep it in a file
    Train(Box<train::Arguments>),
    /// Measure a saved network on the test images of a data set
    Evaluate(evaluate::Arguments),
    /// Classify images with a saved network
    Predict(predict::Arguments),
    /// Read, import and export weights: safetensors, NumPy, PyTorch
    Weights(weights::Arguments),
}

/// What all commands take.
#[derive(Args)]
struct Common {
    /// Where to compute: auto (a hardware GPU, else the CPU), gpu, cpu, software, or a part of an adapter's name
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE", display_order = 900)]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    device: String,
    /// Print one JSON object a line, for programs to read
    #[arg(long, global = true, display_order = 901)]
    json: bool,
}

impl Common {
    fn open_device(&self) -> Result<Device, Error> {
        Device::select(&self.device).map_err(|e| e.context(format!("--device {}", shell_word(&self.device))))
    }
}

/// Why a command did not do what it was asked for.
enum Stop {
    /// For one line on stderr.
    Error(Error),
    /// Numbers are wrong; the findings have been printed.
    Wrong,
    /// Somebody pressed Ctrl-C; what was done is saved.
    Interrupted,
    /// Nobody reads stdout any more, as after `| head`.
    Closed,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

/// Failures to write to stdout.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::Closed,
            _ => Stop::Error(Error::new(ErrorKind::Io, format!("cannot write to stdout: {error}"))),
        }
    }
}

/// Runs the command that the process's arguments ask for.
pub fn main() -> ExitCode {
    silence_wayland();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(match parsed_and_run(&arguments) {
        Ok(()) => 0,
        Err(Stop::Interrupted) => run::watch::INTERRUPTED,
        Err(Stop::Wrong) => 1,
        Err(Stop::Error(error)) => {
            print_error(&error);
            2
        }
        // What a shell reports of a program that SIGPIPE ended.
        Err(Stop::Closed) => 141,
    })
}

/// Parses the arguments, and does what they say.
fn parsed_and_run(arguments: &[OsString]) -> Result<(), Stop> {
    let mut command = Cli::command();
    // Gives the subcommands what all take.
    command.build();
    match parsed(&command, arguments)? {
        Ok((cli, matches)) => run(&cli, &command, &matches),
        Err(error) => usage(&error, arguments),
    }
}

/// The arguments as `command` takes them, with those of a config behind them. The inner error is what clap says of those
/// that are of no config.
fn parsed(command: &clap::Command, arguments: &[OsString]) -> Result<Result<(Cli, ArgMatches), clap::Error>, Stop> {
    let parse = |arguments: &[OsString]| command.clone().try_get_matches_from(arguments);
    let mut matches = match parse(arguments) {
        Ok(matches) => matches,
        Err(error) => return Ok(Err(error)),
    };
    let train = command.find_subcommand("train").zip(matches.subcommand_matches("train"));
    let expanded = train.map(|(train, given)| run::config::expand(arguments, train, given)).transpose()?.flatten();
    if let Some((expanded, file)) = expanded {
        matches = parse(&expanded).map_err(|error| {
            bad_argument(format!("{}: {}; see `neuropil train --help`", file.display(), one_line(&error)))
        })?;
    }
    Ok(Cli::from_arg_matches(&matches).map(|cli| (cli, matches)))
}

/// Reads the config `file` as `neuropil train --config` does, and no further; gives the error that it would print.
///
/// # Errors
/// What is wrong with the file.
#[cfg(fuzzing)]
pub fn read_config(file: &std::path::Path) -> Result<(), String> {
    let mut command = Cli::command();
    command.build();
    let arguments = ["neuropil".into(), "train".into(), "--config".into(), file.into()];
    match parsed(&command, &arguments) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(one_line(&error)),
        Err(Stop::Error(error)) => Err(error.to_string()),
        Err(_) => unreachable!("reading a config prints nothing and waits for nothing"),
    }
}

fn run(cli: &Cli, command: &clap::Command, matches: &ArgMatches) -> Result<(), Stop> {
    let (common, output) = (&cli.common, Output::new(cli.common.json));
    match &cli.command {
        Command::Info => info::run(common, &output),
        Command::Bench(arguments) => bench::run(arguments, common, &output),
        Command::Check(arguments) => check::run(arguments, common, &output),
        Command::Data(arguments) => data::run(arguments, &output),
        Command::Train(arguments) => {
            let config = command.find_subcommand("train").zip(matches.subcommand_matches("train"));
            let config = config.map(|(train, given)| run::config::Config::of(train, given)).transpose()?;
            train::run(arguments, config.unwrap_or_default(), common, &output)
        }
        Command::Evaluate(arguments) => evaluate::run(arguments, common, &output),
        Command::Predict(arguments) => predict::run(arguments, common, &output),
        Command::Weights(arguments) => weights::run(arguments, &output),
    }
}

/// Keeps libwayland from printing `error: XDG_RUNTIME_DIR is invalid or not set in the environment.`, which reads as an
/// error of this command. A layer that Mesa puts before every Vulkan driver looks for a display, also where there is none.
fn silence_wayland() {
    const NAME: &str = "XDG_RUNTIME_DIR";
    if cfg!(target_os = "linux") && std::env::var_os(NAME).is_none() {
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var(NAME, "/nonexistent") };
    }
}

/// What clap calls an error: a text that was asked for, or arguments that it does not take.
fn usage(error: &clap::Error, arguments: &[OsString]) -> Result<(), Stop> {
    use clap::error::ErrorKind as Kind;
    match error.kind() {
        Kind::DisplayHelp | Kind::DisplayVersion => Ok(error.print()?),
        Kind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // stderr may be closed; there is nobody to tell.
            let _ = error.print();
            Err(bad_argument("say what to do: `neuropil info` is a good start"))
        }
        _ => Err(bad_argument(format!("{}; see `{} --help`", one_line(error), command_of(arguments)))),
    }
}

/// Parses a number of things, of which there must be some.
fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "give a whole number from 1".to_owned())
}

/// Parses a number of things, or of one of them.
fn whole<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| "give a whole number from 0".to_owned())
}

/// Parses a number above 0.
fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "give a number above 0".to_owned())
}

/// An error about an argument.
fn bad_argument(message: impl Into<String>) -> Stop {
    Stop::Error(Error::new(ErrorKind::Config, message))
}

/// Clap's report of several lines as one.
fn one_line(error: &clap::Error) -> String {
    let report = error.render().to_string();
    let lines = report.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let parts: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .map(|line| line.trim_start_matches("error: ").trim_start_matches("tip: ").trim_matches(['[', ']']))
        .collect();
    parts.join("; ").replace(":; ", ": ")
}

/// The command that the arguments are for, as far as it can be told.
fn command_of(arguments: &[OsString]) -> String {
    let cli = Cli::command();
    let name = arguments.iter().skip(1).find_map(|argument| cli.find_subcommand(argument));
    name.map_or("neuropil".to_owned(), |command| format!("neuropil {}", command.get_name()))
}

/// Prints `error: …` in one line on stderr.
fn print_error(error: &Error) {
    let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    // stderr may be closed; there is nobody to tell.
    let _ = writeln!(io::stderr(), "error: {text}");
}

/// `word` as a shell reads it back.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_are_one_line_with_the_remedy() {
        let text = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            match Cli::try_parse_from(&arguments).map_err(|e| usage(&e, &arguments)) {
                Err(Err(Stop::Error(error))) => error.to_string(),
                _ => panic!("{arguments:?} is accepted"),
            }
        };
        let epochs = text(&["neuropil", "train", "--epochs", "0"]);
        assert!(epochs.contains("'--epochs <N>'") && epochs.contains("`neuropil train --help`"), "{epochs}");
        let dataset = text(&["neuropil", "train", "--dataset", "mnits"]);
        assert!(dataset.contains("possible values: digits, mnist, fashion-mnist"), "{dataset}");
        for one in [epochs, dataset, text(&["neuropil", "evaluate"]), text(&["neuropil", "tarin"])] {
            assert!(!one.contains('\n') && !one.contains("Usage"), "{one}");
        }
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(shell_word("software"), "software");
        assert_eq!(shell_word("Apple M1"), "'Apple M1'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
