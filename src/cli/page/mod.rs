//! The page of a run or of a saved network: what it learned, where it is wrong, what it is made of. It needs no other file.
//!
//! A page has parts, each of which can be missing: `curves` of a run, `results` on the test images, the drawing of the network.
//! Each part is plain data, made before anything is written; the template has all words and their order, and escapes all text.
//! Before: [`super::drawing`]. After: `train --run` writes it after every epoch, and in the end with results; `evaluate
//! --report` writes it without a run.

mod curves;
mod results;

use minijinja::context;
use neuropil::nn::{Summary, models};
use neuropil::{Device, Error};
use serde::Serialize;

pub use curves::Curves;
pub use results::Results;

use super::drawing::{environment, failed, network};

/// A line of a list: a name and what it is.
type Fact = (String, String);

/// What is shown.
#[derive(Default)]
pub struct Page {
    /// At the top.
    pub title: String,
    /// What came out, in a sentence.
    pub lead: String,
    /// Of a run.
    pub curves: Option<Curves>,
    /// On the test images.
    pub results: Option<Results>,
    /// The network, drawn.
    pub network: String,
    /// The options of a run.
    pub options: Vec<Fact>,
    /// The device and the versions.
    pub machine: Vec<Fact>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    text: String,
}

impl Page {
    /// The network, for the page: `model` is its name or description.
    ///
    /// # Errors
    /// When the template is wrong.
    pub fn draw(&mut self, model: &str, summary: &Summary) -> Result<(), Error> {
        self.network = network(&models::title(model), summary)?;
        Ok(())
    }

    /// The page as HTML.
    ///
    /// # Errors
    /// When the template is wrong.
    pub fn html(self) -> Result<String, Error> {
        let Page { title, lead, curves, results, network, options, machine } = self;
        let mut environment = environment();
        environment.add_template("style.css", include_str!("../style.css")).map_err(failed)?;
        let named = |facts: Vec<Fact>| facts.into_iter().map(|(name, text)| Named { name, text }).collect::<Vec<_>>();
        let page = context! {
            title, lead, curves, results, network, options => named(options), machine => named(machine),
        };
        environment.render_named_str("page.html", include_str!("page.html"), page).map_err(failed)
    }
}

/// What computed it.
pub fn machine(device: &Device) -> Vec<Fact> {
    let fact = |name: &str, text: String| (name.to_owned(), text);
    let mut facts = vec![fact("device", device.name())];
    if let Some(adapter) = device.adapter() {
        facts.push(fact("kind", adapter.kind.to_owned()));
        facts.push(fact("driver", format!("{}, {}", adapter.driver, adapter.backend)));
    }
    facts.push(fact("neuropil", env!("CARGO_PKG_VERSION").to_owned()));
    facts.push(fact("system", format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH)));
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use neuropil::nn::Summary;
    use neuropil::train::{Epoch, Metrics, Progress, Settings};

    fn progress(losses: &[f64]) -> Progress {
        let metrics = |loss| Metrics { loss, accuracy: 0.5, samples: 4 };
        let epoch = |(index, &loss): (usize, &f64)| Epoch {
            number: index + 1,
            train: metrics(loss),
            test: Some(metrics(loss + 1.0)),
            waited: 0.0,
            seconds: 1.0,
        };
        let epochs = losses.iter().enumerate().map(epoch).collect();
        Progress { steps: 10 * losses.len(), steps_per_epoch: 10, epochs, ..Progress::default() }
    }

    #[test]
    fn a_page_needs_no_other_and_escapes_what_comes_from_outside() {
        let mut page = Page {
            title: "a <run>".to_owned(),
            lead: "<b>&".to_owned(),
            curves: Some(Curves::of(&progress(&[2.0, 1.0, 0.5]), &Settings::default(), Some(0.1)).unwrap()),
            options: vec![("dataset".to_owned(), "<script>alert(1)</script>".to_owned())],
            machine: machine(&Device::cpu()),
            ..Page::default()
        };
        page.draw("mlp", &Summary::of(&models::by_name("mlp", 10).unwrap(), [8, 8, 1]).unwrap()).unwrap();
        let html = page.html().unwrap();
        assert!(html.contains("<h1>a &lt;run&gt;</h1>") && html.contains("&lt;b&gt;&amp;"), "{html}");
        assert!(!html.contains("<script") && !html.contains("src=\"http") && !html.contains("url("), "{html}");
        assert_eq!(html.matches("http").count(), html.matches("xmlns=\"http://www.w3.org").count(), "{html}");
        assert_eq!(html.matches("class=\"best\"").count(), 1);
        for part in ["Loss", "Accuracy", "Learning rate", "hidden1", "20 %", "neuropil"] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }

    #[test]
    fn a_run_without_epochs_has_a_page() {
        let curves = Curves::of(&progress(&[]), &Settings::default(), None).unwrap();
        let html = Page { curves: Some(curves), ..Page::default() }.html().unwrap();
        assert!(html.contains("no epoch is complete"), "{html}");
    }
}
