//! The order in which an epoch goes through a data set: a function of seed and epoch alone, the same on every machine.

use crate::random::Stream;

/// The numbers below `len` in the order of epoch `epoch` under `seed` (Fisher–Yates; every order is equally likely).
pub fn shuffle(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    mix(&mut order, &mut Stream::new(seed, &format!("data.shuffle.{epoch}")));
    order
}

/// As many indices of samples as there are `labels`, every class equally often, in the order of epoch `epoch` under `seed`.
///
/// Every class that occurs gets the same share; what does not divide goes to classes drawn anew in every epoch. A class
/// goes through all of its samples before one of them comes again: of a frequent class an epoch leaves some out, other
/// ones each time; those of a rare class come several times.
pub fn balanced(labels: &[u32], seed: u64, epoch: u64) -> Vec<usize> {
    let mut stream = Stream::new(seed, &format!("data.balanced.{epoch}"));
    let classes = labels.iter().max().map_or(0, |&largest| largest as usize + 1);
    let mut members = vec![Vec::new(); classes];
    labels.iter().enumerate().for_each(|(index, &label)| members[label as usize].push(index));
    members.retain(|members| !members.is_empty());
    // The classes that come first get one more.
    mix(&mut members, &mut stream);
    let (count, classes) = (labels.len(), members.len());
    let mut order = Vec::with_capacity(count);
    for (number, mut members) in members.into_iter().enumerate() {
        let mut wanted = count / classes + usize::from(number < count % classes);
        while wanted > 0 {
            mix(&mut members, &mut stream);
            let taken = wanted.min(members.len());
            order.extend_from_slice(&members[..taken]);
            wanted -= taken;
        }
    }
    mix(&mut order, &mut stream);
    order
}

fn mix<T>(items: &mut [T], stream: &mut Stream) {
    for last in (1..items.len()).rev() {
        items.swap(last, stream.below(last as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_an_even_permutation_of_its_seed_and_epoch() {
        let order = shuffle(1000, 7, 3);
        assert_eq!(order, shuffle(1000, 7, 3));
        assert!(order != shuffle(1000, 8, 3) && order != shuffle(1000, 7, 4));
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());

        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000 {
            *counts.entry(shuffle(3, 0, epoch)).or_insert(0) += 1;
        }
        assert!(counts.len() == 6 && counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!((shuffle(0, 0, 0), shuffle(1, 0, 0)), (vec![], vec![0]));
    }

    #[test]
    fn a_balanced_order_has_every_class_equally_often() {
        // 70 of class 0, 25 of class 2, 6 of class 3, none of class 1.
        let labels: Vec<u32> = [(0, 70), (2, 25), (3, 6)].iter().flat_map(|&(class, n)| vec![class; n]).collect();
        let order = balanced(&labels, 7, 1);
        assert_eq!(order, balanced(&labels, 7, 1));
        assert!(order != balanced(&labels, 7, 2) && order != balanced(&labels, 8, 1));
        let mut counts = vec![0; labels.len()];
        order.iter().for_each(|&index| counts[index] += 1);
        let mut of_class = [0; 4];
        order.iter().for_each(|&index| of_class[labels[index] as usize] += 1);
        assert_eq!((order.len(), of_class[1]), (101, 0));
        assert!([0, 2, 3].iter().all(|&class| (33..=34).contains(&of_class[class])), "{of_class:?}");
        // Nothing comes again before all of its class came.
        for (class, range) in [(0, 0..70), (2, 70..95), (3, 95..101)] {
            let (most, least) = (counts[range.clone()].iter().max(), counts[range].iter().min());
            assert!(most.unwrap() - least.unwrap() <= 1, "class {class}: {counts:?}");
        }
        // Mixed, not class by class.
        assert!(order[..20].iter().any(|&index| labels[index] != labels[order[0]]));
        let seen: std::collections::BTreeSet<usize> = (0..20).flat_map(|epoch| balanced(&labels, 7, epoch)).collect();
        assert_eq!(seen.len(), 101);
        assert!(balanced(&[], 0, 0).is_empty());
    }
}
