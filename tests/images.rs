//! Images in other sizes, pooled, rearranged and padded: what PyTorch 2 gives, on every device.

mod common;

use neuropil::nn::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, CircularPad2d, Interpolation, LpPool2d, MaxPool2d, Module,
    PixelShuffle, PixelUnshuffle, ReflectionPad2d, ReplicationPad2d, Sequential, Upsample,
};
use neuropil::shape::Window;
use neuropil::{Array, DType, Scope, Tensor, Trace};

/// What is computed from the input, and what PyTorch gives for it with the channels moved to the end.
struct Case {
    shape: &'static [usize],
    compute: fn(&Scope, Tensor) -> Tensor,
    want_shape: &'static [usize],
    want: &'static [f64],
}

/// Numbers with ties, of either sign.
fn input(shape: &[usize]) -> Array {
    Array::from_fn(shape, |i| {
        let from_last = |back: usize| i[shape.len() - back];
        let row = if shape.len() == 4 { from_last(3) } else { 0 };
        ((row * 7 + from_last(2) * 3 + from_last(1) * 5) % 11) as f32 / 4.0 - 1.0
    })
}

const CASES: &[Case] = &[
    Case {
        shape: &[1, 2, 3, 1],
        compute: |_, x| x.interpolate([3, 5], Interpolation::Nearest),
        want_shape: &[1, 3, 5, 1],
        want: &[-1.0, -1.0, -0.25, -0.25, 0.5, -1.0, -1.0, -0.25, -0.25, 0.5, 0.75, 0.75, 1.5, 1.5, -0.5],
    },
    Case {
        shape: &[1, 5, 4, 1],
        compute: |_, x| x.interpolate([2, 3], Interpolation::Nearest),
        want_shape: &[1, 2, 3, 1],
        want: &[-1.0, -0.25, 0.5, -0.25, 0.5, 1.25],
    },
    Case {
        shape: &[1, 2, 3, 1],
        compute: |_, x| x.interpolate([3, 5], Interpolation::Bilinear { align_corners: false }),
        want_shape: &[1, 3, 5, 1],
        want: &[-1.0, -0.7, -0.25, 0.2, 0.5, -0.125, 0.175, 0.625, 0.25, 0.0, 0.75, 1.05, 1.5, 0.3, -0.5],
    },
    Case {
        shape: &[1, 5, 4, 1],
        compute: |_, x| x.interpolate([2, 3], Interpolation::Bilinear { align_corners: false }),
        want_shape: &[1, 2, 3, 1],
        want: &[0.4375, 0.40625, 0.375, 1.03125, -0.03125, 0.625],
    },
    Case {
        shape: &[1, 2, 3, 1],
        compute: |_, x| x.interpolate([3, 5], Interpolation::Bilinear { align_corners: true }),
        want_shape: &[1, 3, 5, 1],
        want: &[-1.0, -0.625, -0.25, 0.125, 0.5, -0.125, 0.25, 0.625, 0.3125, 0.0, 0.75, 1.125, 1.5, 0.5, -0.5],
    },
    Case {
        shape: &[1, 5, 4, 1],
        compute: |_, x| x.interpolate([2, 3], Interpolation::Bilinear { align_corners: true }),
        want_shape: &[1, 2, 3, 1],
        want: &[-1.0, 0.125, 1.25, 0.5, 0.25, 0.0],
    },
    Case {
        shape: &[1, 2, 3, 1],
        compute: |_, x| x.interpolate_by([1.5, 2.0], Interpolation::Bilinear { align_corners: false }),
        want_shape: &[1, 3, 6, 1],
        want: &[
            -1.0, -0.8125, -0.4375, -0.0625, 0.3125, 0.5, -0.125, 0.0625, 0.4375, 0.46875, 0.15625, 0.0, 0.75, 0.9375,
            1.3125, 1.0, 0.0, -0.5,
        ],
    },
    Case {
        shape: &[1, 5, 4, 1],
        compute: |_, x| x.adaptive_avg_pool2d([3, 3]),
        want_shape: &[1, 3, 3, 1],
        want: &[0.25, 0.3125, 0.375, 0.5833333, 0.4166667, 0.25, 0.6875, 0.0625, 0.125],
    },
    Case {
        shape: &[1, 2, 3, 1],
        compute: |_, x| x.adaptive_avg_pool2d([3, 2]),
        want_shape: &[1, 3, 2, 1],
        want: &[-0.625, 0.125, 0.25, 0.3125, 1.125, 0.5],
    },
    Case {
        shape: &[1, 5, 4, 1],
        compute: |_, x| x.adaptive_max_pool2d([3, 3]),
        want_shape: &[1, 3, 3, 1],
        want: &[1.5, 1.5, 1.25, 1.5, 1.5, 1.25, 1.5, 1.25, 1.0],
    },
    Case {
        shape: &[1, 4, 4, 1],
        compute: |_, x| x.adaptive_max_pool2d([2, 4]),
        want_shape: &[1, 2, 4, 1],
        want: &[0.75, 1.5, 0.5, 1.25, 1.5, 0.5, 1.25, 1.0],
    },
    Case {
        shape: &[1, 5, 4, 1],
        compute: |_, x| x.adaptive_max_pool2d_with_indices([3, 3])[1].cast(DType::F32),
        want_shape: &[1, 3, 3, 1],
        want: &[5.0, 5.0, 3.0, 5.0, 5.0, 10.0, 12.0, 17.0, 15.0],
    },
    Case {
        shape: &[1, 4, 6, 1],
        compute: |_, x| x.lp_pool2d(1.0, Window::new([2, 3]).stride(2)),
        want_shape: &[1, 2, 2, 1],
        want: &[1.0, 1.75, 2.75, 0.75],
    },
    Case {
        shape: &[1, 4, 6, 1],
        compute: |_, x| x.lp_pool2d(2.0, Window::new([2, 3]).stride(2)),
        want_shape: &[1, 2, 2, 1],
        want: &[2.0916501, 1.9202864, 2.1065374, 2.0463382],
    },
    Case {
        shape: &[1, 4, 6, 1],
        compute: |_, x| x.lp_pool2d(3.0, Window::new([2, 3]).stride(2)),
        want_shape: &[1, 2, 2, 1],
        want: &[1.4063066, 1.3656389, 1.746592, 1.1565163],
    },
    Case {
        shape: &[1, 4, 6, 1],
        compute: |_, x| x.lp_pool2d(f64::INFINITY, Window::new([2, 3]).stride(2)),
        want_shape: &[1, 2, 2, 1],
        want: &[1.5, 1.25, 1.5, 1.25],
    },
    Case {
        shape: &[1, 1, 2, 8],
        compute: |_, x| x.pixel_shuffle(2),
        want_shape: &[1, 2, 4, 2],
        want: &[-1.0, 1.25, 0.25, -0.25, -0.25, -0.75, 1.0, 0.5, 1.5, 1.0, 0.0, -0.5, -0.5, -1.0, 0.75, 0.25],
    },
    Case {
        shape: &[1, 2, 4, 2],
        compute: |_, x| x.pixel_unshuffle(2),
        want_shape: &[1, 1, 2, 8],
        want: &[-1.0, -0.25, 0.75, 1.5, 0.25, 1.0, -0.75, 0.0, 0.5, 1.25, -0.5, 0.25, -1.0, -0.25, 0.75, 1.5],
    },
    Case {
        shape: &[1, 2, 3, 1],
        compute: |_, x| x.pad_reflect(&[(0, 0), (1, 0), (2, 1), (0, 0)]),
        want_shape: &[1, 3, 6, 1],
        want: &[-0.5, 1.5, 0.75, 1.5, -0.5, 1.5, 0.5, -0.25, -1.0, -0.25, 0.5, -0.25, -0.5, 1.5, 0.75, 1.5, -0.5, 1.5],
    },
    Case {
        shape: &[1, 2, 3, 1],
        compute: |_, x| x.pad_replicate(&[(0, 0), (1, 0), (2, 1), (0, 0)]),
        want_shape: &[1, 3, 6, 1],
        want: &[
            -1.0, -1.0, -1.0, -0.25, 0.5, 0.5, -1.0, -1.0, -1.0, -0.25, 0.5, 0.5, 0.75, 0.75, 0.75, 1.5, -0.5, -0.5,
        ],
    },
    Case {
        shape: &[1, 2, 3, 1],
        compute: |_, x| x.pad_circular(&[(0, 0), (1, 0), (2, 1), (0, 0)]),
        want_shape: &[1, 3, 6, 1],
        want: &[1.5, -0.5, 0.75, 1.5, -0.5, 0.75, -0.25, 0.5, -1.0, -0.25, 0.5, -1.0, 1.5, -0.5, 0.75, 1.5, -0.5, 0.75],
    },
    Case {
        shape: &[1, 5, 4, 1],
        compute: |scope, x| MaxPool2d { window: Window::new([2, 3]).stride(2), ceil_mode: true }.forward(scope, x),
        want_shape: &[1, 3, 2, 1],
        want: &[1.5, 1.25, 1.5, 1.25, 1.25, 0.0],
    },
    Case {
        shape: &[1, 4, 6, 1],
        compute: |scope, x| {
            AvgPool2d { window: Window::new([3, 3]).stride(2).padding(1), count_include_pad: true, ceil_mode: true }
                .forward(scope, x)
        },
        want_shape: &[1, 3, 4, 1],
        want: &[
            0.1111111, 0.3055556, 0.0833333, -0.1666667, 0.3888889, 0.3333333, 0.0, -0.0833333, 0.1666667, 0.125,
            -0.0416667, -0.0625,
        ],
    },
    Case {
        shape: &[1, 4, 6, 1],
        compute: |scope, x| {
            AvgPool2d { window: Window::new([3, 3]).stride(2).padding(1), count_include_pad: true, ceil_mode: false }
                .forward(scope, x)
        },
        want_shape: &[1, 2, 3, 1],
        want: &[0.1111111, 0.3055556, 0.0833333, 0.3888889, 0.3333333, 0.0],
    },
    Case {
        shape: &[1, 4, 6, 1],
        compute: |scope, x| {
            AvgPool2d { window: Window::new([3, 3]).stride(2).padding(1), count_include_pad: false, ceil_mode: true }
                .forward(scope, x)
        },
        want_shape: &[1, 3, 4, 1],
        want: &[0.25, 0.4583333, 0.125, -0.5, 0.5833333, 0.3333333, 0.0, -0.1666667, 0.5, 0.25, -0.0833333, -0.25],
    },
    Case {
        shape: &[1, 4, 6, 1],
        compute: |scope, x| {
            AvgPool2d { window: Window::new([3, 3]).stride(2).padding(1), count_include_pad: false, ceil_mode: false }
                .forward(scope, x)
        },
        want_shape: &[1, 2, 3, 1],
        want: &[0.25, 0.4583333, 0.125, 0.5833333, 0.3333333, 0.0],
    },
    Case {
        shape: &[1, 3, 5, 1],
        compute: |scope, x| AvgPool2d::new(2).ceil_mode().forward(scope, x),
        want_shape: &[1, 2, 3, 1],
        want: &[0.25, 0.375, 0.125, 0.125, 0.25, 0.0],
    },
    Case {
        shape: &[1, 4, 5, 1],
        compute: |scope, x| {
            MaxPool2d { window: Window::new([2, 2]).stride(3).padding(1), ceil_mode: true }.forward(scope, x)
        },
        want_shape: &[1, 2, 2, 1],
        want: &[-1.0, 1.25, 1.5, 1.25],
    },
    Case {
        shape: &[1, 7, 2],
        compute: |_, x| x.max_pool1d(3, 2, 1),
        want_shape: &[1, 4, 2],
        want: &[-0.25, 1.0, 1.25, 1.0, 1.25, 1.25, 0.75, 1.25],
    },
    Case {
        shape: &[1, 7, 2],
        compute: |_, x| x.avg_pool1d(3, 2, 1),
        want_shape: &[1, 4, 2],
        want: &[-0.4166667, 0.4166667, 0.5, -0.0833333, 0.1666667, 0.5, 0.25, 0.1666667],
    },
    Case {
        shape: &[1, 7, 2],
        compute: |_, x| x.adaptive_avg_pool1d(3),
        want_shape: &[1, 3, 2],
        want: &[-0.25, 0.0833333, 0.3333333, -0.25, 0.0, 0.3333333],
    },
    Case {
        shape: &[1, 7, 2],
        compute: |_, x| x.adaptive_max_pool1d(3),
        want_shape: &[1, 3, 2],
        want: &[0.5, 1.0, 1.25, 0.5, 0.75, 1.25],
    },
];

