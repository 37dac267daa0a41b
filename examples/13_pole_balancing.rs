//! Decision and action: an agent learns to balance a pole on a cart by trial and error.
//!
//! Nobody says what would have been right. The agent sees the cart and the pole, pushes left or right by chance, with
//! probabilities that a network gives, and gets a point for every step until the pole falls. Then whatever it did in
//! episodes that went better than expected becomes more probable, what it did in worse ones less: REINFORCE, a policy
//! gradient (Williams 1992). What is expected, the baseline, is learned by a second network; it takes away the chance of
//! the start and leaves what the actions did.
//!
//! The equations of cart and pole, and their numbers, are those of Barto, Sutton and Anderson, *Neuronlike adaptive elements
//! that can solve difficult learning control problems*, 1983, without friction.
//!
//! `cargo run --release --example 13_pole_balancing -- [device] [--out FILE]`

use std::path::Path;

use neuropil::loss::mse;
use neuropil::nn::{Activation, Linear, Module, Sequential};
use neuropil::optim::{Adam, Optimizer, RATE_FACTOR};
use neuropil::random::Stream;
use neuropil::{Array, DType, Device, Mode, Program, Store};

#[path = "common/picture.rs"]
mod picture;
use picture::{Area, BLUE, GREEN, GREY, INK, ORANGE, Outcome};
use plotters::prelude::{Color, PathElement, Rectangle};

/// Poles that are balanced side by side: the episodes of an update.
const POLES: usize = 16;
/// Steps of 0.02 s after which an episode ends well.
const LONGEST: usize = 200;
const UPDATES: usize = 80;
/// Episodes in which the agent is judged.
const TRIALS: usize = 96;
const SEEDS: [u64; 3] = [1, 2, 3];
/// A point that comes a step later counts by so much less.
const DISCOUNT: f32 = 0.99;

/// The cart's place (m) and speed, the pole's angle from upright (rad) and its speed.
#[derive(Clone, Copy)]
struct Pole {
    place: f64,
    speed: f64,
    angle: f64,
    spin: f64,
}

impl Pole {
    /// Almost at rest, almost upright.
    fn start(stream: &mut Stream) -> Self {
        let mut small = || f64::from(stream.uniform() - 0.5) * 0.1;
        Pole { place: small(), speed: small(), angle: small(), spin: small() }
    }

    /// A push of 10 N to one side, for 0.02 s (Euler's method).
    fn push(&mut self, right: bool) {
        const GRAVITY: f64 = 9.8;
        const POLE_MASS: f64 = 0.1;
        const MASS: f64 = 1.0 + POLE_MASS;
        const HALF_LENGTH: f64 = 0.5;
        const SECONDS: f64 = 0.02;
        let force = if right { 10.0 } else { -10.0 };
        let (sine, cosine) = (libm::sin(self.angle), libm::cos(self.angle));
        let drive = (force + POLE_MASS * HALF_LENGTH * self.spin * self.spin * sine) / MASS;
        let inertia = HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * cosine * cosine / MASS);
        let spin_change = (GRAVITY * sine - cosine * drive) / inertia;
        let speed_change = drive - POLE_MASS * HALF_LENGTH * spin_change * cosine / MASS;
        self.place += SECONDS * self.speed;
        self.speed += SECONDS * speed_change;
        self.angle += SECONDS * self.spin;
        self.spin += SECONDS * spin_change;
    }

    /// The cart is off its track of 4.8 m, or the pole leans by more than 12°.
    fn fell(&self) -> bool {
        self.place.abs() > 2.4 || self.angle.abs() > 12f64.to_radians()
    }

    /// What the networks see: numbers of about 1.
    fn seen(&self) -> [f32; 4] {
        [self.place / 2.4, self.speed / 2.0, self.angle / 0.21, self.spin / 2.0].map(|number| number as f32)
    }
}

/// An episode: what was seen, what was done, what the baseline expected.
#[derive(Clone, Default)]
struct Episode {
    seen: Vec<[f32; 4]>,
    pushed_right: Vec<bool>,
    expected: Vec<f32>,
}

