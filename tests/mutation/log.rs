//! The outcomes of a long run in a file, so that it can be interrupted and go on: `NEUROPIL_MUTANTS_LOG=FILE`.
//!
//! A line is a site's key and line number, a tab, and the outcome. What is known is not run again: begin a new file after
//! a change of the samples, or take out what may have changed.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use super::run::Outcome;

/// A file of outcomes; nothing without the variable.
pub struct Log {
    path: Option<PathBuf>,
    known: BTreeMap<String, Outcome>,
}

impl Log {
    pub fn open() -> Self {
        let path = std::env::var_os("NEUROPIL_MUTANTS_LOG").map(PathBuf::from);
        let text = path.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let parse = |line: &str| {
            let (site, outcome) = line.split_once('\t')?;
            Some((site.to_owned(), parse(outcome)?))
        };
        Log { path, known: text.lines().filter_map(parse).collect() }
    }

    pub fn get(&self, site: &str) -> Option<&Outcome> {
        self.known.get(site)
    }

    pub fn add(&self, site: &str, outcome: &Outcome) {
        let Some(path) = &self.path else { return };
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the log can be written");
        writeln!(file, "{site}\t{}", print(outcome)).expect("the log can be written");
    }
}

fn print(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Noticed(case) => format!("noticed {case}"),
        Outcome::Stopped => "stopped".to_owned(),
        Outcome::Survived(tried, all) => format!("survived {tried} {all}"),
        Outcome::Invalid => "invalid".to_owned(),
    }
}

/// What [`print`] wrote, and what a worker says.
pub fn parse(text: &str) -> Option<Outcome> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word {
        "noticed" => Some(Outcome::Noticed(rest.to_owned())),
        "stopped" => Some(Outcome::Stopped),
        "survived" => {
            let (tried, all) = rest.split_once(' ')?;
            Some(Outcome::Survived(tried.parse().ok()?, all.parse().ok()?))
        }
        "invalid" => Some(Outcome::Invalid),
        _ => None,
    }
}

#[test]
fn what_was_written_is_read() {
    let outcomes =
        [Outcome::Noticed("a / b, forward".to_owned()), Outcome::Stopped, Outcome::Survived(3, 9), Outcome::Invalid];
    assert!(outcomes.iter().all(|outcome| parse(&print(outcome)).as_ref() == Some(outcome)));
    assert_eq!(parse("trying"), None);
}
