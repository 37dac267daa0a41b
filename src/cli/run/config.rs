//! `config.toml`: the options of a run of `train`, by the names that they have on the command line.
//!
//! What is written is complete, defaults included, so that a later version with other defaults starts the same run. What is
//! read becomes arguments behind those of the command line and is judged by the same parser, so there is one list of
//! options and one kind of message. What says where a run is kept, or what is printed, is of no config.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use neuropil::format::write_atomically;
use neuropil::{Context, Error, ErrorKind};
use toml::{Table, Value};

/// The name of the file in a run's folder.
pub const NAME: &str = "config.toml";

/// What is of no config.
const ELSEWHERE: [&str; 9] = ["run", "resume", "config", "save", "json", "quiet", "tui", "help", "version"];
/// What can be said anew where a run goes on.
const FREE: [&str; 10] = [
    "resume",
    "save",
    "json",
    "quiet",
    "tui",
    "tensorboard",
    "device",
    "checkpoint-every",
    "checkpoint-minutes",
    "keep",
];
/// What names files, and must be found from anywhere.
const PATHS: [&str; 3] = ["data-dir", "from", "tunings"];

/// Options by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config(Table);

impl Config {
    /// The options in `matches` of `command`.
    ///
    /// # Errors
    /// A path that is not Unicode, which the file cannot hold.
    pub fn of(command: &Command, matches: &ArgMatches) -> Result<Self, Error> {
        let mut table = Table::new();
        for (name, argument) in options(command) {
            let id = argument.get_id().as_str();
            if let ArgAction::SetTrue = argument.get_action() {
                table.insert(name.to_owned(), Value::Boolean(matches.get_flag(id)));
                continue;
            }
            let Ok(Some(raw)) = matches.try_get_raw(id) else { continue };
            let values = raw.map(|text| value_of(name, text)).collect::<Result<Vec<_>, _>>()?;
            let value = match argument.get_action() {
                ArgAction::Append => Some(Value::Array(values)),
                _ => values.into_iter().next(),
            };
            table.extend(value.map(|value| (name.to_owned(), value)));
        }
        Ok(Config(table))
    }

    /// Sets an option to what it came to, such as a default that depends on the data.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// The options as text, by name.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.0.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let head = format!(
            "# A run of neuropil {}: `neuropil train --config {NAME}` starts it once more.\n",
            env!("CARGO_PKG_VERSION")
        );
        let text = head + &self.0.to_string();
        write_atomically(path, |file| {
            file.write_all(text.as_bytes()).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is not TOML.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let table = text.parse::<Table>().map_err(|e| {
            let place = e.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
            Error::new(ErrorKind::Format, format!("{}: line {place}: {}", path.display(), e.message()))
        })?;
        Ok(Config(table))
    }

    /// The options as arguments of `command`, but for those that `matches` has from the command line, and those that are as
    /// they are anyway.
    fn arguments(&self, command: &Command, matches: &ArgMatches) -> Result<Vec<OsString>, Error> {
        let mut arguments = Vec::new();
        for (name, value) in &self.0 {
            let Some((_, argument)) = options(command).find(|(known, _)| known == name) else {
                let text = format!("there is no option {name:?}; `neuropil train --help` lists them");
                return Err(Error::new(ErrorKind::Config, text));
            };
            if is_said(matches, argument) {
                continue;
            }
            match (argument.get_action(), value) {
                (ArgAction::SetTrue, Value::Boolean(true)) => arguments.push(format!("--{name}").into()),
                (ArgAction::SetTrue, Value::Boolean(false)) => {}
                (ArgAction::SetTrue, _) => {
                    let text = format!("{name} = {value}: give true or false");
                    return Err(Error::new(ErrorKind::Format, text));
                }
                (_, Value::Array(values)) => {
                    for value in values {
                        arguments.push(format!("--{name}={}", text_of(name, value)?).into());
                    }
                }
                (_, value) => {
                    let text = text_of(name, value)?;
                    let is_default = argument.get_default_values().iter().any(|default| *default == *text);
                    arguments.extend((!is_default).then(|| format!("--{name}={text}").into()));
                }
            }
        }
        Ok(arguments)
    }
}

/// `arguments` with those of the file behind that `matches`, of the command `train`, names by `--config` or `--resume`, and
/// that file; `None` where there is none.
///
/// # Errors
/// When the file cannot be read; with `--resume`, options that would make it another run.
pub fn expand(
    arguments: &[OsString],
    command: &Command,
    matches: &ArgMatches,
) -> Result<Option<(Vec<OsString>, PathBuf)>, Error> {
    let path = |id: &str| matches.get_one::<PathBuf>(id);
    let file = match (path("resume"), path("config")) {
        (Some(run), _) => {
            let said = command.get_arguments().filter(|argument| is_said(matches, argument));
            let mut names = said.filter_map(Arg::get_long);
            if let Some(name) = names.find(|name| !FREE.contains(name)) {
                let run = run.join(NAME);
                let text = format!(
                    "--resume goes on with the run as it was; leave out --{name}, or start a new run: --config {} --{name} …",
                    super::super::shell_word(&run.display().to_string())
                );
                return Err(Error::new(ErrorKind::Config, text));
            }
            let file = run.join(NAME);
            if !file.exists() {
                let text =
                    format!("--resume {}: there is no {NAME} in it; `neuropil train --run` makes a run", run.display());
                return Err(Error::new(ErrorKind::Io, text));
            }
            file
        }
        (None, Some(file)) => file.clone(),
        (None, None) => return Ok(None),
    };
    let config = Config::load(&file)?;
    let more = config.arguments(command, matches).context(|| file.display().to_string())?;
    Ok(Some(([arguments, &more].concat(), file)))
}

/// The arguments of `command` that a config holds, with their names.
fn options(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let named = command.get_arguments().filter_map(|argument| Some((argument.get_long()?, argument)));
    named.filter(|(name, _)| !ELSEWHERE.contains(name))
}

fn is_said(matches: &ArgMatches, argument: &Arg) -> bool {
    let id = argument.get_id().as_str();
    !["help", "version"].contains(&id) && matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// The value of an option as TOML has it.
fn value_of(name: &str, raw: &std::ffi::OsStr) -> Result<Value, Error> {
    let path = if PATHS.contains(&name) { std::path::absolute(raw).ok() } else { None };
    let text = path.as_ref().map_or(raw, |path| path.as_os_str()).to_str().ok_or_else(|| {
        let text = format!("--{name} {}: a config can hold Unicode alone; rename it", raw.to_string_lossy());
        Error::new(ErrorKind::Config, text)
    })?;
    let whole = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
    let float = || text.parse::<f64>().ok().filter(|number| number.is_finite() && text.contains(['.', 'e']));
    Ok(match (whole, float()) {
        (Some(number), _) => Value::Integer(number),
        (None, Some(number)) => Value::Float(number),
        (None, None) => Value::String(text.to_owned()),
    })
}

/// The value of an option as the command line has it.
fn text_of(name: &str, value: &Value) -> Result<String, Error> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        other => Err(Error::new(ErrorKind::Format, format!("{name} = {other}: give a number or a text"))),
    }
}
