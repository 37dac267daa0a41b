//! `train --tui`: the whole terminal, with curves that grow while the network learns.
//!
//! What is drawn is plain data ([`View`], [`Curves`]) and a function of it, so a test draws it without a terminal. The metrics
//! of the epoch under way are read from the device about twice a second, which changes no number of the run. The terminal is
//! given back whenever the screen goes, also when the command panics. Before: `watch` says when a step or an epoch is done.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use neuropil::train::{Epoch, Metrics, Trainer};
use neuropil::{Error, ErrorKind};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, LineGauge};
use ratatui::{DefaultTerminal, Frame};

use super::super::output::percent;

/// How often the screen is drawn within an epoch.
const INTERVAL: Duration = Duration::from_millis(500);
/// How often it looks for keys.
const PATIENCE: Duration = Duration::from_millis(50);
/// What the curves need.
const LEAST: [u16; 2] = [48, 16];
/// More points of a curve than this are thinned.
const POINTS: usize = 2048;
/// Colours that most people tell apart, of the terminal's own palette.
const TRAIN: Color = Color::Blue;
const TEST: Color = Color::Yellow;

/// What stays the same, at the head of the screen.
pub struct Heading {
    /// The network, the data, the device.
    pub title: String,
    /// Steps of one epoch.
    pub steps_per_epoch: usize,
    /// All epochs.
    pub epochs: usize,
    /// Images a step.
    pub batch_size: usize,
    /// What pressing q does.
    pub quits: &'static str,
}

/// Loss and accuracy by epoch, where the middle of the second epoch is 1.5.
#[derive(Default)]
pub struct Curves {
    train: [Vec<(f64, f64)>; 2],
    test: [Vec<(f64, f64)>; 2],
    /// The sums of the epoch under way when the last point was made.
    counted: Metrics,
}

impl Curves {
    /// Those of a run so far.
    pub fn of(epochs: &[Epoch]) -> Self {
        let mut curves = Curves::default();
        for epoch in epochs {
            curves.add(epoch.number as f64, &epoch.train);
            curves.finish(epoch);
        }
        curves
    }

    /// The metrics of the epoch under way, at `x`; a point is what came since the last one.
    fn add(&mut self, x: f64, so_far: &Metrics) {
        let before = std::mem::replace(&mut self.counted, *so_far);
        let new = so_far.samples.saturating_sub(before.samples) as f64;
        if new == 0.0 {
            return;
        }
        let mean = |so_far: f64, old: f64| (so_far * (new + before.samples as f64) - old * before.samples as f64) / new;
        push(&mut self.train[0], x, mean(so_far.loss, before.loss));
        push(&mut self.train[1], x, mean(so_far.accuracy, before.accuracy));
    }

    /// An epoch is done.
    fn finish(&mut self, epoch: &Epoch) {
        self.counted = Metrics::default();
        if let Some(test) = epoch.test {
            push(&mut self.test[0], epoch.number as f64, test.loss);
            push(&mut self.test[1], epoch.number as f64, test.accuracy);
        }
    }
}

fn push(curve: &mut Vec<(f64, f64)>, x: f64, y: f64) {
    curve.push((x, y));
    if curve.len() > POINTS {
        let mut index = 0;
        curve.retain(|_| {
            index += 1;
            index % 2 == 0
        });
    }
}

/// All that is drawn.
struct View<'a> {
    heading: &'a Heading,
    curves: &'a Curves,
    /// Steps done in all.
    steps: usize,
    /// Since this command began, and the steps done when it did.
    elapsed: Duration,
    began: usize,
}

/// A terminal that is drawn on.
pub struct Screen {
    terminal: DefaultTerminal,
    heading: Heading,
    curves: Curves,
    drawn: Option<Instant>,
    /// When it looked for keys.
    looked: Instant,
    start: Instant,
    began: usize,
}

