//! Every kernel as text, without a GPU: valid WGSL, portable by WebGPU's default limits, made of files that all have a use.
//!
//! The kernels are those of every sample's cases (forward, views, gradient), for both kinds of adapter that the GPU device
//! tells apart. Equal texts count once.

mod common;
#[path = "common/uniformity.rs"]
mod uniformity;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use neuropil::check::cases;
use neuropil::device::Tiles;
use neuropil::device::gpu::{Bound, Dispatch, FILES, Limits, candidates, lower};
use neuropil::ops::REGISTRY;
use neuropil::schedule::{Schedule, StoreLayout};
use neuropil::simplify::simplify;
use wgpu::naga::{self, AddressSpace, Module, ScalarKind, StorageAccess, TypeInner, front::wgsl, valid};

/// WebGPU's default limits, which every adapter keeps.
const STORAGE_BUFFERS: usize = 8;
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16 << 10;
/// What adapters with matrix units have, which browsers do not offer.
const COOPERATIVE_BYTES: u32 = 48 << 10;
const WORKGROUPS: u32 = 65_535;

/// A kernel of some sample.
struct Kernel {
    /// Where it was met first.
    origin: String,
    /// Whether each storage binding is writable.
    writable: Vec<bool>,
}

/// Every kind of tiles, with the lanes of a subgroup on the adapters that use it, and the extent of their matrix units.
const TILES: [(Tiles, usize, Option<usize>); 10] = [
    (Tiles::Staged, 32, None),
    (Tiles::Large, 32, None),
    (Tiles::Small, 32, None),
    (Tiles::Direct, 8, None),
    (Tiles::Broadcast, 4, None),
    (Tiles::Broadcast, 8, None),
    (Tiles::Broadcast, 32, None),
    (Tiles::Cooperative, 32, Some(16)),
    (Tiles::Cooperative, 8, Some(8)),
    (Tiles::Winograd, 8, None),
];

/// What lowering all cases gave.
#[derive(Default)]
struct Lowered {
    /// By text.
    kernels: BTreeMap<String, Kernel>,
    /// What is wrong with their bindings and sizes.
    mistakes: Vec<String>,
}

static LOWERED: LazyLock<Lowered> = LazyLock::new(|| {
    let mut lowered = Lowered::default();
    for family in REGISTRY {
        for sample in (family.samples)() {
            for case in cases(&sample).expect("the references run on all samples") {
                let origin = format!("{} / {} / {}, {}", family.name, sample.op.name(), case.name, case.direction);
                let graph = simplify(&case.graph).expect("all cases simplify");
                for (tiles, lanes, fragment) in TILES {
                    let limits = Limits { lanes: Some(lanes), fragment, ..common::limits(tiles) };
                    let schedule = common::portable_schedule(&graph, &StoreLayout::default(), &limits);
                    for step in &schedule.steps {
                        // What cannot have these tiles has others.
                        let tiles = candidates(&schedule, step, &limits).first().copied().unwrap_or(tiles);
                        let dispatches = lower(&schedule, step, &limits, tiles);
                        dispatches.into_iter().for_each(|d| lowered.add(&origin, &schedule, d));
                    }
                }
            }
        }
    }
    lowered
});

impl Lowered {
    fn add(&mut self, origin: &str, schedule: &Schedule, dispatch: Dispatch) {
        let mistake = |what: String| format!("{origin}: {}: {what}", dispatch.label);
        self.mistakes.extend(binding_mistakes(schedule, &dispatch.bindings).into_iter().map(mistake));
        if dispatch.workgroups == 0 || dispatch.workgroups > (WORKGROUPS as usize).pow(2) {
            self.mistakes.push(mistake(format!("{} workgroups", dispatch.workgroups)));
        }
        let writable = dispatch.bindings.iter().map(|bound| bound.writable).collect();
        self.kernels.entry(dispatch.text).or_insert_with(|| Kernel { origin: origin.to_owned(), writable });
    }
}

/// A buffer is an arena: a dispatch must not bind one both ways, nor overlapping parts of one that it writes.
fn binding_mistakes(schedule: &Schedule, bindings: &[Bound]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (i, a) in bindings.iter().enumerate() {
        for (j, b) in bindings.iter().enumerate().skip(i + 1) {
            let ((arena, first), (other, second)) = (a.range(schedule), b.range(schedule));
            if arena != other {
                continue;
            }
            if a.writable != b.writable {
                mistakes.push(format!("bindings {i} and {j} are of {arena}, one to read, the other to write"));
            } else if a.writable && first.start < second.end && second.start < first.end {
                mistakes.push(format!("bindings {i} and {j} of {arena} can be written, and overlap"));
            }
        }
    }
    mistakes
}

#[test]
fn no_dispatch_binds_a_buffer_both_ways_or_twice_for_writing() {
    let mistakes = &LOWERED.mistakes;
    assert!(mistakes.is_empty(), "{} mistakes:\n{}", mistakes.len(), mistakes.join("\n"));
}