/// The agent: a network that decides, one that expects, and the program in which both learn.
struct Agent {
    store: Store,
    act: Program,
    learn: Program,
}

impl Agent {
    fn new(device: &Device, seed: u64) -> Outcome<Self> {
        let network = |outputs: usize| {
            Sequential::new()
                .named("hidden", Linear::new(32))
                .named("tanh", Activation::Tanh)
                .named("output", Linear::new(outputs))
        };
        let (policy, value) = (network(2), network(1));
        let store = Store::new(device, seed);
        let act = Program::compile("act", &store, Mode::Evaluate, |trace| {
            let seen = trace.input("seen", &[POLES, 4], DType::F32);
            let scope = trace.scope();
            let probabilities = policy.forward(&scope.enter("policy"), seen.clone()).softmax(-1);
            trace.output("right", &probabilities.slice(&[0..POLES, 1..2]));
            trace.output("expected", &value.forward(&scope.enter("value"), seen));
        })?;
        let steps = POLES * LONGEST;
        let learn = Program::compile("learn", &store, Mode::Train, |trace| {
            let seen = trace.input("seen", &[steps, 4], DType::F32);
            let action = trace.input("action", &[steps], DType::U32);
            let advantage = trace.input("advantage", &[steps], DType::F32);
            let gained = trace.input("gained", &[steps, 1], DType::F32);
            let real = trace.input("real", &[steps, 1], DType::F32);
            let scope = trace.scope();
            // -log of the probability of what was done, times how much better it went than expected: its gradient makes
            // good actions more probable.
            let logits = policy.forward(&scope.enter("policy"), seen.clone());
            let surprise = logits.softmax_cross_entropy(&action, 0.0) * advantage;
            // The baseline learns what was gained. Rows that no episode reached are 0 on both sides.
            let expected = value.forward(&scope.enter("value"), seen) * &real;
            let loss = surprise.mean_all() + mse(&expected, &gained) * 0.5;
            Adam::new(0.01).update(trace, &trace.gradients(&loss));
        })?;
        Ok(Agent { store, act, learn })
    }

    /// Balances all poles until they fall or time is up. With `chance` it acts by its probabilities, else always as it finds
    /// best. `watch` sees the first pole at every step.
    fn play(&self, stream: &mut Stream, chance: bool, mut watch: impl FnMut(&Pole)) -> Outcome<Vec<Episode>> {
        let mut poles: Vec<Pole> = (0..POLES).map(|_| Pole::start(stream)).collect();
        let mut episodes = vec![Episode::default(); POLES];
        for _ in 0..LONGEST {
            if poles.iter().all(Pole::fell) {
                break;
            }
            let seen: Vec<[f32; 4]> = poles.iter().map(Pole::seen).collect();
            let outputs = self.act.call(&[("seen", &Array::new(&[POLES, 4], seen.concat())?)])?;
            let (right, expected) = (outputs["right"].as_slice::<f32>()?, outputs["expected"].as_slice::<f32>()?);
            for (i, (pole, episode)) in poles.iter_mut().zip(&mut episodes).enumerate() {
                let limit = if chance { stream.uniform() } else { 0.5 };
                if !pole.fell() {
                    let pushes_right = right[i] > limit;
                    episode.seen.push(seen[i]);
                    episode.pushed_right.push(pushes_right);
                    episode.expected.push(expected[i]);
                    pole.push(pushes_right);
                }
            }
            watch(&poles[0]);
        }
        Ok(episodes)
    }

