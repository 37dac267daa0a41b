//! Long runs do not grow: neither the memory of the process nor what is made on the device, from the second epoch to the
//! twentieth. A process of its own, since all tests of one share its memory.

#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::ops::ControlFlow;

use neuropil::data::digits;
use neuropil::device::Counters;
use neuropil::nn::models;
use neuropil::train::{Augmentation, Epoch, Monitor, Settings, Trainer};
use neuropil::{Device, Result};

/// What may come and go in an allocator.
const SLACK: u64 = 4 << 20;

/// What there is after an epoch.
#[derive(Default)]
struct Watch(Vec<(u64, Counters)>);

impl Monitor for Watch {
    fn step(&mut self, _: &Trainer, _: usize, _: usize) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    fn epoch(&mut self, trainer: &Trainer, _: &Epoch) -> Result<ControlFlow<()>> {
        // As every run with checkpoints does.
        let path = std::env::temp_dir().join(format!("neuropil-memory-{}.safetensors", std::process::id()));
        trainer.checkpoint()?.save(&path, None)?;
        fs::remove_file(&path).unwrap();
        self.0.push((resident(), trainer.store().device().counters()));
        Ok(ControlFlow::Continue(()))
    }
}

/// The bytes of this process in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn stays_flat(device: &Device) {
    let (train, test) = digits().unwrap();
    let augmentation = Augmentation { shift: 1, mixup: 0.2, ..Augmentation::default() };
    let settings = Settings { epochs: 20, augmentation, ..Settings::default() };
    let mut trainer = Trainer::new(device, models::mlp(10), [8, 8, 1], settings);
    let mut watch = Watch::default();
    trainer.fit_with(&train, Some(&test), &mut watch).unwrap();
    let [(_, (second, made)), (_, (last, made_in_all))] = [1, 19].map(|i| (i, watch.0[i]));
    let grown: Vec<u64> = watch.0.iter().map(|(bytes, _)| bytes >> 10).collect();
    assert!(last <= second + SLACK, "{}: {grown:?} KiB after the epochs", device.name());
    let of = |counters: Counters| (counters.buffers, counters.pipelines, counters.bind_groups);
    assert_eq!(of(made), of(made_in_all), "{}", device.name());
}

#[test]
fn twenty_epochs_take_the_memory_of_two() {
    stays_flat(&Device::cpu());
    if let Some(gpu) = common::gpu() {
        stays_flat(&gpu);
    }
}
