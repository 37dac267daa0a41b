//! Which cases of the operations' samples run which shader, and which function of it.
//!
//! Lowering needs no GPU: the texts of all kernels of a case are made, and searched for the sources they contain and for
//! the functions that `main` reaches. So a mutant runs only where it can make a difference. Before: [`super::sites`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use neuropil::Device;
use neuropil::check::{Case, cases, fresh};
use neuropil::device::Tiles;
use neuropil::device::gpu::{FILES, Limits, candidates, lower};
use neuropil::graph::Wgsl;
use neuropil::ops::{REGISTRY, elementwise};
use neuropil::schedule::StoreLayout;
use neuropil::simplify::simplify;

use super::sites::{Site, Source};
use super::tokens::{Kind, functions, tokens};
use crate::common;

/// How many of the quickest cases come first, and of the largest next; and how many of all sizes make a round.
const SOONEST: usize = 20;
const LARGEST: usize = 60;
const STRATA: usize = 100;

/// Everything that mutants are tried on.
pub struct Corpus {
    pub sources: Vec<Source>,
    pub cases: Vec<Named>,
}

/// A case with its name and its kernels.
pub struct Named {
    pub name: String,
    pub case: Case,
    /// By form of products; equal ones are kept once.
    kernels: BTreeMap<Tiles, Vec<usize>>,
    /// How many numbers go through it.
    elements: usize,
}

/// What is known of a kernel's text.
struct Kernel {
    /// The sources in it.
    sources: BTreeSet<usize>,
    /// The functions that its entry point reaches.
    reached: BTreeSet<String>,
}

/// The kernels of all cases, by their number.
pub struct Kernels(Vec<Kernel>);

/// In what form kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Form {
    pub tiles: Tiles,
    /// With every runtime check, and dispatched in rows: reads beyond an array give its last element, and there are more
    /// workgroups than work.
    pub checked: bool,
}

/// The forms in which a source's mutants run: of products its own, or those that differ in what a mistake may mix up.
pub fn forms_of(path: &str) -> Vec<Form> {
    let tiles: &[Tiles] = match path {
        // Some have several blocks across, some down.
        "lib/matmul_staged.wgsl" => &[Tiles::Staged, Tiles::Large],
        "lib/matmul_broadcast.wgsl" => &[Tiles::Broadcast],
        "lib/matmul_cooperative.wgsl" => &[Tiles::Cooperative],
        "lib/winograd_filters.wgsl" | "lib/winograd_tiles.wgsl" | "lib/winograd_products.wgsl" => &[Tiles::Winograd],
        // Direct tiles have unequal numbers of lanes across and down, the others of blocks.
        "matmul.wgsl" | "lib/matmul_tile.wgsl" => &[Tiles::Direct, Tiles::Broadcast, Tiles::Staged],
        _ => &[Tiles::Direct],
    };
    [false, true].into_iter().flat_map(|checked| tiles.iter().map(move |&tiles| Form { tiles, checked })).collect()
}

impl Corpus {
    /// All sources that `device` can run, and the cases of all samples, at their own inputs and at fresh ones.
    pub fn new(device: &Device) -> (Self, Kernels) {
        let (lanes, possible) = (device.lanes(), device.tiles());
        let mut sources = sources();
        sources.retain(|source| forms_of(&source.path).iter().any(|form| possible.contains(&form.tiles)));
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let mut kernels = Vec::new();
        let mut named = Vec::new();
        let forms = [Tiles::Direct, Tiles::Staged, Tiles::Large, Tiles::Broadcast, Tiles::Cooperative, Tiles::Winograd];
        let forms = forms.into_iter().filter(|tiles| possible.contains(tiles));
        for (name, case) in all_cases() {
            let graph = simplify(&case.graph).expect("all cases simplify");
            let of_form = |tiles| {
                let limits = Limits { lanes, fragment: device.fragment(), ..common::limits(tiles) };
                let schedule = common::portable_schedule(&graph, &StoreLayout::default(), &limits);
                let texts = schedule.steps.iter().flat_map(|step| {
                    let tiles = candidates(&schedule, step, &limits).first().copied().unwrap_or(tiles);
                    lower(&schedule, step, &limits, tiles)
                });
                let number = |text: String| {
                    *numbers.entry(text).or_insert_with_key(|text| {
                        kernels.push(Kernel::of(text, &sources));
                        kernels.len() - 1
                    })
                };
                (tiles, texts.map(|dispatch| dispatch.text).map(number).collect::<BTreeSet<_>>().into_iter().collect())
            };
            let of_forms = forms.clone().map(of_form).collect();
            let elements = case.leaves.values().map(neuropil::Array::len).sum();
            named.push(Named { name, case, kernels: of_forms, elements });
        }
        (Corpus { sources, cases: named }, Kernels(kernels))
    }

