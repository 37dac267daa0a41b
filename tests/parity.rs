//! scratch
use neuropil::Device;
#[test]
fn parity() {
    let word = std::env::var("NP_DEVICE").unwrap_or("cpu".into());
    let device = if word == "staged" {
        pollster::block_on(Device::open(
            &neuropil::device::GpuChoice::Software,
            neuropil::device::Options { tiles: neuropil::device::Tiles::Staged, guards: true, ..Default::default() },
        ))
        .unwrap()
    } else {
        Device::select(&word).unwrap()
    };
    let filter = std::env::var("NP_OP").ok();
    let t = std::time::Instant::now();
    let mut failures = 0;
    let s = neuropil::check::parity::run(&device, filter.as_deref(), |f| {
        if let Some(e) = &f.failure {
            failures += 1;
            if failures < 60 {
                println!(
                    "FAIL {} {} [{}]: {}",
                    f.family,
                    f.op,
                    f.case,
                    e.to_string().chars().take(400).collect::<String>()
                );
            }
        }
    })
    .unwrap();
    for (op, s) in &s {
        println!("{op:22} cases {:4} failed {:4} worst {:8.3} {}", s.cases, s.failed, s.worst, s.worst_case);
    }
    println!(
        "{} cases {} failed in {:?}, {:?}",
        s.values().map(|s| s.cases).sum::<usize>(),
        failures,
        t.elapsed(),
        device.counters()
    );
}
#[test]
fn one_gemm() {
    use neuropil::*;
    for (m, k, n) in [(64, 64, 64), (64, 64, 10), (64, 3, 2), (17, 33, 5)] {
        let device = Device::software().unwrap();
        let store = Store::new(&device, 0);
        let t = std::time::Instant::now();
        let p = Program::compile("x", &store, Mode::Evaluate, |t| {
            let a = t.input("a", &[m, k], DType::F32);
            let b = t.input("b", &[k, n], DType::F32);
            t.output("c", &a.matmul(&b));
        })
        .unwrap();
        let c = t.elapsed();
        let (a, b) = (Array::zeros(&[m, k], DType::F32), Array::zeros(&[k, n], DType::F32));
        p.call(&[("a", &a), ("b", &b)]).unwrap();
        let f = t.elapsed() - c;
        p.call(&[("a", &a), ("b", &b)]).unwrap();
        println!("{m} {k} {n} compile {c:?} first run {f:?} then {:?}", t.elapsed() - c - f);
    }
}
