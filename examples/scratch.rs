//! scratch
use neuropil::train::*;
use neuropil::*;
fn main() {
    let dev = Device::select(&std::env::args().nth(1).unwrap_or("cpu".into())).unwrap();
    let seed: u64 = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(1);
    let epochs: usize = std::env::args().nth(3).and_then(|s| s.parse().ok()).unwrap_or(40);
    let shift: usize = std::env::args().nth(4).and_then(|s| s.parse().ok()).unwrap_or(0);
    let (train, test) = data::digits().unwrap();
    let mut t = Trainer::new(
        &dev,
        nn::models::small_cnn(10),
        train.image_shape(),
        Settings { seed, epochs, augmentation: Augmentation { shift }, ..Settings::default() },
    );
    if std::env::var("PLAN").is_ok() {
        println!("{}", t.train_program(64).unwrap().schedule());
    }
    if std::env::var("PROF").is_ok() {
        let (i, l) = train.batch(&(0..64).collect::<Vec<_>>()).unwrap();
        let p = t.train_program(64).unwrap();
        p.profile(&[("images", &i), ("labels", &l)]).unwrap();
        let a = p.profile(&[("images", &i), ("labels", &l)]).unwrap();
        let mut tot = 0.0;
        for (n, s) in &a {
            tot += s;
            if *s > 0.001 {
                println!("{:8.3} ms {n}", s * 1e3);
            }
        }
        println!("total {:.3} ms", tot * 1e3);
        let t0 = std::time::Instant::now();
        for _ in 0..5 {
            p.run(&[("images", &i), ("labels", &l)]).unwrap();
        }
        p.read("loss").unwrap();
        println!("run {:.3} ms", t0.elapsed().as_secs_f64() * 200.0);
    }
    t.fit(&train, Some(&test), |e| {
        if e.number % 5 == 0 || e.number < 3 {
            println!(
                "{} loss {:.4} acc {:.4} test {:.4} {:.4} {:.2}s",
                e.number,
                e.train.loss,
                e.train.accuracy,
                e.test.unwrap().loss,
                e.test.unwrap().accuracy,
                e.seconds
            );
        }
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    println!("{:?}", dev.counters());
}
