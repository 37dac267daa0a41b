//! Mutation testing of the shaders: mechanical mistakes at every place where they can be made, and whether the cases of the
//! samples notice them. It shows that green tests of the operations mean something.
//!
//! Without arguments a sample of 40 mutants runs, with `NEUROPIL_SEED` another; `NEUROPIL_MUTANTS=all` runs all,
//! `NEUROPIL_MUTANTS=open` those that something should notice and nothing has so far, `NEUROPIL_MUTANTS=PATH` those of a source, and `NEUROPIL_MUTANTS_LOG` names a file with which a run can be interrupted
//! ([`log`]). A mutant that nothing notices must be in `survivors.txt`, with the reason. After a run of all,
//! `UPDATE_GOLDEN=1` writes `docs/mutation.md`.

#[path = "../common/mod.rs"]
mod common;
mod corpus;
mod log;
mod page;
mod run;
mod sites;
mod survivors;
mod tokens;

use std::time::Instant;

use neuropil::random::Stream;

use corpus::Corpus;
use log::Log;
use run::Outcome;
use survivors::Survivors;

/// How many mutants run where nobody asks for more.
const SAMPLE: usize = 40;

#[test]
fn mistakes_in_shaders_are_noticed() {
    let Some(device) = common::gpu() else { return };
    let (corpus, kernels) = Corpus::new(&device);
    let sites = sites::sites(&corpus.sources);
    let survivors = Survivors::read();
    let asked = std::env::var("NEUROPIL_MUTANTS").unwrap_or_default();
    let mut chosen: Vec<usize> = match asked.as_str() {
        "all" => (0..sites.len()).collect(),
        "" => sample(sites.len()),
        "open" => (0..sites.len()).filter(|&i| survivors.is_open(&sites[i].key(&corpus.sources))).collect(),
        part => (0..sites.len()).filter(|&i| corpus.sources[sites[i].source].path.contains(part)).collect(),
    };
    drop(kernels);
    let start = Instant::now();
    let log = Log::open();
    let name = |index: usize| format!("{}:{}", sites[index].key(&corpus.sources), sites[index].line);
    let known: Vec<(usize, Outcome)> =
        chosen.iter().filter_map(|&index| Some((index, log.get(&name(index))?.clone()))).collect();
    chosen.retain(|&index| log.get(&name(index)).is_none());
    let mut outcomes = run::run(&chosen, |index, outcome| {
        println!("{:6.0?} {} {outcome:?}", start.elapsed(), name(index));
        log.add(&name(index), outcome);
    });
    outcomes.extend(known);
    outcomes.sort_by_key(|(index, _)| *index);
    let mistakes = survivors.judge(&corpus.sources, &sites, &outcomes, asked == "all");
    let valid = outcomes.iter().filter(|(_, outcome)| *outcome != Outcome::Invalid).count();
    let noticed = outcomes.iter().filter(|(_, o)| matches!(o, Outcome::Noticed(_) | Outcome::Stopped)).count();
    println!("{noticed} of {valid} mutants were noticed, of {} sites", sites.len());
    assert!(mistakes.is_empty(), "{} mistakes:\n{}", mistakes.len(), mistakes.join("\n"));
    if asked == "all" {
        // Those that compute the same are no mistakes.
        let wrong = valid - survivors.equivalent(&corpus.sources, &sites, &outcomes);
        assert!(wrong >= 300 && noticed as f64 >= 0.95 * wrong as f64, "{noticed} of {wrong}");
        page::check(&page::page(&corpus.sources, &sites, &outcomes, &survivors));
    }
}

/// Works for the test above, in a process of its own.
#[test]
fn worker() {
    if std::env::var_os(run::WORKER).is_none() {
        return;
    }
    let device = common::gpu().expect("the parent had a device");
    let (corpus, kernels) = Corpus::new(&device);
    let sites = sites::sites(&corpus.sources);
    run::work(&corpus, &kernels, &sites);
}

/// Different numbers below `count`, the same for equal seeds.
fn sample(count: usize) -> Vec<usize> {
    let seed = std::env::var("NEUROPIL_SEED").ok().map_or(0, |seed| seed.parse().expect("NEUROPIL_SEED is a number"));
    let mut stream = Stream::new(seed, "mutation");
    let mut chosen = std::collections::BTreeSet::new();
    while chosen.len() < SAMPLE.min(count) {
        chosen.insert(stream.below(count as u64) as usize);
    }
    chosen.into_iter().collect()
}
