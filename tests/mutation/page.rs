//! `docs/mutation.md`, from a run of all mutants.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::run::Outcome;
use super::sites::{Site, Source};
use super::survivors::Survivors;

#[derive(Default)]
struct Count {
    noticed: usize,
    survived: usize,
}

impl Count {
    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Noticed(_) | Outcome::Stopped => self.noticed += 1,
            Outcome::Survived(..) => self.survived += 1,
            Outcome::Invalid => {}
        }
    }

    fn row(&self, name: &str) -> String {
        format!("| {name} | {} | {} |\n", self.noticed + self.survived, self.survived)
    }
}

/// The page's text.
pub fn page(sources: &[Source], sites: &[Site], outcomes: &[(usize, Outcome)], survivors: &Survivors) -> String {
    let mut all = Count::default();
    let mut operators: BTreeMap<&str, Count> = BTreeMap::new();
    let mut paths: BTreeMap<&str, Count> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut stopped = 0;
    for (index, outcome) in outcomes {
        let site = &sites[*index];
        let path = &sources[site.source].path;
        all.add(outcome);
        operators.entry(site.operator).or_default().add(outcome);
        paths.entry(if path.starts_with("elementwise/") { "elementwise/…" } else { path }).or_default().add(outcome);
        stopped += usize::from(*outcome == Outcome::Stopped);
        if let Outcome::Survived(..) = outcome {
            let key = site.key(sources);
            let reason = survivors.reasons.get(&key).map_or("", String::as_str);
            reasons.entry(reason).or_default().push(key);
        }
    }
    let total = all.noticed + all.survived;
    let same = survivors.equivalent(sources, sites, outcomes);
    let share = |of: usize| 100.0 * all.noticed as f64 / of.max(1) as f64;
    let mut text = format!(
        "# Do the tests notice mistakes?\n\n\
         Mechanical mistakes are made at every place of every shader where they can be made, one at a time, and the cases of the\n\
         operations' samples run on the kernels that contain the place. Of {total} mutants that compile, **{} are noticed** ({:.1} %):\n\
         a number beyond its tolerance, two runs that differ, a write outside of the tensors; {stopped} of them never end, or end\n\
         the process. Of the {} others {same} compute what the original computes, so that there is nothing to notice: without\n\
         them it is **{:.1} %**. Every mutant that is not noticed is listed below with the reason; where that begins with\n\
         *Open*, something is missing that would show it: a sample, a form of tiles, another driver.\n\n\
         `NEUROPIL_MUTANTS=all cargo test --test mutation` repeats it (a long run on a software rasteriser, which\n\
         `NEUROPIL_MUTANTS_LOG=FILE` lets be interrupted, as was done here); a plain `cargo test` tries 40.\n\n\
         ## By kind\n\n| mistake | mutants | not noticed |\n|---|---|---|\n",
        all.noticed,
        share(total),
        all.survived,
        share(total - same),
    );
    text.extend(operators.iter().map(|(name, count)| count.row(name)));
    text += "\n## By shader\n\n| below `shaders/` | mutants | not noticed |\n|---|---|---|\n";
    text.extend(paths.iter().map(|(name, count)| count.row(name)));
    text += "\n## Not noticed\n";
    for (reason, keys) in reasons {
        let _ = write!(text, "\n{reason}\n\n");
        for key in keys {
            let _ = writeln!(text, "* `{key}`");
        }
    }
    text
}

/// Compares the page with the file, or writes it.
pub fn check(text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mutation.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("docs can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/mutation.md is not of this run; UPDATE_GOLDEN=1 writes it");
}
