//! Norms within a sample, activations, reductions and attention as users meet them: names, initial values, PyTorch's
//! numbers.

mod common;

use std::collections::BTreeMap;

use neuropil::device::Tiles;
use neuropil::graph::{Leaf, Sample};
use neuropil::nn::{Activation, GroupNorm, InstanceNorm, LayerNorm, Module, MultiHeadAttention, Prelu, RmsNorm};
use neuropil::schedule::{SlotId, StoreLayout, aligned};
use neuropil::simplify::simplify;
use neuropil::{Array, DType, Device, Init, Mode, Program, Result, Scope, Store, Tensor, Trace};

/// The program that gives `y`, what `build` makes of an input `x` of this shape.
fn program(
    store: &Store,
    mode: Mode,
    shape: &[usize],
    build: impl FnOnce(&Scope, Tensor) -> Tensor,
) -> Result<Program> {
    Program::compile("layer", store, mode, |trace| {
        let x = trace.input("x", shape, DType::F32);
        trace.output("y", &build(&trace.scope(), x));
    })
}

fn run(program: &Program, x: &Array) -> Array {
    program.call(&[("x", x)]).unwrap().remove("y").unwrap()
}

fn cpu() -> Store {
    Store::new(&Device::cpu(), 0)
}

/// The parameters that `module` declares for an input of this shape, and their values if these are all equal.
fn parameters(module: &dyn Module, shape: &[usize]) -> Vec<String> {
    let store = cpu();
    program(&store, Mode::Train, shape, |scope, x| module.forward(scope, x)).unwrap();
    let describe = |(name, array): (String, Array)| {
        let values = array.to_f64_vec();
        let equal = values.iter().all(|v| *v == values[0]);
        format!("{name} {:?}{}", array.shape(), if equal { format!(" = {}", values[0]) } else { String::new() })
    };
    store.weights().unwrap().into_iter().map(describe).collect()
}

fn assert_close(got: &Array, want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.to_f64_vec().into_iter().zip(want).enumerate() {
        assert!((got - want).abs() <= 2e-6 * want.abs().max(1.0), "[{i}] is {got}, should be {want}");
    }
}

#[test]
fn parameters_have_pytorchs_names_and_initial_values() {
    let image = [2, 3, 3, 6];
    let none: [&str; 0] = [];
    assert_eq!(parameters(&LayerNorm::default(), &[2, 5]), ["bias [5] = 0", "weight [5] = 1"]);
    assert_eq!(
        parameters(&LayerNorm { axes: 2, bias: false, ..LayerNorm::default() }, &[2, 3, 5]),
        ["weight [3, 5] = 1"]
    );
    assert_eq!(parameters(&LayerNorm { weight: false, ..LayerNorm::default() }, &[2, 5]), none);
    assert_eq!(parameters(&RmsNorm::default(), &[2, 5]), ["weight [5] = 1"]);
    assert_eq!(parameters(&GroupNorm::new(3), &image), ["bias [6] = 0", "weight [6] = 1"]);
    assert_eq!(parameters(&InstanceNorm::default(), &image), none);
    assert_eq!(
        parameters(&InstanceNorm { affine: true, ..InstanceNorm::default() }, &image),
        ["bias [6] = 0", "weight [6] = 1"]
    );
    assert_eq!(parameters(&Prelu::default(), &image), ["weight [1] = 0.25"]);
    assert_eq!(
        parameters(&Prelu { parameters: 6, init: 0.1f32.into() }, &image),
        [format!("weight [6] = {}", f64::from(0.1f32))]
    );
    assert_eq!(
        parameters(&MultiHeadAttention::new(2), &[2, 3, 4]),
        ["in_proj_bias [12] = 0", "in_proj_weight [12, 4]", "out_proj.bias [4] = 0", "out_proj.weight [4, 4]"]
    );
}

