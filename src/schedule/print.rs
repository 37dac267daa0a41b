//! The stable text of a schedule: steps, places, sizes. For golden files and `neuropil graph --plan`.

use std::fmt;

use super::{Arena, Epilogue, Place, Schedule, SlotId, Work};

impl fmt::Display for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arena::Store(segment) => write!(f, "store{segment}"),
            Arena::Gradient(segment) => write!(f, "gradient{segment}"),
            Arena::Input => write!(f, "input"),
            Arena::Activation(color) => write!(f, "act{color}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.arena, self.offset)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Elementwise { shape, expression } => {
                write!(f, "elementwise {shape:?}, {} functions", expression.cost())
            }
            Work::Reduce(reduce) => {
                write!(f, "reduce {:?} over axes {:?} of {:?}", reduce.accumulator, reduce.axes, reduce.shape)
            }
            Work::Gemm { gemm, epilogue } => {
                write!(f, "gemm {}×{}×{}×{}", gemm.groups, gemm.m, gemm.n, gemm.k)?;
                then(f, epilogue.as_ref())
            }
            Work::Window { pooling, epilogue } => {
                write!(f, "window {:?} {:?}", pooling.kind, pooling.window.kernel_size)?;
                then(f, epilogue.as_ref())
            }
            Work::Opaque { op, .. } => write!(f, "shader {}", op.name()),
        }
    }
}

fn then(f: &mut fmt::Formatter<'_>, epilogue: Option<&Epilogue>) -> fmt::Result {
    epilogue.map_or(Ok(()), |(_, expression)| write!(f, ", then {} functions", expression.cost()))
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = |slots: &[SlotId]| -> String {
            let texts: Vec<String> =
                slots.iter().map(|&slot| format!("{}@{}", self.slot(slot).ty, self.slot(slot).place)).collect();
            texts.join(" ")
        };
        for (i, step) in self.steps.iter().enumerate() {
            if i == self.cut {
                writeln!(f, "--- gradients are complete ---")?;
            }
            writeln!(f, "{i:3} {}: {}", step.label, step.work)?;
            writeln!(f, "      {} <- {}", slots(&step.writes), slots(&step.reads))?;
        }
        for (arena, words) in &self.arenas {
            writeln!(f, "{arena}: {} bytes", words * 4)?;
        }
        writeln!(f, "lower bound of activations: {} bytes", self.lower_bound * 4)
    }
}
