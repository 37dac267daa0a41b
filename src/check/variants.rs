//! The ways in which a device can make and run its kernels.
//!
//! The kernels that a device uses are not the only ones it could use: products have several forms, of which it takes one;
//! operations are fused with their neighbours or not; shaders have the runtime checks of a browser or not. Each is a
//! [`Variant`]: the options with which the device is opened, and the cases that are worth running so. A case whose kernels
//! are the same as in the first variant is not run again.

use crate::check::cases::{Case, Direction};
use crate::check::winograd::by_winograd;
use crate::device::gpu::of_halves;
use crate::device::{Device, Options, Tiles};
use crate::dtype::DType;
use crate::error::Result;
use crate::schedule::{Capabilities, Schedule, StoreLayout, Work, schedule};
use crate::simplify::simplify;

/// A way of making and running kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// `as used`, `checked`, `unfused`, or the name of one of [`Tiles`].
    pub name: &'static str,
    /// What it means, for people.
    pub description: &'static str,
    /// How the device is opened.
    pub options: Options,
    /// Which cases differ from those of the first variant.
    cases: Cases,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cases {
    All,
    /// Where fusion makes a difference.
    Fused,
    /// Where there is a product or a convolution inside.
    Products,
    /// The same, without views and neighbours: for tiles that share all but their sizes with others that run those.
    Sizes,
    /// Where both factors are of `f16`.
    Halves,
    /// Where there is a convolution that Winograd's filtering fits, with the bounds of that.
    Filtered,
}

/// The variants of `device`, the one in which it is used first. On the CPU there are two.
pub fn variants(device: &Device) -> Vec<Variant> {
    // Every element is compared here, so kernels need no proof of their own first.
    let used = Options { guards: true, unproven: true, ..device.options() };
    let as_used = Variant {
        name: "as used",
        description: "the kernels that training uses, with guard words around every intermediate tensor",
        options: used,
        cases: Cases::All,
    };
    let unfused = Variant {
        name: "unfused",
        description: "every operation in kernels of its own, where fusion makes a difference",
        options: Options { unfused: true, ..used },
        cases: Cases::Fused,
    };
    if device.adapter().is_none() {
        return vec![as_used, unfused];
    }
    let checked = Variant {
        name: "checked",
        description: "shaders with every runtime check that a browser compiles in, dispatched in rows as very large tensors are",
        options: Options { checked: true, folded: true, ..used },
        cases: Cases::All,
    };
    let other = |tiles: Tiles| Variant {
        name: tiles.name(),
        description: match tiles {
            Tiles::Direct => "products and convolutions without workgroup memory",
            Tiles::Broadcast => "products and convolutions by broadcasts within subgroups, as software rasterisers do",
            Tiles::Large => "products and convolutions through workgroup memory, in large tiles",
            Tiles::Small => "products and convolutions through workgroup memory, in small tiles",
            Tiles::Cooperative => "products and convolutions of f16 by matrix units",
            Tiles::Winograd => "convolutions of 3×3 by Winograd's minimal filtering, with bounds of their own",
            Tiles::Staged | Tiles::Auto => "products and convolutions through workgroup memory, as hardware GPUs do",
        },
        options: Options { tiles, ..used },
        cases: match tiles {
            Tiles::Large | Tiles::Small => Cases::Sizes,
            Tiles::Cooperative => Cases::Halves,
            Tiles::Winograd => Cases::Filtered,
            _ => Cases::Products,
        },
    };
    let others = device.tiles().into_iter().skip(1).map(other);
    [as_used, checked, unfused].into_iter().chain(others).collect()
}

impl Variant {
    /// The case as this variant runs it; `None` if its kernels are those of the first variant. `device` is the one of this
    /// variant.
    ///
    /// # Errors
    /// When the case cannot be scheduled.
    pub fn admit(&self, device: &Device, case: Case) -> Result<Option<Case>> {
        match self.cases {
            Cases::All => Ok(Some(case)),
            // Without fusion, a view or a neighbour is a kernel that the samples of that operation run.
            Cases::Fused | Cases::Sizes if !matches!(case.direction, Direction::Forward | Direction::Gradient) => {
                Ok(None)
            }
            Cases::Fused => {
                let (fused, unfused) = (scheduled(device, &case, false)?, scheduled(device, &case, true)?);
                let roundings = halves(&unfused).saturating_sub(halves(&fused));
                Ok((steps(&fused) != steps(&unfused)).then(|| rounded(case, roundings)))
            }
            Cases::Filtered => by_winograd(case),
            Cases::Products | Cases::Sizes | Cases::Halves => {
                let schedule = scheduled(device, &case, self.options.unfused)?;
                let mut products = schedule.steps.iter().filter(|step| matches!(step.work, Work::Gemm { .. }));
                Ok(products.any(|step| self.cases != Cases::Halves || of_halves(&schedule, step)).then_some(case))
            }
        }
    }
}

/// How many results of steps are stored as `f16`.
fn halves(schedule: &Schedule) -> usize {
    let stored = schedule.steps.iter().flat_map(|step| &step.writes);
    stored.filter(|slot| schedule.slot(**slot).ty.dtype == DType::F16).count()
}

/// The case with room for so many more roundings to `f16`: without fusion, results on the way are stored.
fn rounded(mut case: Case, roundings: usize) -> Case {
    case.wants.iter_mut().for_each(|want| want.allow_halves(roundings));
    case
}

/// The case's schedule on `device`, were it opened with or without fusion.
fn scheduled(device: &Device, case: &Case, unfused: bool) -> Result<Schedule> {
    let graph = simplify(&case.graph)?;
    device.with_capabilities(|capabilities| {
        schedule(&graph, &StoreLayout::default(), &Capabilities { unfused, ..*capabilities })
    })
}

/// The work of a schedule as text, to compare.
fn steps(schedule: &Schedule) -> Vec<String> {
    schedule.steps.iter().map(|step| format!("{:?}", step.work)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::cases::cases;
    use crate::ops::REGISTRY;

    #[test]
    fn the_cpu_has_two_and_runs_nothing_twice() {
        let device = Device::cpu();
        let [as_used, unfused] = variants(&device)[..] else { panic!("two variants") };
        assert!(as_used.options.guards && !as_used.options.unfused && unfused.options.unfused);
        let device = device.reopened_with(unfused.options).unwrap();
        let runs = |op: &str, direction| {
            let family = REGISTRY.iter().find(|family| family.name == op).unwrap();
            let samples = (family.samples)();
            let case = cases(&samples[0]).unwrap().into_iter().find(|case| case.direction == direction).unwrap();
            assert!(as_used.admit(&device, case.clone()).unwrap().is_some());
            unfused.admit(&device, case).unwrap().is_some()
        };
        assert!(!runs("cumsum", Direction::Forward) && !runs("matmul", Direction::Forward));
        assert!(runs("softmax", Direction::Forward) && runs("matmul", Direction::Gradient));
        assert!(!runs("softmax", Direction::Views));
    }
}
