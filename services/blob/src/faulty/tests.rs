//! Faults keep the seam's contract, and a seed repeats them.

use super::*;
use crate::sim::Sim;

fn key(name: &str) -> BlobKey {
    BlobKey::new(name).unwrap()
}

/// Puts and gets under a storm; gives what each call came to, and checks the contract after each.
async fn storm(seed: u64) -> String {
    let (clock, entropy) = (Clock::simulated(0), Entropy::seeded(seed));
    let sim = Sim::new(&clock);
    let store = Faulty::new(Arc::new(sim.clone()), &clock, &entropy);
    store.set_faults(Faults::stormy());
    let (mut trace, mut refused) = (String::new(), Vec::new());
    for n in 0..200 {
        let name = key(&format!("o/{n:03}"));
        let put = store.put(Put::new(name.clone(), "sixteen byte body", &entropy));
        let outcome = tokio::time::timeout(Duration::from_secs(1), put).await;
        match &outcome {
            Ok(Ok(())) => assert!(
                sim.snapshot().contains_key(&name),
                "an answered put is there"
            ),
            Ok(Err(e)) if !e.outcome_unknown() => refused.push(name.clone()),
            _ => {}
        }
        let get = tokio::time::timeout(Duration::from_secs(1), store.get(&name, 0..16)).await;
        if let Ok(Ok(bytes)) = &get {
            assert_eq!(bytes.len(), 16);
        }
        trace += &format!("{outcome:?} {get:?} {:?}\n", clock.now().elapsed());
    }
    store.settle().await;
    for name in refused {
        assert!(
            !sim.snapshot().contains_key(&name),
            "{name} was refused for certain, and landed"
        );
    }
    trace
}

#[tokio::test(start_paused = true)]
async fn a_storm_keeps_the_contract_and_a_seed_repeats_it() {
    let first = storm(7).await;
    assert_eq!(first, storm(7).await);
    assert_ne!(first, storm(8).await);
    for sign in [
        "SlowDown",
        "refused",
        "Elapsed",
        "reset",
        "ended early",
        "NoSuchKey",
        "500",
        "504",
    ] {
        assert!(first.contains(sign), "no {sign} in the storm");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_put_lands_when_due_and_loses_to_a_newer_object() {
    let (clock, entropy) = (Clock::simulated(0), Entropy::seeded(9));
    let store = Faulty::new(Arc::new(Sim::new(&clock)), &clock, &entropy);
    store.set_faults(Faults {
        late_max: Duration::from_secs(10),
        ..Faults::default()
    });
    for name in ["late", "taken"] {
        store.plan(Fault::Late);
        let error = store
            .put(Put::new(key(name), "old", &entropy))
            .await
            .unwrap_err();
        assert!(error.outcome_unknown());
    }
    store
        .put(Put::new(key("taken"), "new", &entropy))
        .await
        .unwrap();
    clock.sleep(Duration::from_secs(10)).await;
    assert_eq!(store.get(&key("late"), 0..3).await.unwrap(), "old");
    assert_eq!(store.get(&key("taken"), 0..3).await.unwrap(), "new");
    assert_eq!(store.settle().await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_by_itself_after_its_time() {
    let (clock, entropy) = (Clock::simulated(0), Entropy::seeded(10));
    let store = Faulty::new(Arc::new(Sim::new(&clock)), &clock, &entropy);
    store.begin_outage(Outage::Unreachable, Some(Duration::from_secs(3600)));
    let error = store.list(List::prefix("")).await.unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Unavailable);
    clock.sleep(Duration::from_secs(3600)).await;
    store.list(List::prefix("")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rot_flips_one_bit_of_the_answer_and_nothing_in_the_store() {
    let (clock, entropy) = (Clock::simulated(0), Entropy::seeded(11));
    let store = Faulty::new(Arc::new(Sim::new(&clock)), &clock, &entropy);
    store
        .put(Put::new(key("a"), "abcdefgh", &entropy))
        .await
        .unwrap();
    store.plan(Fault::Rotten);
    let rotten = store.get(&key("a"), 0..8).await.unwrap();
    let flipped: u32 = rotten
        .iter()
        .zip(b"abcdefgh")
        .map(|(a, b)| (a ^ b).count_ones())
        .sum();
    assert_eq!(flipped, 1);
    assert_eq!(store.get(&key("a"), 0..8).await.unwrap(), "abcdefgh");
}