    /// One step of both networks by what happened in these episodes.
    fn study(&self, episodes: &[Episode]) -> Outcome {
        let steps = POLES * LONGEST;
        let (mut seen, mut action) = (vec![0f32; 4 * steps], vec![0u32; steps]);
        let [mut advantage, mut gained, mut real] = [vec![0f32; steps], vec![0f32; steps], vec![0f32; steps]];
        let mut row = 0;
        for episode in episodes {
            // What was gained from a step on: a point for it, and what came after. Where time was up, the pole stood:
            // what the baseline expects stands for what would have come.
            let stood = episode.seen.len() == LONGEST;
            let mut gain = if stood { episode.expected[LONGEST - 1] / GAIN_SCALE } else { 0.0 };
            for step in (0..episode.seen.len()).rev() {
                gain = 1.0 + DISCOUNT * gain;
                let at = row + step;
                seen[4 * at..][..4].copy_from_slice(&episode.seen[step]);
                action[at] = u32::from(episode.pushed_right[step]);
                gained[at] = gain * GAIN_SCALE;
                advantage[at] = gained[at] - episode.expected[step];
                real[at] = 1.0;
            }
            row += episode.seen.len();
        }
        // Advantages of mean 0 and deviation 1 make steps of one size, however long the episodes.
        let mean = advantage[..row].iter().sum::<f32>() / row as f32;
        let variance = advantage[..row].iter().map(|a| (a - mean).powi(2)).sum::<f32>() / row as f32;
        advantage[..row].iter_mut().for_each(|a| *a = (*a - mean) / (variance.sqrt() + 1e-6));
        self.learn.run(&[
            ("seen", &Array::new(&[steps, 4], seen)?),
            ("action", &Array::new(&[steps], action)?),
            ("advantage", &Array::new(&[steps], advantage)?),
            ("gained", &Array::new(&[steps, 1], gained)?),
            ("real", &Array::new(&[steps, 1], real)?),
        ])?;
        Ok(())
    }
}

/// Brings gains, up to 1 / (1 - DISCOUNT), to at most 1, which is what a network gives easily.
const GAIN_SCALE: f32 = 1.0 - DISCOUNT;

/// How long the episodes of an agent were, update by update, how long at the end, and how it moved.
struct Life {
    lengths: Vec<f64>,
    judged: f64,
    /// The first pole before anything was learned, until it fell, and in the end.
    moves: [Vec<Pole>; 2],
}

fn main() -> Outcome {
    let (device, out) = picture::arguments("pole.svg")?;
    run(&device, &out)
}

/// Three agents, each from other first weights and other chances.
pub fn run(device: &Device, out: &Path) -> Outcome {
    let mut lives = Vec::new();
    for seed in SEEDS {
        lives.push(live(device, seed)?);
    }
    picture::save(out, (980, 370), |area| draw(area, &lives))?;
    for (seed, life) in SEEDS.iter().zip(&lives) {
        let text = format!("the agent of seed {seed} balances for {:.0} steps on average, not 195", life.judged);
        picture::promise(life.judged >= 195.0, text)?;
    }
    Ok(())
}

fn live(device: &Device, seed: u64) -> Outcome<Life> {
    let agent = Agent::new(device, seed)?;
    let mut stream = Stream::new(seed, "pole");
    let mean = |episodes: &[Episode]| {
        episodes.iter().map(|episode| episode.seen.len()).sum::<usize>() as f64 / episodes.len() as f64
    };
    println!("seed {seed}, on {}:", device.name());
    let (mut lengths, mut moves) = (Vec::new(), [Vec::new(), Vec::new()]);
    agent.play(&mut stream, true, |pole| moves[0].push(*pole))?;
    // The step in which it fell is the last that is shown.
    let fallen = moves[0].iter().position(Pole::fell).map_or(moves[0].len(), |step| step + 1);
    moves[0].truncate(fallen);
    for update in 1..=UPDATES {
        let episodes = agent.play(&mut stream, true, |_| ())?;
        // Chance makes every gradient a rough guess; ever smaller steps average over more of them.
        let left = 1.0 - (update - 1) as f32 / UPDATES as f32;
        agent.store.set(RATE_FACTOR, &Array::scalar(left))?;
        agent.study(&episodes)?;
        lengths.push(mean(&episodes));
        if update % 10 == 0 {
            println!("  after {:4} episodes: {:.0} steps", update * POLES, lengths[update - 1]);
        }
    }
    let mut judged = 0.0;
    for trial in 0..TRIALS / POLES {
        let watch = |pole: &Pole| {
            if trial == 0 {
                moves[1].push(*pole);
            }
        };
        judged += mean(&agent.play(&mut stream, false, watch)?) / (TRIALS / POLES) as f64;
    }
    println!("  judged in {TRIALS} fresh episodes: {judged:.1} of {LONGEST} steps");
    Ok(Life { lengths, judged, moves })
}

