//! Mutants one after the other, in processes of their own: a loop without end or a crash takes no more than a process.
//!
//! A worker is this test binary, asked by an environment variable to take the numbers of sites from its input. It says
//! what it tries before it does, so that its parent knows how long it has been silent. Before: [`super::corpus`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use neuropil::check::by_winograd;
use neuropil::check::parity::check_case;
use neuropil::device::{Options, Rewrite, Tiles};
use neuropil::{Device, ErrorKind};

use super::corpus::{Corpus, Form, Kernels, forms_of};
use super::log;
use super::sites::Site;
use crate::common;

/// Asks this binary to work.
pub const WORKER: &str = "NEUROPIL_MUTATION_WORKER";

/// So long a worker may be silent: a case takes a second at most, but may share the machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long a worker may take until it takes sites.
const PATIENCE_AT_START: Duration = Duration::from_secs(600);

/// So many cases a mutant has to survive in a form: fewer where kernels take long to compile, and where only what lies
/// beyond ends is new.
fn most_cases(path: &str, form: Form) -> usize {
    match (path.contains("matmul") || path.contains("operand"), form.checked) {
        (true, false) => 80,
        (true, true) => 40,
        (false, false) => 600,
        (false, true) => 75,
    }
}

/// After so many mutants a worker opens its device anew.
const KERNELS_KEPT: usize = 16;

/// In front of what a worker says; the test harness prints other lines.
const SAYS: &str = "mutation> ";
/// What a worker says first.
const READY: &str = "ready";

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A case is wrong; its name.
    Noticed(String),
    /// A case did not end, or ended the process.
    Stopped,
    /// So many cases are right, of so many that run the place.
    Survived(usize, usize),
    /// No shader.
    Invalid,
}

/// Takes sites until the input ends.
pub fn work(corpus: &Corpus, kernels: &Kernels, sites: &[Site]) {
    let mut devices: BTreeMap<Form, Device> = BTreeMap::new();
    // A sample must give the same wherever it runs, so there the order of cases depends on nothing that went before.
    let sampling = std::env::var_os("NEUROPIL_MUTANTS").is_none();
    // How many mutants of a source each case noticed: those that notice much come first.
    let mut noticed: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let say = |text: &str| println!("{SAYS}{text}");
    say(READY);
    for (turn, line) in std::io::stdin().lock().lines().enumerate() {
        // A device keeps every kernel that it compiled.
        if turn % KERNELS_KEPT == 0 {
            devices.clear();
        }
        let index: usize = line.expect("a line").parse().expect("the number of a site");
        let site = &sites[index];
        let source = &corpus.sources[site.source];
        let (from, to) = (source.text.clone(), site.text.clone());
        let rewrite: Rewrite = Arc::new(move |_: &str, text: &str| text.replace(&from, &to));
        let (mut tried, mut all, mut answer) = (0, 0, None);
        for form in forms_of(&source.path) {
            let mut running = corpus.running(kernels, site, form.tiles);
            // The device may not have this form at all.
            if running.is_empty() {
                continue;
            }
            let device = devices.entry(form).or_insert_with(|| {
                let Form { tiles, checked } = form;
                let options =
                    Options { tiles, checked, folded: checked, guards: true, unproven: true, ..Options::default() };
                common::open_gpu(options).expect("the parent had a device")
            });
            device.rewrite_kernels(Some(rewrite.clone()));
            if !sampling {
                running.sort_by_key(|case| std::cmp::Reverse(noticed.get(&(site.source, *case)).copied().unwrap_or(0)));
            }
            all += running.len();
            for case in running.into_iter().take(most_cases(&source.path, form)) {
                say("trying");
                tried += 1;
                let mut case_of_form = corpus.cases[case].case.clone();
                if form.tiles == Tiles::Winograd {
                    let filtered = by_winograd(case_of_form).expect("all cases can be scheduled");
                    case_of_form = filtered.expect("it has a kernel of this form");
                }
                answer = match check_case(device, &case_of_form) {
                    Ok(verdict) if verdict.failure.is_none() => continue,
                    Err(error) if error.kind() == ErrorKind::Shader => Some("invalid".to_owned()),
                    // Not a wrong number: the parent sees that this process has stopped, and starts another.
                    Err(error) if error.kind() == ErrorKind::Device => std::process::exit(1),
                    _ => {
                        *noticed.entry((site.source, case)).or_default() += 1;
                        Some(format!("noticed {}", corpus.cases[case].name))
                    }
                };
                break;
            }
            if answer.is_some() {
                break;
            }
        }
        let answer = answer.unwrap_or_else(|| format!("survived {tried} {all}"));
        say(&answer);
    }
}

/// What becomes of the mutants at `chosen`, by two workers; `report` is told each.
pub fn run(chosen: &[usize], report: impl Fn(usize, &Outcome) + Sync) -> Vec<(usize, Outcome)> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut worker = Worker::start();
                while let Some(&site) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = worker.outcome(site);
                    if outcome == Outcome::Stopped {
                        worker = Worker::start();
                    }
                    report(site, &outcome);
                    outcomes.lock().expect("no thread fails with it").push((site, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no thread failed with it");
    outcomes.sort_by_key(|(site, _)| *site);
    outcomes
}

struct Worker {
    child: Child,
    input: ChildStdin,
    said: Receiver<String>,
}

impl Worker {
    fn start() -> Self {
        let binary = std::env::current_exe().expect("this binary has a path");
        let mut child = Command::new(binary)
            .args(["--exact", "worker", "--nocapture", "--test-threads=1"])
            .env(WORKER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this binary runs");
        let (sender, said) = channel();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The harness does not end its own line before a test prints.
                if let Some((_, said)) = line.split_once(SAYS)
                    && sender.send(said.to_owned()).is_err()
                {
                    break;
                }
            }
        });
        let input = child.stdin.take().expect("it is piped");
        let first = said.recv_timeout(PATIENCE_AT_START);
        assert_eq!(first.as_deref(), Ok(READY), "a worker does not start");
        Worker { child, input, said }
    }

    fn outcome(&mut self, site: usize) -> Outcome {
        if writeln!(self.input, "{site}").is_err() {
            return Outcome::Stopped;
        }
        loop {
            let said = match self.said.recv_timeout(PATIENCE) {
                Ok(said) => said,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Outcome::Stopped,
            };
            if let Some(outcome) = log::parse(&said) {
                return outcome;
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
