use super::*;
use crate::Mode;
use crate::sim::Sim;

fn faulty() -> Faulty {
    let clock = Clock::system();
    let sim = Arc::new(Sim::new(&clock));
    Faulty::new(sim, &clock, &Entropy::seeded(7))
}

async fn put(store: &Faulty, value: &[u8]) -> Result<(), MetaError> {
    let mut tx = store.begin();
    tx.set(b"k", value);
    tx.commit().await.map(|_| ())
}

async fn read(store: &Faulty) -> Option<Vec<u8>> {
    let value = store.begin().get(b"k", Mode::Serializable).await;
    value.unwrap().map(Into::into)
}

#[tokio::test(start_paused = true)]
async fn each_fault_answers_and_happens_as_it_says() {
    let unavailable = MetaError::Unavailable("a fault was injected".into());
    for (fault, answer, happened) in [
        (Fault::Conflict, MetaError::Conflict, false),
        (Fault::Unavailable, unavailable, false),
        (Fault::LostCommit, MetaError::MaybeCommitted, false),
        (Fault::LostReply, MetaError::MaybeCommitted, true),
        (Fault::Late, MetaError::MaybeCommitted, true),
    ] {
        let store = faulty();
        store.plan(fault);
        assert_eq!(put(&store, b"1").await, Err(answer));
        assert_eq!(read(&store).await.is_some(), happened, "{fault:?}");
        put(&store, b"2").await.expect("the plan is used up");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_commit_lands_before_its_key_is_read_and_not_before_a_blind_write() {
    let store = faulty();
    store.set_faults(Faults {
        late_max: Duration::from_secs(1),
        ..Faults::default()
    });
    store.plan(Fault::Late);
    assert_eq!(put(&store, b"late").await, Err(MetaError::MaybeCommitted));
    put(&store, b"blind").await.unwrap();
    assert_eq!(read(&store).await.as_deref(), Some(&b"late"[..]));

    // Nobody reads its key: it lands in its time.
    store.plan(Fault::Late);
    assert_eq!(put(&store, b"late").await, Err(MetaError::MaybeCommitted));
    store.control.clock.sleep(Duration::from_secs(1)).await;
    let other = store.begin().get(b"other", Mode::Serializable).await;
    assert_eq!(other, Ok(None));
    assert!(store.control.late.is_empty().await);
}

#[tokio::test(start_paused = true)]
async fn a_late_commit_that_conflicts_by_then_does_not_happen() {
    let store = faulty();
    let mut tx = store.begin();
    tx.get(b"k", Mode::Serializable).await.unwrap();
    tx.set(b"k", b"late");
    store.plan(Fault::Late);
    assert_eq!(tx.commit().await, Err(MetaError::MaybeCommitted));
    store.plan(Fault::LostReply);
    assert_eq!(put(&store, b"blind").await, Err(MetaError::MaybeCommitted));
    assert_eq!(read(&store).await.as_deref(), Some(&b"blind"[..]));
}

#[tokio::test(start_paused = true)]
async fn an_outage_refuses_everything_until_it_ends() {
    let store = faulty();
    put(&store, b"1").await.unwrap();
    store.set_outage(true);
    let refused = Err(MetaError::Unavailable("an outage".into()));
    assert_eq!(put(&store, b"2").await, refused);
    let mut tx = store.begin();
    let value = tx.get(b"k", Mode::Serializable).await;
    assert_eq!(value.map(|_| ()), refused);
    store.set_outage(false);
    assert_eq!(read(&store).await.as_deref(), Some(&b"1"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_what_was_answered_and_decides_what_was_not() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..32 {
        let clock = Clock::system();
        let sim = Arc::new(Sim::new(&clock));
        let store = Faulty::new(sim, &clock, &Entropy::seeded(seed));
        put(&store, b"answered").await.unwrap();
        let delay_max = Duration::from_millis(10);
        store.set_faults(Faults {
            delay_max,
            ..Faults::default()
        });
        let mut old = store.begin();
        let (outcome, ()) = tokio::join!(put(&store, b"under way"), async {
            clock.sleep(delay_max / 2).await;
            store.crash().await;
        });
        let stale = old.get(b"k", Mode::Serializable).await;
        assert_eq!(stale, Err(MetaError::Unavailable("it crashed".into())));
        match (outcome, read(&store).await.as_deref()) {
            (Ok(()), Some(b"under way")) => {}
            (Err(MetaError::MaybeCommitted), Some(b"under way")) => kept += 1,
            (Err(MetaError::MaybeCommitted), Some(b"answered")) => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(kept > 0 && lost > 0, "kept {kept}, lost {lost}");
}
