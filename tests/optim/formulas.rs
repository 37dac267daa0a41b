//! The formulas of all optimizers, as plain loops. What PyTorch 2.15.0 has of them gives the same numbers in `f64`, within
//! 1e-14 (NAdam, which keeps a product in `f32` there, within 1e-9).

use neuropil::optim::{Adagrad, Adam, Lamb, Lars, Lion, Muon, NAdam, Optimizer, RmsProp, Sgd};

/// The learning rate of all rules.
pub const RATE: f64 = 0.05;

/// A parameter with its gradient and three values an element of the optimizer's own that start at 0.
pub struct Parameter {
    pub shape: Vec<usize>,
    pub p: Vec<f64>,
    pub g: Vec<f64>,
    pub states: Vec<[f64; 3]>,
}

impl Parameter {
    pub fn new(shape: &[usize], p: Vec<f64>) -> Self {
        Parameter { shape: shape.to_vec(), g: vec![0.0; p.len()], states: vec![[0.0; 3]; p.len()], p }
    }

    /// Changes every element by its gradient.
    fn each(&mut self, mut change: impl FnMut(&mut f64, f64, &mut [f64; 3])) {
        for ((p, g), state) in self.p.iter_mut().zip(&self.g).zip(&mut self.states) {
            change(p, *g, state);
        }
    }

    /// Adds the parameter to its gradient.
    fn decay(&mut self, weight_decay: f64) {
        self.g.iter_mut().zip(&self.p).for_each(|(g, p)| *g += weight_decay * p);
    }

    /// Shrinks the parameter.
    fn shrink(&mut self, share: f64) {
        self.p.iter_mut().for_each(|p| *p -= share * *p);
    }
}

