//! What only the folder engine does: temporary files, locks, damage, errors of the disk.

#![expect(clippy::disallowed_methods, reason = "the tests damage files")]

use tidemark_runtime::Entropy;

use super::*;

fn key(name: &str) -> BlobKey {
    BlobKey::new(name).unwrap()
}

fn put(name: &str, body: &'static str) -> Put {
    Put::new(key(name), body, &Entropy::seeded(1))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn opening_deletes_half_written_files_and_keeps_objects() {
    let folder = tempfile::tempdir().unwrap();
    let store = Fs::open(folder.path()).unwrap();
    store.put(put("a/b", "kept")).await.unwrap();
    assert_eq!(names(&folder.path().join(".tmp")), [""; 0]);
    drop(store);
    std::fs::write(folder.path().join(".tmp/half"), "writ").unwrap();
    let store = Fs::open(folder.path()).unwrap();
    assert_eq!(names(&folder.path().join(".tmp")), [""; 0]);
    assert_eq!(store.get(&key("a/b"), 0..4).await.unwrap(), "kept");
}

/// Large objects go past the page cache, in whole blocks: the file ends where object and trailer do all the same.
#[tokio::test]
async fn objects_of_any_size_end_where_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = Fs::open(folder.path()).unwrap();
    let entropy = Entropy::seeded(2);
    let block = 64 << 10;
    for bytes in [
        block - 33,
        block - 32,
        block - 1,
        block,
        block + 1,
        5 * block - 32,
        2_500_001,
    ] {
        let pattern: Vec<u8> = (0_u8..=250).cycle().take(bytes).collect();
        let name = format!("of/{bytes}");
        let chunks = pattern.chunks(77_777).map(Bytes::copy_from_slice);
        let body: crate::Body = chunks.collect::<Vec<_>>().into();
        store
            .put(Put::new(key(&name), body, &entropy))
            .await
            .unwrap();
        let held = std::fs::metadata(folder.path().join(&name)).unwrap().len();
        assert_eq!(held, bytes as u64 + 32);
        assert_eq!(store.head(&key(&name)).await.unwrap().bytes, bytes as u64);
        for range in [0..bytes, 1..bytes, bytes / 2..bytes - 1, bytes - 1..bytes] {
            let asked = range.start as u64..range.end as u64;
            let read = store.get(&key(&name), asked).await.unwrap();
            assert!(read == pattern[range.clone()], "{bytes}: {range:?}");
        }
    }
}

#[tokio::test]
async fn one_process_writes_and_others_may_read() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        Fs::attach(folder.path()).unwrap_err().kind(),
        BlobErrorKind::NoBucket
    );
    let store = Fs::open(folder.path()).unwrap();
    let error = Fs::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    let reader = Fs::attach(folder.path()).unwrap();
    store.put(put("a", "seen")).await.unwrap();
    assert_eq!(reader.get(&key("a"), 0..4).await.unwrap(), "seen");
    assert_eq!(
        reader.put(put("b", "")).await.unwrap_err().kind(),
        BlobErrorKind::Invalid
    );
    assert_eq!(
        reader.delete(&key("a")).await.unwrap_err().kind(),
        BlobErrorKind::Invalid
    );
}

#[tokio::test]
async fn a_truncated_or_foreign_file_is_corrupt_never_short() {
    let folder = tempfile::tempdir().unwrap();
    let store = Fs::open(folder.path()).unwrap();
    store.put(put("a", "0123456789")).await.unwrap();
    let path = folder.path().join("a");
    let whole = std::fs::read(&path).unwrap();
    for kept in 0..whole.len() {
        std::fs::write(&path, &whole[..kept]).unwrap();
        assert_eq!(
            store.get(&key("a"), 0..1).await.unwrap_err().kind(),
            BlobErrorKind::Corrupt,
            "{kept}"
        );
        assert_eq!(
            store.head(&key("a")).await.unwrap_err().kind(),
            BlobErrorKind::Corrupt,
            "{kept}"
        );
    }
}

#[tokio::test]
async fn a_folder_that_went_away_is_no_answer_about_objects() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("objects");
    let store = Fs::open(&root).unwrap();
    store.put(put("a", "x")).await.unwrap();
    std::fs::rename(&root, outer.path().join("elsewhere")).unwrap();
    for kind in [
        store.get(&key("a"), 0..1).await.unwrap_err().kind(),
        store.head(&key("a")).await.unwrap_err().kind(),
        store.delete(&key("a")).await.unwrap_err().kind(),
        store.put(put("b", "x")).await.unwrap_err().kind(),
        store.list(List::default()).await.unwrap_err().kind(),
    ] {
        assert_eq!(kind, BlobErrorKind::NoBucket);
    }
    std::fs::rename(outer.path().join("elsewhere"), &root).unwrap();
    assert_eq!(store.get(&key("a"), 0..1).await.unwrap(), "x");
}

/// The folder is moved away while a put is between its temporary file and its name.
#[test]
fn a_put_never_makes_the_folder_of_all_objects_anew() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("objects");
    let files = Files::new(root.clone());
    let object = root.join("l0/1/a");
    let gone = files.make_folders(&object).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(names(outer.path()), [""; 0]);
    files.prepare().unwrap();
    files.make_folders(&object).unwrap();
    files.make_folders(&object).unwrap();
    assert_eq!(names(&root.join("l0")), ["1"]);
}

#[tokio::test]
async fn deleting_removes_folders_that_are_left_empty_and_only_these() {
    let folder = tempfile::tempdir().unwrap();
    let store = Fs::open(folder.path()).unwrap();
    store.put(put("l0/1/a", "x")).await.unwrap();
    store.put(put("l0/2/a", "x")).await.unwrap();
    store.delete(&key("l0/1/a")).await.unwrap();
    assert_eq!(names(&folder.path().join("l0")), ["2"]);
    store.delete(&key("l0/2/a")).await.unwrap();
    assert_eq!(names(folder.path()), [".lock", ".tmp"]);
}

/// However the scheduler treats them: a put's folder is not removed under it, as often as it may be emptied meanwhile.
#[tokio::test]
async fn puts_and_deletes_in_one_folder_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Fs::open(folder.path()).unwrap());
    let churn = |writer: u32| {
        let store = Arc::clone(&store);
        async move {
            let entropy = Entropy::seeded(u64::from(writer));
            for n in 0..300 {
                let name = key(&format!("one/folder/{writer}-{n}"));
                store
                    .put(Put::new(name.clone(), "x", &entropy))
                    .await
                    .unwrap();
                assert_eq!(store.get(&name, 0..1).await.unwrap(), "x");
                store.delete(&name).await.unwrap();
            }
        }
    };
    tokio::join!(churn(1), churn(2), churn(3), churn(4));
    assert_eq!(names(folder.path()), [".lock", ".tmp"]);
}

#[test]
fn a_full_disk_is_said_to_be_full() {
    let full = io::Error::from_raw_os_error(28);
    assert_eq!(kind_of(&full), BlobErrorKind::Full);
    assert_eq!(
        kind_of(&io::Error::from_raw_os_error(122)),
        BlobErrorKind::Full
    );
    assert_eq!(
        kind_of(&io::Error::from_raw_os_error(13)),
        BlobErrorKind::Unauthorized
    );
    assert_eq!(
        kind_of(&io::Error::from_raw_os_error(5)),
        BlobErrorKind::Unavailable
    );
}