impl Screen {
    /// Why there can be no screen, if there cannot.
    pub fn obstacle() -> Option<String> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Some("stdin and stdout are no terminal".to_owned());
        }
        if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
            return Some("this terminal cannot place text (TERM=dumb)".to_owned());
        }
        match ratatui::crossterm::terminal::size() {
            Ok((width, height)) if width >= LEAST[0] && height >= LEAST[1] => None,
            Ok((width, height)) => {
                let [columns, lines] = LEAST;
                Some(format!("the terminal has {width}×{height} characters, and needs {columns}×{lines}"))
            }
            Err(e) => Some(format!("the size of the terminal is unknown: {e}")),
        }
    }

    /// Takes the terminal, for a run that has come so far.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn open(heading: Heading, trainer: &Trainer) -> Result<Self, Error> {
        let terminal = ratatui::try_init().map_err(failed)?;
        let progress = trainer.progress();
        let curves = Curves::of(&progress.epochs);
        let start = Instant::now();
        Ok(Screen { terminal, heading, curves, drawn: None, looked: start, start, began: progress.steps })
    }

    /// After a step: draws if it is time; gives whether the run shall stop.
    ///
    /// # Errors
    /// When the device is lost, or the terminal is.
    pub fn step(&mut self, trainer: &Trainer) -> Result<bool, Error> {
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= INTERVAL) {
            let steps = trainer.progress().steps;
            let x = steps as f64 / self.heading.steps_per_epoch as f64;
            self.curves.add(x, &trainer.metrics()?);
            self.draw(steps)?;
        }
        if self.looked.elapsed() < PATIENCE {
            return Ok(false);
        }
        self.looked = Instant::now();
        asks_to_stop().map_err(failed)
    }

    /// After an epoch.
    ///
    /// # Errors
    /// When the terminal is lost.
    pub fn epoch(&mut self, steps: usize, epoch: &Epoch) -> Result<(), Error> {
        self.curves.add(epoch.number as f64, &epoch.train);
        self.curves.finish(epoch);
        self.draw(steps)
    }

    fn draw(&mut self, steps: usize) -> Result<(), Error> {
        let (heading, curves) = (&self.heading, &self.curves);
        let view = View { heading, curves, steps, elapsed: self.start.elapsed(), began: self.began };
        self.terminal.draw(|frame| draw(frame, &view)).map_err(failed)?;
        self.drawn = Some(Instant::now());
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = ratatui::try_restore();
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("--tui: the terminal: {error}; leave out --tui"))
}

/// Whether q, Escape or Ctrl-C were pressed, which is no signal while the terminal is ours.
fn asks_to_stop() -> io::Result<bool> {
    let mut stops = false;
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            stops |= matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
            stops |= key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        }
    }
    Ok(stops)
}

fn draw(frame: &mut Frame<'_>, view: &View<'_>) {
    let Heading { title, steps_per_epoch, epochs, batch_size, quits } = view.heading;
    let rows =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]);
    let [head, gauge, charts, foot] = rows.areas(frame.area());
    frame.render_widget(Line::from(title.as_str()).bold(), head);

    let all = epochs * steps_per_epoch;
    let done = view.steps - view.began;
    let speed = done as f64 / view.elapsed.as_secs_f64().max(1e-9);
    let left = (done > 0).then(|| Duration::from_secs_f64((all - view.steps.min(all)) as f64 / speed).as_secs());
    let left = left.map_or(String::new(), |seconds| {
        format!(", {} left", humantime::format_duration(Duration::from_secs(seconds)))
    });
    let epoch = (view.steps / steps_per_epoch + 1).min(*epochs);
    let label = format!("epoch {epoch} of {epochs}, {:.0} images/s{left} ", speed * *batch_size as f64);
    let ratio = (view.steps as f64 / all.max(1) as f64).min(1.0);
    frame.render_widget(LineGauge::default().ratio(ratio).label(label).filled_style(Style::new().fg(TRAIN)), gauge);

    // Side by side where there is room for both.
    let halves = [Constraint::Fill(1), Constraint::Fill(1)];
    let [left, right] = match charts.width >= 2 * LEAST[0] {
        true => Layout::horizontal(halves).areas(charts),
        false => Layout::vertical(halves).areas(charts),
    };
    chart(frame, left, "loss", 0, view, |loss| format!("{loss:.3}"));
    chart(frame, right, "accuracy", 1, view, percent);
    frame.render_widget(Line::from(format!("q {quits}")).dim(), foot);
}