#[test]
fn every_kernel_is_valid_and_portable() {
    let mut failures = Vec::new();
    for (text, kernel) in &LOWERED.kernels {
        match module(text) {
            Ok(module) => {
                let mistakes = portability_mistakes(&module, kernel);
                failures.extend(mistakes.into_iter().map(|mistake| format!("{}: {mistake}", kernel.origin)));
            }
            Err(error) => failures.push(format!("{}: {error}\n{text}", kernel.origin)),
        }
    }
    println!("{} distinct kernels", LOWERED.kernels.len());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Whether matrices of whole subgroups occur.
fn cooperates(module: &Module) -> bool {
    module.types.iter().any(|(_, ty)| matches!(ty.inner, TypeInner::CooperativeMatrix { .. }))
}

/// The text as naga understands it, without any capability beyond WebGPU's core but those that the device asks for: `f16`,
/// subgroups, and their matrices.
fn module(text: &str) -> Result<Module, String> {
    let module = wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
    let mut asked = valid::Capabilities::empty();
    asked.set(valid::Capabilities::SHADER_FLOAT16, text.starts_with("enable f16;"));
    asked.set(valid::Capabilities::SUBGROUP, text.contains("subgroupBroadcast"));
    asked.set(valid::Capabilities::COOPERATIVE_MATRIX, text.contains("enable wgpu_cooperative_matrix;"));
    let mut validator = valid::Validator::new(valid::ValidationFlags::all(), asked);
    validator.validate(&module).map_err(|error| error.emit_to_string(text))?;
    Ok(module)
}

fn portability_mistakes(module: &Module, kernel: &Kernel) -> Vec<String> {
    let mut mistakes = Vec::new();
    let mut bound: BTreeMap<u32, bool> = BTreeMap::new();
    let mut workgroup_bytes = 0;
    for (_, variable) in module.global_variables.iter() {
        match variable.space {
            AddressSpace::Storage { access } => {
                let binding = variable.binding.expect("naga checks that storage is bound").binding;
                bound.insert(binding, access.contains(StorageAccess::STORE));
            }
            AddressSpace::WorkGroup => workgroup_bytes += module.types[variable.ty].inner.size(module.to_ctx()),
            _ => {}
        }
    }
    let declared: Vec<(u32, bool)> = bound.into_iter().collect();
    let given: Vec<(u32, bool)> = (1..).zip(kernel.writable.iter().copied()).collect();
    if declared != given {
        mistakes.push(format!("declares the bindings (number, writable) {declared:?}, the dispatch gives {given:?}"));
    }
    if declared.len() > STORAGE_BUFFERS {
        mistakes.push(format!("binds {} storage buffers", declared.len()));
    }
    let most = if cooperates(module) { COOPERATIVE_BYTES } else { WORKGROUP_BYTES };
    if workgroup_bytes > most {
        mistakes.push(format!("uses {workgroup_bytes} bytes of workgroup memory"));
    }
    let float_atomic =
        |ty: &naga::Type| matches!(ty.inner, TypeInner::Atomic(scalar) if scalar.kind == ScalarKind::Float);
    if module.types.iter().any(|(_, ty)| float_atomic(ty)) {
        mistakes.push("uses float atomics, whose order of addition is not fixed".to_owned());
    }
    for function in uniformity::lone_barriers(module) {
        mistakes.push(format!("{function}: a barrier that only some invocations may reach"));
    }
    match &module.entry_points[..] {
        [main] if main.name == "main" && main.workgroup_size.iter().product::<u32>() <= INVOCATIONS => {}
        others => {
            let found = others.iter().map(|entry| format!("{} {:?}", entry.name, entry.workgroup_size));
            mistakes.push(format!("has the entry points {:?}", found.collect::<Vec<_>>()));
        }
    }
    mistakes
}

#[test]
fn every_shader_file_is_in_some_kernel() {
    let included = included_by_operations();
    let mut texts: Vec<(String, String)> =
        FILES.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    texts.extend(included.into_iter().map(|path| {
        let text = fs::read_to_string(root().join("shaders").join(&path));
        (path, text.expect("what the compiler has included can be read"))
    }));
    let known: BTreeSet<&str> = texts.iter().map(|(path, _)| path.as_str()).collect();
    let files: Vec<String> =
        common::files_below(&root().join("shaders")).iter().map(|path| below_shaders(path)).collect();
    let orphans: Vec<&String> = files.iter().filter(|path| !known.contains(path.as_str())).collect();
    assert!(orphans.is_empty(), "neither in `device::gpu::FILES` nor included by a file of src/ops: {orphans:?}");
    let unused: Vec<&String> = texts
        .iter()
        .filter(|(_, text)| !LOWERED.kernels.keys().any(|kernel| kernel.contains(text.as_str())))
        .map(|(path, _)| path)
        .collect();
    assert!(unused.is_empty(), "no sample has a kernel with these files: {unused:?}");
}

#[test]
fn every_kernel_file_has_the_name_of_its_family() {
    let ops = root().join("src/ops");
    let names = common::files_below(&root().join("shaders")).into_iter().map(|path| below_shaders(&path));
    let orphans: Vec<String> = names
        .filter_map(|path| path.strip_suffix(".wgsl").filter(|name| !name.starts_with("lib/")).map(str::to_owned))
        .filter(|name| !ops.join(name).with_extension("rs").is_file() && !ops.join(name).is_dir())
        .collect();
    assert!(
        orphans.is_empty(),
        "shaders without src/ops/NAME.rs or src/ops/NAME/ (what is shared is in lib/): {orphans:?}"
    );
}

/// The files below `shaders/` that an operation includes by itself.
fn included_by_operations() -> Vec<String> {
    let mut included = Vec::new();
    for path in common::files_below(&root().join("src/ops")) {
        let text = fs::read_to_string(&path).expect("sources are text");
        for argument in text.split("include_str!(\"").skip(1) {
            let argument = argument.split('"').next().unwrap_or_default();
            let (_, below) = argument.split_once("shaders/").expect("operations include shaders alone");
            included.push(below.to_owned());
        }
    }
    included
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn below_shaders(path: &Path) -> String {
    let relative = path.strip_prefix(root().join("shaders")).expect("a file below shaders");
    relative.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}
