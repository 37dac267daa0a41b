//! The mutants that nothing can notice, with the reasons: `survivors.txt`.
//!
//! A line that begins with `#` is a reason; the lines below it are sites, as [`super::sites::Site::key`] names them. A reason
//! that begins with `Open` says what is missing; all others, that the mutant computes the same.

use std::collections::BTreeMap;

use super::run::Outcome;
use super::sites::{Site, Source};

/// How reasons begin that say what is missing.
const OPEN: &str = "Open";

/// The reasons, by site.
pub struct Survivors {
    pub reasons: BTreeMap<String, String>,
}

impl Survivors {
    pub fn read() -> Self {
        let mut reasons = BTreeMap::new();
        let mut reason = String::new();
        let mut below_a_site = true;
        for line in include_str!("survivors.txt").lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.strip_prefix('#') {
                Some(text) if below_a_site => reason = text.trim().to_owned(),
                Some(text) => reason = format!("{reason} {}", text.trim()),
                None => _ = reasons.insert(line.to_owned(), reason.clone()),
            }
            below_a_site = !line.starts_with('#');
        }
        Survivors { reasons }
    }

    /// Whether something is missing that would notice it.
    pub fn is_open(&self, key: &str) -> bool {
        self.reasons.get(key).is_some_and(|reason| reason.starts_with(OPEN))
    }

    /// How many of the mutants that survived compute the same as the original.
    pub fn equivalent(&self, sources: &[Source], sites: &[Site], outcomes: &[(usize, Outcome)]) -> usize {
        let argued = |site: usize| {
            let key = sites[site].key(sources);
            self.reasons.contains_key(&key) && !self.is_open(&key)
        };
        outcomes.iter().filter(|(site, outcome)| matches!(outcome, Outcome::Survived(..)) && argued(*site)).count()
    }

    /// What is wrong: mutants that survive without a reason, and after a run of `all`, reasons for such as do not.
    pub fn judge(&self, sources: &[Source], sites: &[Site], outcomes: &[(usize, Outcome)], all: bool) -> Vec<String> {
        let survived = |outcome: &Outcome| matches!(outcome, Outcome::Survived(..));
        let mut mistakes = Vec::new();
        let mut surviving = std::collections::BTreeSet::new();
        for (site, _) in outcomes.iter().filter(|(_, outcome)| survived(outcome)) {
            let key = sites[*site].key(sources);
            if !self.reasons.contains_key(&key) {
                mistakes.push(format!("nothing notices {key}"));
            }
            surviving.insert(key);
        }
        if all {
            let noticed = self.reasons.keys().filter(|key| !surviving.contains(*key));
            mistakes.extend(noticed.map(|key| format!("survivors.txt lists what is noticed, or is no site: {key}")));
        }
        mistakes
    }
}
