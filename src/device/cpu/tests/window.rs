//! Every kind of pooling against sums over all pairs of a position and a tap.

use super::*;
use crate::graph::{Access, Expression, Pooling, Term, WindowKind};
use crate::ops::elementwise::row_named;
use crate::shape::Window;

/// Every kind of pooling against sums over all pairs of a position and a tap.
fn check(pooling: Pooling, special: bool) {
    let Pooling { kind, window, batch, image, positions, channels } = pooling;
    let shapes = [[batch, image[0], image[1], channels], [batch, positions[0], positions[1], channels]];
    let mut rng = Stream::new(batch as u64, "cpu.window");
    let mut data = |shape: &[usize]| {
        Array::from_fn(shape, |_| match below(&mut rng, 12) {
            0 if special => f32::NAN,
            1 if special => f32::NEG_INFINITY,
            other => other as f32,
        })
    };
    let (x, g) = (data(&shapes[0]), data(&shapes[1]));
    let (xs, gs) = (x.to_f64_vec(), g.to_f64_vec());
    let at =
        |shape: &[usize; 4], index: [usize; 4]| index.iter().zip(shape).fold(0, |flat, (i, extent)| flat * extent + i);
    let size = |shape: &[usize; 4]| shape.iter().product::<usize>();
    // All taps inside: (position, tap, pixel).
    let mut pairs = Vec::new();
    for flat in 0..size(&shapes[1]) {
        let [n, p, q, c] = unravel(flat, &shapes[1])[..] else { unreachable!() };
        for tap in 0..window.taps() {
            let (r, s) = (tap / window.kernel_size[1], tap % window.kernel_size[1]);
            if let (Some(h), Some(w)) = (window.source(0, p, r, image[0]), window.source(1, q, s, image[1])) {
                pairs.push((flat, tap, at(&shapes[0], [n, h, w, c])));
            }
        }
    }
    let (mut best, mut chosen) = (vec![f64::NEG_INFINITY; gs.len()], vec![usize::MAX; gs.len()]);
    let mut counts = vec![0.0; gs.len()];
    for &(position, tap, pixel) in &pairs {
        let (x, best) = (xs[pixel], &mut best[position]);
        if chosen[position] == usize::MAX || x > *best || (x.is_nan() && !best.is_nan()) {
            (*best, chosen[position]) = (x, tap);
        }
        counts[position] += 1.0;
    }
    let taps = Array::new(&shapes[1], chosen.iter().map(|&tap| tap as u32).collect()).unwrap();
    let divisor = |position: usize, padding: bool| if padding { window.taps() as f64 } else { counts[position] };
    let (mut wanted, mut pooled) = (vec![0.0; xs.len()], vec![0.0; gs.len()]);
    for &(position, tap, pixel) in &pairs {
        match kind {
            WindowKind::MaxScatter if chosen[position] == tap => wanted[pixel] += gs[position],
            WindowKind::MaxGather if chosen[position] == tap => pooled[position] = xs[pixel],
            WindowKind::Mean { include_padding } => pooled[position] += xs[pixel] / divisor(position, include_padding),
            WindowKind::MeanScatter { include_padding } => {
                wanted[pixel] += gs[position] / divisor(position, include_padding);
            }
            _ => {}
        }
    }
    let taps_type = TensorType::new(DType::U32, shapes[1]);
    let (operands, types, wanted) = match kind {
        WindowKind::Max => (vec![x], vec![f32s(&shapes[1]), taps_type], best),
        WindowKind::MaxScatter => (vec![g, taps.clone()], vec![f32s(&shapes[0])], wanted),
        WindowKind::MaxGather => (vec![x, taps.clone()], vec![f32s(&shapes[1])], pooled),
        WindowKind::Mean { .. } => (vec![x], vec![f32s(&shapes[1])], pooled),
        WindowKind::MeanScatter { .. } => (vec![g], vec![f32s(&shapes[0])], wanted),
    };
    let found = run(Work::Window { pooling, epilogue: None }, &operands, &types, &[]).unwrap();
    for (found, wanted) in found[0].to_f64_vec().iter().zip(&wanted) {
        let close =
            (found - wanted).abs() <= 1e-6 * wanted.abs() || found == wanted || found.is_nan() && wanted.is_nan();
        assert!(close, "{pooling:?}: {found} is not {wanted}");
    }
    if kind == WindowKind::Max {
        assert_eq!(found[1], taps, "{pooling:?}");
        return;
    }
    // Half of it, and another tensor, in place of which it goes; and the result itself.
    let shape = vec![wanted.len()];
    let mut epilogue = Expression::load(0, Access::identity(&shape), DType::F32);
    let apply =
        |name, arguments| Term::Apply { function: &row_named(name).unwrap().function, arguments, dtype: DType::F32 };
    let other = kind.operands();
    epilogue.terms.extend([
        Term::Load { operand: 1, access: Access::identity(&shape), otherwise: None, dtype: DType::F32 },
        Term::Scalar { value: 0.5, dtype: DType::F32 },
        apply("mul", vec![0, 2]),
        apply("add", vec![3, 1]),
    ]);
    epilogue.results = vec![4, 0];
    let x = Array::from_fn(&shape, |i| i[0] as f32);
    let operands = [&operands[..], &[x]].concat();
    let work = Work::Window { pooling, epilogue: Some((shape.clone(), epilogue)) };
    let after = run(work, &operands, &[f32s(&shape), f32s(&shape)], &[(0, other)]).unwrap();
    assert_eq!(after[1].to_f64_vec(), found[0].to_f64_vec(), "{pooling:?}");
    for (i, (after, found)) in after[0].to_f64_vec().into_iter().zip(found[0].to_f64_vec()).enumerate() {
        assert!((after - (0.5 * found + i as f64)).abs() <= 1e-6 * (1.0 + after.abs()), "{pooling:?}: {after} at {i}");
    }
}

#[test]
fn random_pooling() {
    at_every_width(|| {
        for seed in 0..60 {
            let mut rng = Stream::new(seed, "cpu.pool");
            let mut up_to = |n: usize| 1 + below(&mut rng, n);
            let kernel_size = [1 + up_to(2), 1 + up_to(2)];
            let padding = [[up_to(2) - 1, up_to(2) - 1], [up_to(2) - 1, up_to(2) - 1]];
            let window = Window { kernel_size, stride: [up_to(3), up_to(3)], padding, dilation: [up_to(2), up_to(2)] };
            let image = if seed == 0 { [70, 60] } else { [5 + up_to(5), 5 + up_to(5)] };
            let positions = window.output_size("test", image).unwrap();
            let include_padding = seed % 2 == 0;
            for kind in [
                WindowKind::Max,
                WindowKind::MaxScatter,
                WindowKind::MaxGather,
                WindowKind::Mean { include_padding },
                WindowKind::MeanScatter { include_padding },
            ] {
                let special = kind == WindowKind::Max;
                let batch = seed as usize % 4;
                check(Pooling { kind, window, batch, image, positions, channels: up_to(9) }, special);
            }
        }
    });
}
