use super::*;

#[tokio::test]
async fn a_folder_in_use_is_refused_and_free_again_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let first = Embedded::open(folder.path(), &clock, &tasks).unwrap();
    let error = Embedded::open(folder.path(), &clock, &Tasks::new()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    let said = error.to_string();
    assert!(
        said.ends_with("data folder in use by another process"),
        "{said}"
    );
    drop(first);
    // Without handles the thread ends by itself.
    tasks
        .shutdown(std::time::Duration::from_secs(60))
        .await
        .unwrap();
    Embedded::open(folder.path(), &clock, &Tasks::new()).unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Embedded::open(file.path(), &Clock::system(), &Tasks::new()).unwrap_err();
    assert!(matches!(error, OpenError::Failed { .. }));
    assert!(
        error
            .to_string()
            .contains(&file.path().display().to_string())
    );
}
