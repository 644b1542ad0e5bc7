//! What is repeated, how often, how long, and what is said in the end.

use proptest::prelude::*;

use super::*;
use crate::faulty::{Fault, Faults, Faulty, Outage};
use crate::sim::Sim;

struct World {
    clock: Clock,
    entropy: Entropy,
    sim: Sim,
    faulty: Faulty,
    store: Retrying,
}

fn world(seed: u64) -> World {
    let (clock, entropy) = (Clock::simulated(0), Entropy::seeded(seed));
    let sim = Sim::new(&clock);
    let faulty = Faulty::new(Arc::new(sim.clone()), &clock, &entropy);
    let store = Retrying::new(
        Arc::new(faulty.clone()),
        RetryPolicy::default(),
        &clock,
        &entropy,
    );
    World {
        clock,
        entropy,
        sim,
        faulty,
        store,
    }
}

fn key(name: &str) -> BlobKey {
    BlobKey::new(name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_passes_by_itself_is_repeated() {
    let w = world(1);
    for fault in [
        Fault::Throttled,
        Fault::Refused,
        Fault::Hang,
        Fault::Reset,
        Fault::LostReply,
        Fault::Late,
    ] {
        w.faulty.plan(fault);
    }
    w.store
        .put(Put::new(key("a"), "kept", &w.entropy))
        .await
        .unwrap();
    for fault in [
        Fault::Throttled,
        Fault::Hang,
        Fault::Reset,
        Fault::Truncated,
    ] {
        w.faulty.plan(fault);
    }
    assert_eq!(w.store.get(&key("a"), 1..4).await.unwrap(), "ept");
    w.faulty.plan(Fault::Refused);
    assert_eq!(w.store.head(&key("a")).await.unwrap().bytes, 4);
    w.faulty.plan(Fault::Throttled);
    assert_eq!(
        w.store.list(List::prefix("")).await.unwrap().objects.len(),
        1
    );
    w.faulty.plan(Fault::Refused);
    w.store.delete_many(&[key("a")]).await.unwrap();
    assert!(w.sim.snapshot().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_put_whose_reply_was_lost_knows_its_own_object_but_no_others() {
    let w = world(2);
    w.faulty.plan(Fault::LostReply);
    w.store
        .put(Put::new(key("a"), "mine", &w.entropy))
        .await
        .unwrap();
    let error = w
        .store
        .put(Put::new(key("a"), "mine", &w.entropy))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::AlreadyExists);
    assert!(!error.outcome_unknown());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_by_itself_is_not_repeated() {
    let w = world(3);
    for (outage, kind) in [
        (Outage::Revoked, BlobErrorKind::Unauthorized),
        (Outage::NoBucket, BlobErrorKind::NoBucket),
        (Outage::Full, BlobErrorKind::Full),
    ] {
        w.faulty.begin_outage(outage, None);
        let before = w.clock.now();
        let error = w
            .store
            .put(Put::new(key("a"), "x", &w.entropy))
            .await
            .unwrap_err();
        assert_eq!((error.kind(), error.remedy()), (kind, Remedy::Operator));
        assert!(!error.outcome_unknown());
        assert_eq!(w.clock.now(), before, "it waited");
    }
    w.faulty.heal();
    let error = w.store.get(&key("absent"), 0..1).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.remedy()),
        (BlobErrorKind::NotFound, Remedy::Final)
    );
}

#[tokio::test(start_paused = true)]
async fn a_doubt_is_not_forgotten_over_a_later_certain_error() {
    let w = world(4);
    w.faulty.plan(Fault::Late);
    w.faulty.set_faults(Faults {
        late_max: Duration::from_secs(3600),
        ..Faults::default()
    });
    let put = w.store.put(Put::new(key("a"), "x", &w.entropy));
    let revoke = async {
        w.clock.sleep(Duration::from_micros(1)).await;
        w.faulty.begin_outage(Outage::Revoked, None);
    };
    let (outcome, ()) = tokio::join!(put, revoke);
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Unauthorized);
    assert!(error.outcome_unknown(), "{error}");
    assert_eq!(w.faulty.settle().await, 1);
    assert_eq!(w.sim.snapshot().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_costs_a_bounded_time() {
    let policy = RetryPolicy::default();
    for (faults, kind) in [
        (
            Faults {
                hang: 1_000,
                ..Faults::default()
            },
            BlobErrorKind::TimedOut,
        ),
        (Faults::throttling(), BlobErrorKind::Throttled),
    ] {
        let w = world(5);
        w.faulty.set_faults(faults);
        let before = w.clock.now();
        let error = w
            .store
            .put(Put::new(key("a"), "x", &w.entropy))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(error.outcome_unknown(), kind == BlobErrorKind::TimedOut);
        let took = w.clock.now() - before;
        assert!(took <= policy.total, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn time_grows_with_the_bytes_moved() {
    let w = world(6);
    w.faulty.set_faults(Faults {
        delay_max: Duration::from_secs(30),
        ..Faults::default()
    });
    let large = Bytes::from(vec![0; 64 << 20]);
    for n in 0..20 {
        let put = Put::new(key(&format!("large/{n}")), large.clone(), &w.entropy);
        // Two waits of up to half a minute: over the ten seconds of an attempt that moves nothing.
        w.store.put(put).await.unwrap();
    }
}

proptest! {
    #[test]
    fn waits_are_jittered_and_bounded(tries in 1_u32..200, seed: u64, asked_ms in prop::option::of(0_u64..100_000)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let store = runtime.block_on(async { world(seed).store });
        let asked = asked_ms.map(Duration::from_millis);
        let wait = store.wait(tries, asked);
        let cap = store.policy.wait_cap;
        prop_assert!(wait >= asked.unwrap_or_default().min(cap));
        prop_assert!(wait <= 2 * cap);
    }
}