    /// The cases that run the place of a site: some that are done soonest, then the largest, where work is split and loops
    /// are long, then the others, from all sizes alike. Among these come first those with a kernel that none before has.
    pub fn running(&self, kernels: &Kernels, site: &Site, tiles: Tiles) -> Vec<usize> {
        let runs = |kernel: &usize| {
            let Kernel { sources, reached } = &kernels.0[*kernel];
            sources.contains(&site.source) && site.function.as_ref().is_none_or(|function| reached.contains(function))
        };
        let of_form = |case: &Named| case.kernels.get(&tiles).cloned().unwrap_or_default();
        let mut running: Vec<usize> =
            (0..self.cases.len()).filter(|&i| of_form(&self.cases[i]).iter().any(runs)).collect();
        running.sort_by_key(|&i| (of_form(&self.cases[i]).len(), self.cases[i].elements));
        let mut rest = running.split_off(running.len().min(SOONEST));
        rest.sort_by_key(|&i| self.cases[i].elements);
        running.extend(rest.split_off(rest.len().saturating_sub(LARGEST)));
        let stride = rest.len().div_ceil(STRATA).max(1);
        running.extend((0..stride).flat_map(|first| rest.iter().skip(first).step_by(stride)));
        let mut seen = BTreeSet::new();
        let (new, known): (Vec<usize>, Vec<usize>) = running.into_iter().partition(|&i| {
            let running = of_form(&self.cases[i]).into_iter().filter(runs);
            running.filter(|&kernel| seen.insert(kernel)).count() > 0
        });
        [new, known].concat()
    }
}

impl Kernel {
    fn of(text: &str, sources: &[Source]) -> Self {
        let contained = (0..sources.len()).filter(|&i| text.contains(&sources[i].text)).collect();
        let bodies: BTreeMap<String, &str> =
            functions(text).into_iter().map(|(name, range)| (name, &text[range])).collect();
        let mut reached = BTreeSet::from(["main".to_owned()]);
        let mut open = vec!["main".to_owned()];
        while let Some(body) = open.pop().and_then(|name| bodies.get(&name)) {
            for token in tokens(body).iter().filter(|token| token.kind == Kind::Word) {
                let word = token.text(body);
                if bodies.contains_key(word) && reached.insert(word.to_owned()) {
                    open.push(word.to_owned());
                }
            }
        }
        Kernel { sources: contained, reached }
    }
}

/// Every shader file, and every function of the table.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut sources: Vec<Source> =
        FILES.iter().map(|(path, text)| Source { path: (*path).to_owned(), text: (*text).to_owned() }).collect();
    for path in common::files_below(&root) {
        let below = path.strip_prefix(&root).expect("it is below").to_string_lossy().replace('\\', "/");
        if !sources.iter().any(|source| source.path == below) {
            sources.push(Source { path: below, text: fs::read_to_string(&path).expect("shaders are text") });
        }
    }
    for row in elementwise::rows() {
        if let Wgsl::Source(text) = row.function.wgsl {
            sources.push(Source { path: format!("elementwise/{}", row.function.name), text: text.to_owned() });
        }
    }
    sources
}

fn all_cases() -> Vec<(String, Case)> {
    let halves = common::halves::case();
    let mut all = vec![(halves.name.clone(), halves)];
    for family in REGISTRY {
        for sample in (family.samples)() {
            let name =
                |case: &Case, inputs: &str| format!("{} / {}, {}{inputs}", sample.op.name(), case.name, case.direction);
            for case in cases(&sample).expect("the references run on all samples") {
                all.push((name(&case, ""), case));
            }
            let Some(drawn) = fresh::sample(&sample, 0) else { continue };
            for case in cases(&drawn).expect("the references run on fresh inputs") {
                let case = fresh::widened(case, 0).expect("the references run nearby");
                all.push((name(&case, ", fresh inputs"), case));
            }
        }
    }
    all
}
