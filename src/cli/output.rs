//! What a command prints: results on stdout, as text or JSON lines, and progress on stderr.
//!
//! A result is given once in both forms ([`Output::emit`]), so neither can be forgotten. Progress is a bar where stderr is
//! a terminal, and elsewhere a line now and then, so that a log shows that something happens and stays short.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use neuropil::Device;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// How long nothing is said about progress where there is no bar.
const SILENCE: Duration = Duration::from_secs(10);

/// Where a command prints.
pub struct Output {
    json: bool,
    /// The bar that is on the screen, which lines must not run into.
    bar: RefCell<ProgressBar>,
}

impl Output {
    /// JSON lines or text.
    pub fn new(json: bool) -> Self {
        Output { json, bar: RefCell::new(ProgressBar::hidden()) }
    }

    /// Prints a result: `record` as JSON, or `text`.
    pub fn emit(&self, record: &Record, text: impl fmt::Display) -> io::Result<()> {
        if self.json { self.line(record) } else { self.line(&text) }
    }

    /// Prints what has a place in text alone.
    pub fn text(&self, text: impl fmt::Display) -> io::Result<()> {
        if self.json { Ok(()) } else { self.line(&text) }
    }

    /// Prints what has a place in JSON alone.
    pub fn record(&self, record: &Record) -> io::Result<()> {
        if self.json { self.line(record) } else { Ok(()) }
    }

    /// Prints all results of a command as one JSON document.
    pub fn document(&self, document: &impl Serialize) -> io::Result<()> {
        if self.json { self.line(&serde_json::to_string_pretty(document)?) } else { Ok(()) }
    }

    fn line(&self, line: &dyn fmt::Display) -> io::Result<()> {
        self.bar.borrow().suspend(|| {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "{line}")?;
            stdout.flush()
        })
    }

    /// Starts to show the progress of `total` things, called `unit`.
    pub fn progress(&self, total: usize, unit: &'static str) -> Progress {
        let bar = if io::stderr().is_terminal() { ProgressBar::new(total as u64) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(unit);
        self.bar.replace(bar.clone());
        Progress { bar, total, unit, said: Cell::new(Instant::now()) }
    }
}

/// Progress that is shown; the bar disappears with it.
pub struct Progress {
    bar: ProgressBar,
    total: usize,
    unit: &'static str,
    /// When the last line was printed, without a bar.
    said: Cell<Instant>,
}

impl Progress {
    /// Says how many are done.
    pub fn set(&self, done: usize) {
        self.bar.set_position(done as u64);
        if self.bar.is_hidden() && self.said.get().elapsed() >= SILENCE {
            self.said.set(Instant::now());
            // stderr may be closed; progress is a courtesy.
            let _ = writeln!(io::stderr(), "{done} of {} {}", self.total, self.unit);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A JSON object whose keys are written in the order in which they were added.
#[derive(Clone, Default)]
pub struct Record(Vec<(&'static str, Value)>);

impl Record {
    /// An object without keys.
    pub fn new() -> Self {
        Record::default()
    }

    /// The object of something that happened.
    pub fn event(name: &str) -> Self {
        Record::new().with("event", name)
    }

    /// Adds a key.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((key, value.into()));
        self
    }

    /// Adds a measurement, to six significant digits; `null` if it is not finite.
    #[must_use]
    pub fn with_number(self, key: &'static str, value: f64) -> Self {
        self.with(key, rounded(value))
    }

    /// Adds what a device is and why it is used.
    #[must_use]
    pub fn with_device(self, device: &Device) -> Self {
        self.with("device", device.name()).with("reason", device.reason())
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (key, value)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}:{value}", Value::from(*key))?;
        }
        f.write_str("}")
    }
}

/// The line that opens the text of a command: the device, and why it is this one.
pub fn device_line(device: &Device) -> String {
    format!("device: {} ({})", device_name(device), device.reason())
}

/// The name for people, with what kind of device it is.
pub fn device_name(device: &Device) -> String {
    device.adapter().map_or_else(|| "the CPU".to_owned(), |adapter| format!("{}, {}", adapter.name, adapter.kind))
}

/// A number of things: `1 epoch`, `2 epochs`.
pub fn counted(number: usize, unit: &str) -> String {
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// A measurement, rounded to six significant digits.
pub fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// A share as people read it: `98.61 %`.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_their_order_and_are_json() {
        let record = Record::event("epoch").with("b", 1).with_number("a", 0.1f32.into()).with_number("c", f64::NAN);
        let record = record.with("text", "a \"quoted\"\nword").with("list", vec!["x"]);
        let text = record.to_string();
        assert_eq!(text, r#"{"event":"epoch","b":1,"a":0.1,"c":null,"text":"a \"quoted\"\nword","list":["x"]}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["list"][0], "x");
    }
}