/// One of the curves in `area`.
fn chart(frame: &mut Frame<'_>, area: Rect, name: &str, which: usize, view: &View<'_>, text: impl Fn(f64) -> String) {
    let (train, test) = (&view.curves.train[which], &view.curves.test[which]);
    let values = || train.iter().chain(test).map(|point| point.1).filter(|value| value.is_finite());
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let (low, high) = match low <= high {
        // Equal ends would be no axis.
        true => (low, high.max(low + 1e-6)),
        false => (0.0, 1.0),
    };
    let last = |points: &[(f64, f64)]| points.last().map_or("none yet".to_owned(), |point| text(point.1));
    let title = Line::from(vec![
        format!(" {name}  ").bold(),
        format!("training {}  ", last(train)).fg(TRAIN),
        format!("test {} ", last(test)).fg(TEST),
    ]);
    let curve = |points, color, marker, kind| {
        Dataset::default().data(points).style(Style::new().fg(color)).marker(marker).graph_type(kind)
    };
    let curves = vec![
        curve(train.as_slice(), TRAIN, Marker::Braille, GraphType::Line),
        curve(test.as_slice(), TEST, Marker::Dot, GraphType::Scatter),
    ];
    let epochs = view.heading.epochs as f64;
    let across = Axis::default().bounds([0.0, epochs]).labels(["0".to_owned(), format!("{epochs} epochs")]);
    let up = Axis::default().bounds([low, high]).labels([text(low), text(0.5 * (low + high)), text(high)]);
    let grey = Style::new().dim();
    let chart = Chart::new(curves).block(Block::bordered().border_style(grey).title(title));
    frame.render_widget(chart.x_axis(across.style(grey)).y_axis(up.style(grey)), area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn epoch(number: usize, loss: f64) -> Epoch {
        let metrics = Metrics { loss, accuracy: 1.0 - loss, samples: 10 };
        let test = Some(Metrics { loss: loss + 0.1, ..metrics });
        Epoch { number, train: metrics, test, seconds: 1.0, waited: 0.0 }
    }

    fn drawn(width: u16, height: u16, curves: &Curves) -> String {
        let heading = Heading {
            title: "mlp on digits, the CPU".to_owned(),
            steps_per_epoch: 4,
            epochs: 3,
            batch_size: 16,
            quits: "stops and saves",
        };
        let view = View { heading: &heading, curves, steps: 6, elapsed: Duration::from_secs(2), began: 2 };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &view)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_point_is_the_mean_of_what_came_since_the_last() {
        let mut curves = Curves::default();
        let so_far = |loss, samples| Metrics { loss, accuracy: 0.5, samples };
        curves.add(0.25, &so_far(4.0, 10));
        curves.add(0.25, &so_far(4.0, 10));
        curves.add(0.5, &so_far(3.0, 20));
        curves.finish(&epoch(1, 3.0));
        curves.add(1.25, &so_far(1.0, 10));
        assert_eq!(curves.train[0], [(0.25, 4.0), (0.5, 2.0), (1.25, 1.0)]);
        assert_eq!(curves.test[0], [(1.0, 3.1)]);
        for step in 0..3 * POINTS {
            push(&mut curves.train[1], step as f64, 0.0);
        }
        assert!((POINTS / 2..=POINTS).contains(&curves.train[1].len()));
        assert!(curves.train[1].is_sorted());
    }

    #[test]
    fn the_screen_says_how_far_it_is() {
        let curves = Curves::of(&[epoch(1, 0.75), epoch(2, 0.5)]);
        for (width, height) in [(120, 24), (60, 30), (48, 16)] {
            let text = drawn(width, height, &curves);
            for part in [
                "mlp on digits",
                "epoch 2 of 3, 32 images/s, 3s left",
                "training 0.500",
                "test 50.00 %",
                "0.850",
                "q stops",
            ] {
                assert!(text.contains(part), "{part}\n{text}");
            }
            assert!(text.contains('•') && text.contains('⠉') || text.contains('⠒') || text.contains('⠑'), "{text}");
        }
        // Before the first point, and smaller than anybody wants it.
        assert!(drawn(80, 24, &Curves::default()).contains("training none yet"));
        drawn(3, 2, &curves);
        let odd = Curves::of(&[epoch(1, f64::NAN), epoch(2, f64::INFINITY)]);
        drawn(80, 24, &odd);
    }
}