#[test]
fn norms_leave_mean_0_and_deviation_1() {
    let x = Sample::uniform(&[2, 3, 3, 6], 5.0, 9.0, 1);
    let modules: [(&dyn Module, usize); 3] =
        [(&LayerNorm { axes: 3, ..LayerNorm::default() }, 1), (&GroupNorm::new(1), 1), (&InstanceNorm::default(), 6)];
    for device in common::devices() {
        for (module, step) in modules {
            let store = Store::new(&device, 0);
            let program = program(&store, Mode::Evaluate, x.shape(), |scope, x| module.forward(scope, x)).unwrap();
            let y = run(&program, &x).to_f64_vec();
            let together: Vec<f64> = y[..54].iter().copied().step_by(step).collect();
            let mean = together.iter().sum::<f64>() / together.len() as f64;
            let square = together.iter().map(|y| y * y).sum::<f64>() / together.len() as f64;
            assert!(mean.abs() < 1e-5 && (square - 1.0).abs() < 1e-4, "mean {mean}, mean square {square}");
        }
    }
}

#[test]
fn a_slope_a_channel_must_fit_the_channels() {
    let error = program(&cpu(), Mode::Train, &[4, 1], |scope, x| Prelu { parameters: 5, init: 0.25 }.forward(scope, x));
    let text = error.err().unwrap().to_string();
    assert!(text.contains("one slope a channel: expected the shape [1], this is [5]"), "{text}");
}

#[test]
fn activations_are_those_of_their_names() {
    let x = Array::new(&[4], vec![-4.0f32, -0.25, 0.5, 8.0]).unwrap();
    // By PyTorch 2.
    let wanted: [(Activation, [f64; 4]); 7] = [
        (Activation::Relu6, [0.0, 0.0, 0.5, 6.0]),
        (Activation::HardTanh(-0.5, 2.0), [-0.5, -0.25, 0.5, 2.0]),
        (Activation::HardSigmoid, [0.0, 0.458_333_333, 0.583_333_333, 1.0]),
        (Activation::Softsign, [-0.8, -0.2, 0.333_333_333, 0.888_888_889]),
        (Activation::HardShrink(0.5), [-4.0, 0.0, 0.0, 8.0]),
        (Activation::SoftShrink(0.5), [-3.5, 0.0, 0.0, 7.5]),
        (Activation::Threshold(0.0, -7.0), [-7.0, -7.0, 0.5, 8.0]),
    ];
    for (activation, wanted) in wanted {
        let program = program(&cpu(), Mode::Evaluate, &[4], |scope, x| activation.forward(scope, x)).unwrap();
        assert_close(&run(&program, &x), &wanted);
    }
}

#[test]
fn reduced_axes_go_or_stay() {
    let x = Array::from_fn(&[2, 3, 4], |i| (i[0] * 12 + i[1] * 4 + i[2]) as f32);
    let program = Program::compile("reductions", &cpu(), Mode::Evaluate, |trace| {
        let x = trace.input("x", &[2, 3, 4], DType::F32);
        trace.output("gone", &x.min(&[0, -1]));
        trace.output("kept", &x.keep_dims().min(&[0, -1]));
        trace.output("position", &x.keep_dims().argmin(&[1]));
        trace.output("centred", &(&x - x.keep_dims().mean(&[1, 2])).sum(&[1, 2]));
        trace.output("var", &x.var(&[2], 0));
        trace.output("any", &x.any(&[0, 1, 2]));
        trace.output("norm", &x.norm(&[1], f64::INFINITY));
    });
    let outputs: BTreeMap<String, Array> = program.unwrap().call(&[("x", &x)]).unwrap().into_iter().collect();
    let check = |name: &str, shape: &[usize], values: &[f64]| {
        assert_eq!((outputs[name].shape(), &outputs[name].to_f64_vec()[..]), (shape, values), "{name}");
    };
    check("gone", &[3], &[0.0, 4.0, 8.0]);
    check("kept", &[1, 3, 1], &[0.0, 4.0, 8.0]);
    check("position", &[2, 1, 4], &[0.0; 8]);
    check("centred", &[2], &[0.0, 0.0]);
    check("var", &[2, 3], &[1.25; 6]);
    check("any", &[], &[1.0]);
    check("norm", &[2, 4], &[8.0, 9.0, 10.0, 11.0, 20.0, 21.0, 22.0, 23.0]);
}