#[test]
fn results_are_those_of_pytorch() {
    for device in common::devices() {
        for (number, case) in CASES.iter().enumerate() {
            let trace = Trace::default();
            let y = (case.compute)(&trace.scope(), trace.data(&input(case.shape)));
            let got = y.eval(&device).unwrap_or_else(|error| panic!("case {number}: {error}"));
            assert_eq!(got.shape(), case.want_shape, "case {number}");
            for (got, want) in got.to_f64_vec().iter().zip(case.want) {
                let same = (got.is_nan() && want.is_nan()) || (got - want).abs() <= 2e-5 * want.abs().max(0.1);
                assert!(same, "case {number} on {}: {got}, PyTorch gives {want}", device.name());
            }
        }
    }
}

#[test]
fn flips_compose_with_other_views() {
    let numbers = input(&[1, 3, 4, 5]).reshape(&[3, 4, 5]).unwrap();
    let squares: Vec<f64> = numbers.to_f64_vec().iter().map(|x| x * x).collect();
    for device in common::devices() {
        let trace = Trace::default();
        let x = trace.data(&numbers).square();
        let y = x.flip(&[0, -1]).permute(&[2, 0, 1]).slice(&[1..4, 0..3, 1..4]).sum(&[0]).flip(&[1]);
        let want = (0..3).flat_map(|a| (0..3).map(move |b| (2 - a, 3 - b)));
        let want: Vec<f64> =
            want.map(|(row, column)| (1..4).map(|k| squares[(row * 4 + column) * 5 + 4 - k]).sum()).collect();
        assert_eq!(y.eval(&device).unwrap().to_f64_vec(), want, "{}", device.name());
    }
}

