//! Cases as a device may compute them whose convolutions are by Winograd's minimal filtering.
//!
//! What that rounds is more than the bound of a plain sum allows, on some data by far; so the cases in which it is used are
//! judged by a bound of its own ([`crate::schedule::evaluate`]). A case of one step has that of each element. In one of
//! several steps, as of gradients, what the first is off by goes through the others: there the tolerance is that of the
//! sample several times, of the largest element, since an element is off in proportion to its neighbours. Before:
//! [`mod@super::cases`]. After: [`super::variants`] and the tests run them.

use super::error_model::{bounds_as, errors, portable};
use super::{Case, rounding};
use crate::error::Result;
use crate::graph::Tolerance;
use crate::schedule::Work;
use crate::schedule::evaluate::Products;

/// So many times a tolerance: of sums over up to a hundred channels, of numbers of both signs, the filtering is off by up to
/// three times as much as the sum is.
const ROOM: f64 = 8.0;

const REASON: &str = "by Winograd's filtering: 8 times the tolerance of the sum, of the largest element";

/// The case as a device with [`Tiles::Winograd`](crate::device::Tiles::Winograd) is allowed to compute it; `None` where it
/// has no convolution of that kind, or where what goes into one is not finite: of that nothing can be said. A convolution
/// whose filters are too large for a device's scratch memory is computed as ever, and judged by the wider bound too.
///
/// # Errors
/// When the graph cannot be scheduled.
pub fn by_winograd(mut case: Case) -> Result<Option<Case>> {
    let schedule = portable(&case.graph)?;
    let filtered = |work: &Work| matches!(work, Work::Gemm { gemm, .. } if gemm.filtering().is_some());
    let finite = case.leaves.values().all(|array| array.to_f64_vec().iter().all(|x| x.is_finite()));
    if !finite || !schedule.steps.iter().any(|step| filtered(&step.work)) {
        return Ok(None);
    }
    let bounds = bounds_as(&case.graph, &case.leaves, Products::Winograd)?;
    for want in &mut case.wants {
        if let Some(bounds) = bounds.get(&want.name) {
            want.bounds = Some(errors(&want.name, bounds, &want.array)?);
        } else {
            let Tolerance { absolute, relative, .. } = want.tolerance;
            let absolute = ROOM * (absolute + relative * rounding::largest(&want.array));
            want.tolerance = Tolerance { absolute, relative, reason: REASON };
        }
    }
    Ok(Some(case))
}