/// sin(first), sin(first + 1), …, times `scale`.
fn waves(shape: &[usize], first: f64, scale: f64) -> Array {
    let count: usize = shape.iter().product();
    Array::new(shape, (0..count).map(|i| ((first + i as f64).sin() * scale) as f32).collect()).unwrap()
}

/// What attention with weights of waves gives, on every device.
fn attended(layer: MultiHeadAttention, sizes: [usize; 3], build: impl Fn(&Scope, &Tensor) -> Tensor) -> Vec<Array> {
    let run_on = |device: Device| {
        let store = Store::new(&device, 0);
        let x = waves(&[2, 3, 4], 5.0, 1.0);
        let program = program(&store, Mode::Evaluate, x.shape(), |scope, x| build(scope, &x)).unwrap();
        let mut weights = vec![
            ("in_proj_bias", vec![12], 2.0),
            ("out_proj.weight", vec![4, 4], 3.0),
            ("out_proj.bias", vec![4], 4.0),
        ];
        if sizes == [4; 3] {
            weights.push(("in_proj_weight", vec![12, 4], 1.0));
        } else {
            let names = ["q_proj_weight", "k_proj_weight", "v_proj_weight"];
            weights.extend((0..3).map(|i| (names[i], vec![4, sizes[i]], [1.0, 7.0, 8.0][i])));
        }
        weights.into_iter().for_each(|(name, shape, first)| store.set(name, &waves(&shape, first, 0.5)).unwrap());
        assert_eq!(layer.heads, 2);
        run(&program, &x)
    };
    common::devices().into_iter().map(run_on).collect()
}

/// The numbers are those of `torch.nn.MultiheadAttention(4, 2, batch_first=True)` in `f64`, on the same weights.
#[test]
fn multi_head_attention_is_pytorchs() {
    let layer = MultiHeadAttention::new(2);
    let own = [
        0.013156270,
        -1.015536997,
        0.169538559,
        0.460294407,
        -0.216394108,
        -1.013575355,
        0.396524506,
        0.161596931,
        -0.441210495,
        -0.821329359,
        0.370020156,
        0.003999734,
        0.164839344,
        -1.094336879,
        0.120869564,
        0.602718644,
        -0.310041152,
        -0.975718299,
        0.440681505,
        0.066013995,
        -0.250274541,
        -0.897278980,
        0.278372172,
        0.199759595,
    ];
    attended(layer, [4; 3], |scope, x| layer.forward(scope, x.clone())).iter().for_each(|y| assert_close(y, &own));

    let causal = MultiHeadAttention { causal: true, ..layer };
    let seen = [
        -0.402094231,
        -0.621477524,
        0.069640137,
        0.196830865,
        -0.452646408,
        -0.743654369,
        0.279912545,
        0.044121275,
        -0.441210495,
        -0.821329359,
        0.370020156,
        0.003999734,
        -0.445636210,
        -0.637344966,
        0.133925420,
        0.128658977,
        -0.523290211,
        -0.912808893,
        0.571689900,
        -0.168161015,
        -0.250274541,
        -0.897278980,
        0.278372172,
        0.199759595,
    ];
    attended(causal, [4; 3], |scope, x| causal.forward(scope, x.clone())).iter().for_each(|y| assert_close(y, &seen));

    let masked = [
        -0.127383971,
        -0.812969711,
        0.045265170,
        0.420188135,
        -0.089033779,
        -0.950398140,
        0.186573411,
        0.372886105,
        -0.351792873,
        -0.784126280,
        0.231967423,
        0.147271231,
        0.226411467,
        -1.233035310,
        0.240616130,
        0.584873917,
        -0.412755405,
        -0.895870801,
        0.439012141,
        -0.011651166,
        -0.305058788,
        -0.675025693,
        0.042607533,
        0.285718413,
    ];
    let crossed = attended(layer, [4; 3], |scope, x| {
        let y = scope.trace().data(&waves(&[2, 2, 4], 6.0, 1.0));
        let mask = scope.trace().data(&Array::new(&[3, 2], vec![1u32, 0, 1, 1, 0, 1]).unwrap());
        layer.attend(scope, x, &y, &y, Some(&mask))
    });
    crossed.iter().for_each(|y| assert_close(y, &masked));

    let of_other_sizes = [
        -0.282857133,
        -0.722429663,
        0.082376484,
        0.281132941,
        -0.241709534,
        -0.825676634,
        0.176202332,
        0.261722578,
        -0.150248705,
        -0.801110592,
        0.052626629,
        0.398705475,
        0.005701035,
        -0.947302627,
        0.087791871,
        0.498926438,
        -0.078290243,
        -0.896424433,
        0.105270736,
        0.425198347,
        -0.063237066,
        -0.992646075,
        0.216006884,
        0.376656036,
    ];
    let crossed = attended(layer, [4, 3, 2], |scope, x| {
        let [k, v] = [(3, 9.0), (2, 10.0)].map(|(size, first)| scope.trace().data(&waves(&[2, 2, size], first, 1.0)));
        layer.attend(scope, x, &k, &v, None)
    });
    crossed.iter().for_each(|y| assert_close(y, &of_other_sizes));
}