fn draw(area: &Area<'_>, lives: &[Life]) -> Outcome {
    let (left, right) = area.split_horizontally(500);
    let episodes = (POLES * UPDATES) as f64;
    let caption = format!("{} agents learn to balance", lives.len());
    let mut chart =
        picture::chart(&left, &caption, (0.0..episodes, "episodes"), (0.0..210.0, "steps until the pole falls"))?;
    picture::line(&mut chart, [(0.0, 195.0), (episodes, 195.0)], GREY, 1)?;
    for (life, colour) in lives.iter().zip([BLUE, ORANGE, GREEN]) {
        let curve = life.lengths.iter().enumerate();
        picture::line(&mut chart, curve.map(|(i, &steps)| (((i + 1) * POLES) as f64, steps)), colour, 2)?;
    }
    for ((life, colour), row) in lives.iter().zip([BLUE, ORANGE, GREEN]).zip(0..) {
        let text = format!("seed {}: {:.0} in the end", SEEDS[row as usize], life.judged);
        picture::text(&left, (320, 250 + 20 * row), 13, colour, &text)?;
    }

    let (upper, lower) = right.split_vertically(225);
    let degrees = |moves: &[Pole]| -> Vec<(f64, f64)> {
        moves.iter().enumerate().map(|(step, pole)| (0.02 * (step + 1) as f64, pole.angle.to_degrees())).collect()
    };
    let mut chart = picture::chart(&upper, "how far the pole leans", (0.0..4.0, "seconds"), (-15.0..15.0, "degrees"))?;
    for limit in [-12.0, 12.0] {
        picture::line(&mut chart, [(0.0, limit), (4.0, limit)], GREY, 1)?;
    }
    for life in lives {
        picture::line(&mut chart, degrees(&life.moves[0]), picture::blend(GREY, picture::MIST, 0.3), 2)?;
    }
    for (life, colour) in lives.iter().zip([BLUE, ORANGE, GREEN]) {
        picture::line(&mut chart, degrees(&life.moves[1]), colour, 2)?;
    }
    picture::text(&upper, (330, 70), 13, GREY, "grey: before learning")?;

    // The first agent at equal distances of time: the first attempt until the pole falls, and the last for as long.
    let columns = 7;
    let last = lives[0].moves[0].len() - 1;
    for (row, (name, moves)) in ["the first attempt", "the last, as long"].iter().zip(&lives[0].moves).enumerate() {
        let ground = 62 + 62 * row as i32;
        picture::text(&lower, (6, ground - 20), 13, INK, name)?;
        lower.draw(&PathElement::new([(116, ground), (462, ground)], picture::MIST.stroke_width(1)))?;
        for column in 0..columns {
            let Some(pole) = moves.get(column * last / (columns - 1)) else { continue };
            let x = 140 + 49 * column as i32 + (pole.place * 20.0).round() as i32;
            // A lean of 12° is drawn as one of 36°.
            let lean = 3.0 * pole.angle;
            let tip =
                (x + (36.0 * libm::sin(lean)).round() as i32, ground - 10 - (36.0 * libm::cos(lean)).round() as i32);
            lower.draw(&PathElement::new([(x, ground - 10), tip], ORANGE.stroke_width(4)))?;
            lower.draw(&Rectangle::new([(x - 13, ground - 10), (x + 13, ground)], INK.filled()))?;
        }
    }
    picture::label(&lower, (289, 138), 13, GREY, "the lean is drawn three times as large")
}