#[test]
fn mistakes_name_the_operation() {
    let trace = Trace::default();
    let x = trace.data(&input(&[1, 4, 4, 1]));
    let error = |tensor: Tensor| tensor.eval(&neuropil::Device::cpu()).unwrap_err().to_string();
    let text = error(x.interpolate_by([f64::NAN, 2.0], Interpolation::Nearest));
    assert!(text.contains("upsample_nearest2d: from 4 pixels to 0"), "{text}");
    let other = Trace::default();
    let text = error(other.data(&input(&[1, 4, 4, 1])).max_pool1d(2, 2, 0));
    assert!(text.contains("max_pool1d: takes [N, L, C], got [1, 4, 4, 1]"), "{text}");
}

#[test]
fn the_gradient_of_power_average_pooling_is_zero_where_it_is_zero() {
    let window = Window::new([2, 2]).stride(2);
    let zeros: [f32; 8] = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.5];
    let cancels: [f32; 8] = [1.0, -2.0, 1.0, 3.0, 2.0, -1.0, 0.5, 0.25];
    let nan = f64::NAN;
    let infinity = f64::INFINITY;
    // As PyTorch's.
    for (norm_type, x, want) in [
        (1.0, cancels, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]),
        (2.0, zeros, [0.0, 0.0, 0.4364358, 0.0, 0.0, 0.0, 0.8728716, 0.2182179]),
        (3.0, zeros, [0.0, 0.0, 0.2290049, 0.0, 0.0, 0.0, 0.9160195, 0.0572512]),
        (0.5, zeros, [nan, nan, 3.1213203, infinity, nan, nan, 2.2071068, 4.4142136]),
    ] {
        for device in common::devices() {
            let trace = Trace::default();
            let x = trace.data(&Array::new(&[1, 2, 4, 1], x.to_vec()).unwrap());
            let gradient = trace.gradient(&x.lp_pool2d(norm_type, window).sum_all(), &[&x]).swap_remove(0);
            let got = gradient.eval(&device).unwrap().to_f64_vec();
            let same = |(got, want): (&f64, &f64)| {
                got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() < 2e-5 * want.abs()
            };
            assert!(got.iter().zip(&want).all(same), "p = {norm_type} on {}: {got:?}, not {want:?}", device.name());
        }
    }
}

#[test]
fn layers_follow_one_another() {
    let model = Sequential::new()
        .then(ReflectionPad2d::new(1))
        .then(PixelUnshuffle { downscale_factor: 2 })
        .then(Upsample::by(2.0).mode(Interpolation::Bilinear { align_corners: false }))
        .then(ReplicationPad2d::new(1))
        .then(LpPool2d::new(2.0, 2))
        .then(PixelShuffle { upscale_factor: 2 })
        .then(CircularPad2d { padding: [(1, 0), (0, 1)] })
        .then(Upsample::to([6, 7]))
        .then(AdaptiveMaxPool2d { size: [4, 5] })
        .then(AdaptiveAvgPool2d { size: [3, 2] });
    for device in common::devices() {
        let trace = Trace::default();
        let x = trace.data(&input(&[1, 4, 6, 3]));
        let y = model.forward(&trace.scope(), x.clone());
        assert_eq!(y.shape(), [1, 3, 2, 3]);
        let gradient = trace.gradient(&y.square().sum_all(), &[&x]).swap_remove(0).eval(&device).unwrap();
        assert!(gradient.to_f64_vec().iter().all(|g| g.is_finite()) && gradient.to_f64_vec().iter().any(|&g| g != 0.0));
    }
}