#[test]
fn weights_are_dropped_in_training_alone() {
    let layer = MultiHeadAttention { dropout: 0.5, ..MultiHeadAttention::new(2) };
    let x = waves(&[2, 3, 4], 5.0, 1.0);
    let outputs = [Mode::Evaluate, Mode::Train].map(|mode| {
        let store = cpu();
        run(&program(&store, mode, x.shape(), |scope, x| layer.forward(scope, x)).unwrap(), &x)
    });
    let store = cpu();
    let plain =
        program(&store, Mode::Train, x.shape(), |scope, x| MultiHeadAttention::new(2).forward(scope, x)).unwrap();
    assert_close(&outputs[0], &run(&plain, &x).to_f64_vec());
    assert_ne!(outputs[0], outputs[1]);
}

#[test]
fn heads_must_share_the_features() {
    let error = program(&cpu(), Mode::Train, &[2, 3, 4], |scope, x| MultiHeadAttention::new(3).forward(scope, x));
    let text = error.err().unwrap().to_string();
    assert!(
        text.contains("features that 3 heads share evenly: expected the shape [2, 3, 3], this is [2, 3, 4]"),
        "{text}"
    );
}

/// How many steps of a training step sweep over a tensor as large as x: of the loss `Σ y²` of what `module` makes of x,
/// and of the gradients of x and of the module's parameters.
fn sweeps(module: &dyn Module, shape: &[usize]) -> usize {
    let trace = Trace::new(true, Vec::new());
    let x = trace.scope().param("x", shape, Init::Constant(0.0));
    let y = module.forward(&trace.scope().enter("norm"), x);
    trace.gradients(&y.square().sum_all());
    let graph = simplify(&trace.finish().unwrap().graph).unwrap();
    let mut layout = StoreLayout { segments: vec![0], ..StoreLayout::default() };
    for (name, value) in graph.leaves(Leaf::Parameter) {
        layout.entries.insert((Leaf::Parameter, name.to_owned()), (0, layout.segments[0]));
        layout.segments[0] += aligned(graph.type_of(value).len());
    }
    let schedule = common::portable_schedule(&graph, &layout, &common::limits(Tiles::Staged));
    let large = |slot: &SlotId| schedule.slot(*slot).ty.len() == shape.iter().product::<usize>();
    schedule.steps.iter().filter(|step| step.reads.iter().chain(&step.writes).any(large)).count()
}

#[test]
fn norms_are_a_few_sweeps() {
    // Moments; y, and with it the gradient of the loss; the gradients of weight and bias; two sums; the gradient of x.
    assert_eq!(sweeps(&LayerNorm::default(), &[64, 100]), 7);
    assert_eq!(sweeps(&GroupNorm::new(4), &[8, 16, 16, 32]), 7);
    assert_eq!(sweeps(&InstanceNorm::default(), &[8, 16, 16, 32]), 5);
    assert_eq!(sweeps(&RmsNorm::default(), &[64, 100]), 5);
}