/// An optimizer and its formula: changes a parameter by its gradient at step `t`, counted from 1.
pub struct Rule {
    pub name: &'static str,
    pub optimizer: Box<dyn Optimizer>,
    pub formula: fn(x: &mut Parameter, rate: f64, t: i32),
    /// Whether no element of a parameter minds another.
    pub elementwise: bool,
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn sgd(x: &mut Parameter, rate: f64, _: i32) {
    x.each(|p, g, _| *p -= rate * g);
}

fn sgd_with_decay(x: &mut Parameter, rate: f64, t: i32) {
    x.decay(0.1);
    sgd(x, rate, t);
}

fn momentum(x: &mut Parameter, rate: f64, _: i32) {
    x.each(|p, g, [b, ..]| {
        *b = 0.9 * *b + g;
        *p -= rate * *b;
    });
}

fn nesterov_with_decay(x: &mut Parameter, rate: f64, _: i32) {
    x.decay(0.1);
    x.each(|p, g, [b, ..]| {
        *b = 0.9 * *b + g;
        *p -= rate * (g + 0.9 * *b);
    });
}

/// The moments of Adam; `divisor` gets v and the state behind it.
fn adam_by(x: &mut Parameter, rate: f64, t: i32, divisor: fn(f64, &mut f64) -> f64) {
    x.each(|p, g, [m, v, largest]| {
        *m = 0.9 * *m + 0.1 * g;
        *v = 0.999 * *v + 0.001 * g * g;
        let second = divisor(*v, largest) / (1.0 - 0.999f64.powi(t));
        *p -= rate * *m / (1.0 - 0.9f64.powi(t)) / (second.sqrt() + 1e-8);
    });
}

fn adam(x: &mut Parameter, rate: f64, t: i32) {
    adam_by(x, rate, t, |v, _| v);
}

fn adam_with_decay(x: &mut Parameter, rate: f64, t: i32) {
    x.decay(0.1);
    adam(x, rate, t);
}

fn adamw(x: &mut Parameter, rate: f64, t: i32) {
    x.shrink(rate * 0.1);
    adam(x, rate, t);
}

fn amsgrad(x: &mut Parameter, rate: f64, t: i32) {
    x.shrink(rate * 0.1);
    adam_by(x, rate, t, |v, largest| {
        *largest = v.max(*largest);
        *largest
    });
}

fn nadam(x: &mut Parameter, rate: f64, t: i32) {
    let u = |t: i32| 0.9 * (1.0 - 0.5 * 0.96f64.powf(f64::from(t) * 4e-3));
    let product: f64 = (1..=t).map(u).product();
    x.each(|p, g, [m, v, _]| {
        *m = 0.9 * *m + 0.1 * g;
        *v = 0.999 * *v + 0.001 * g * g;
        let divisor = (*v / (1.0 - 0.999f64.powi(t))).sqrt() + 1e-8;
        *p -= rate * (1.0 - u(t)) / (1.0 - product) * g / divisor;
        *p -= rate * u(t + 1) / (1.0 - product * u(t + 1)) * *m / divisor;
    });
}

fn nadam_with_decay(x: &mut Parameter, rate: f64, t: i32) {
    x.decay(0.1);
    nadam(x, rate, t);
}

fn nadamw(x: &mut Parameter, rate: f64, t: i32) {
    x.shrink(rate * 0.1);
    nadam(x, rate, t);
}

fn rmsprop(x: &mut Parameter, rate: f64, _: i32) {
    x.each(|p, g, [v, ..]| {
        *v = 0.99 * *v + 0.01 * g * g;
        *p -= rate * g / (v.sqrt() + 1e-8);
    });
}

fn rmsprop_with_all(x: &mut Parameter, rate: f64, _: i32) {
    x.decay(0.1);
    x.each(|p, g, [v, a, b]| {
        *v = 0.99 * *v + 0.01 * g * g;
        *a = 0.99 * *a + 0.01 * g;
        *b = 0.9 * *b + g / ((*v - *a * *a).sqrt() + 1e-8);
        *p -= rate * *b;
    });
}

fn adagrad(x: &mut Parameter, rate: f64, _: i32) {
    x.each(|p, g, [s, ..]| {
        *s += g * g;
        *p -= rate * g / (s.sqrt() + 1e-10);
    });
}

fn adagrad_with_all(x: &mut Parameter, rate: f64, t: i32) {
    x.decay(0.1);
    let rate = rate / (1.0 + f64::from(t - 1) * 0.25);
    x.each(|p, g, [s, ..]| {
        *s += g * g;
        *p -= rate * g / ((0.5 + *s).sqrt() + 1e-10);
    });
}

fn lion(x: &mut Parameter, rate: f64, _: i32) {
    x.each(|p, g, [m, ..]| {
        *p -= rate * ((0.9 * *m + 0.1 * g).signum() + 0.1 * *p);
        *m = 0.99 * *m + 0.01 * g;
    });
}

fn lamb(x: &mut Parameter, rate: f64, t: i32) {
    let mut direction = Vec::new();
    x.each(|p, g, [m, v, _]| {
        *m = 0.9 * *m + 0.1 * g;
        *v = 0.999 * *v + 0.001 * g * g;
        let (first, second) = (*m / (1.0 - 0.9f64.powi(t)), *v / (1.0 - 0.999f64.powi(t)));
        direction.push(first / (second.sqrt() + 1e-6) + 0.01 * *p);
    });
    let trust = norm(&x.p) / norm(&direction);
    x.p.iter_mut().zip(direction).for_each(|(p, d)| *p -= rate * trust * d);
}

fn lars(x: &mut Parameter, rate: f64, _: i32) {
    let (of_p, of_g) = (norm(&x.p), norm(&x.g));
    let trust = 1e-3 * of_p / (of_g + 5e-4 * of_p);
    x.decay(5e-4);
    x.each(|p, g, [b, ..]| {
        *b = 0.9 * *b + rate * trust * g;
        *p -= *b;
    });
}

/// `a · bᵀ` of matrices by rows.
fn product_with_transposed(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum();
    a.iter().map(|a| b.iter().map(|b| dot(a, b)).collect()).collect()
}

fn transposed(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..a[0].len()).map(|column| a.iter().map(|row| row[column]).collect()).collect()
}

