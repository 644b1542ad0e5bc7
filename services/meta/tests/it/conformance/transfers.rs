//! Concurrent, retried, idempotent transactions: each applies exactly once, whatever the engine answered meanwhile.

use futures_util::FutureExt;
use futures_util::future::join_all;
use tidemark_meta::{TransactError, transact};

use super::*;

const ACCOUNTS: u64 = 5;
const WORKERS: u64 = 8;
const TRANSFERS: u64 = 25;

type Refusal = std::convert::Infallible;

/// Moves `amount` between two accounts once per `id`, as a caller of [`transact`] should write it: the row `done/id`
/// tells a repeated run that an earlier one committed.
async fn transfer(env: &Env, id: u64, from: u64, to: u64) -> Result<(), TransactError<Refusal>> {
    let outcome = transact(&*env.store, &env.clock, &env.entropy, |tx| {
        run_transfer(env, tx, id, from, to).boxed()
    });
    outcome.await.map(|_| ())
}

async fn run_transfer(
    env: &Env,
    tx: &mut dyn Transaction,
    id: u64,
    from: u64,
    to: u64,
) -> Result<(), TransactError<Refusal>> {
    let done = env.key(format!("done/{id:05}"));
    if tx.get(&done, SER).await?.is_some() {
        return Ok(());
    }
    for (account, delta) in [(from, -1_i64), (to, 1)] {
        let key = env.key(format!("account/{account}"));
        let stored = tx.get(&key, SER).await?;
        let balance = stored.map_or(0, |v| i64::from_le_bytes(v[..].try_into().unwrap()));
        tx.set(&key, &(balance + delta).to_le_bytes());
    }
    tx.set(
        &done,
        &[u8::try_from(from).unwrap(), u8::try_from(to).unwrap()],
    );
    Ok(())
}

/// A read that insists.
pub(crate) async fn read_all(env: &Env, begin: &str, end: &str) -> Vec<KeyValue> {
    loop {
        match env.store.begin().range(over(env, begin, end)).await {
            Ok(pairs) => return pairs,
            Err(error) if error.is_retriable() => {
                env.pass(std::time::Duration::from_millis(1)).await
            }
            Err(error) => panic!("read: {error}"),
        }
    }
}

pub(crate) async fn concurrent_transfers_apply_exactly_once(env: Env) -> Env {
    let worker = |worker: u64| {
        let env = &env;
        async move {
            for n in 0..TRANSFERS {
                let id = worker * TRANSFERS + n;
                let from = env.entropy.below(ACCOUNTS);
                let to = (from + 1 + env.entropy.below(ACCOUNTS - 1)) % ACCOUNTS;
                transfer(env, id, from, to)
                    .await
                    .expect("it commits in the end");
                // Strictness: whoever asks after the answer sees it.
                let done = format!("done/{id:05}");
                let after = format!("{done}\0");
                assert_eq!(read_all(env, &done, &after).await.len(), 1);
            }
        }
    };
    env.real_time(join_all((0..WORKERS).map(worker))).await;
    let done = read_all(&env, "done/", "done0").await;
    assert_eq!(done.len() as u64, WORKERS * TRANSFERS);
    let mut expected = vec![0_i64; usize::try_from(ACCOUNTS).unwrap()];
    for (_, moved) in done {
        expected[usize::from(moved[0])] -= 1;
        expected[usize::from(moved[1])] += 1;
    }
    let accounts = read_all(&env, "account/", "account0").await;
    let balances: Vec<_> = accounts
        .iter()
        .map(|(_, v)| i64::from_le_bytes(v[..].try_into().unwrap()))
        .collect();
    assert_eq!(balances, expected);
    env
}