fn muon(x: &mut Parameter, rate: f64, t: i32) {
    if x.shape.len() < 2 {
        return adamw(x, rate, t);
    }
    let mut direction = Vec::new();
    x.each(|_, g, [b, ..]| {
        *b = 0.95 * *b + 0.05 * g;
        direction.push(0.05 * g + 0.95 * *b);
    });
    let (rows, columns) = (x.shape[0], x.p.len() / x.shape[0]);
    let length = norm(&direction);
    let direction: Vec<f64> = direction.into_iter().map(|d| d / length).collect();
    let mut m: Vec<Vec<f64>> = direction.chunks(columns).map(<[f64]>::to_vec).collect();
    if rows > columns {
        m = transposed(&m);
    }
    for _ in 0..5 {
        let gram = product_with_transposed(&m, &m);
        let gram_squared = product_with_transposed(&gram, &gram);
        let first = product_with_transposed(&gram, &transposed(&m));
        let second = product_with_transposed(&gram_squared, &transposed(&m));
        for (row, (first, second)) in m.iter_mut().zip(first.iter().zip(&second)) {
            for (i, m) in row.iter_mut().enumerate() {
                *m = 3.4445 * *m - 4.7750 * first[i] + 2.0315 * second[i];
            }
        }
    }
    if rows > columns {
        m = transposed(&m);
    }
    x.shrink(rate * 0.1);
    let stretch = (rows as f64 / columns as f64).max(1.0).sqrt();
    x.p.iter_mut().zip(m.into_iter().flatten()).for_each(|(p, m)| *p -= rate * stretch * m);
}

pub fn rules() -> Vec<Rule> {
    let rule = |name, optimizer: Box<dyn Optimizer>, formula| Rule { name, optimizer, formula, elementwise: true };
    let by_layer = |rule: Rule| Rule { elementwise: false, ..rule };
    let plain_nadam = NAdam::new(RATE);
    let all_of_rmsprop = RmsProp { weight_decay: 0.1, momentum: 0.9, centered: true, ..RmsProp::new(RATE) };
    let all_of_adagrad =
        Adagrad { rate_decay: 0.25, weight_decay: 0.1, initial_accumulator: 0.5, ..Adagrad::new(RATE) };
    vec![
        rule("SGD", Box::new(Sgd::new(RATE)), sgd),
        rule("SGD, decay", Box::new(Sgd { weight_decay: 0.1, ..Sgd::new(RATE) }), sgd_with_decay),
        rule("SGD, momentum", Box::new(Sgd::new(RATE).momentum(0.9)), momentum),
        rule(
            "SGD, Nesterov, decay",
            Box::new(Sgd { nesterov: true, weight_decay: 0.1, ..Sgd::new(RATE).momentum(0.9) }),
            nesterov_with_decay,
        ),
        rule("Adam", Box::new(Adam::new(RATE)), adam),
        rule("Adam, decay", Box::new(Adam { weight_decay: 0.1, ..Adam::new(RATE) }), adam_with_decay),
        rule("AdamW", Box::new(Adam::decoupled(RATE, 0.1)), adamw),
        rule("AMSGrad", Box::new(Adam { amsgrad: true, ..Adam::decoupled(RATE, 0.1) }), amsgrad),
        rule("NAdam", Box::new(plain_nadam), nadam),
        rule("NAdam, decay", Box::new(NAdam { weight_decay: 0.1, ..plain_nadam }), nadam_with_decay),
        rule("NAdamW", Box::new(NAdam { weight_decay: 0.1, decoupled: true, ..plain_nadam }), nadamw),
        rule("RMSProp", Box::new(RmsProp::new(RATE)), rmsprop),
        rule("RMSProp, all", Box::new(all_of_rmsprop), rmsprop_with_all),
        rule("Adagrad", Box::new(Adagrad::new(RATE)), adagrad),
        rule("Adagrad, all", Box::new(all_of_adagrad), adagrad_with_all),
        rule("Lion", Box::new(Lion { weight_decay: 0.1, ..Lion::new(RATE) }), lion),
        by_layer(rule("LAMB", Box::new(Lamb::new(RATE)), lamb)),
        by_layer(rule("LARS", Box::new(Lars::new(RATE)), lars)),
        by_layer(rule("Muon", Box::new(Muon::new(RATE, Adam::decoupled(RATE, 0.1))), muon)),
    ]
}
