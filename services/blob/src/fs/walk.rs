//! Listing a folder in the byte order of its keys.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::trailer::TRAILER_BYTES;
use crate::{BlobInfo, BlobKey, List, Listed, Page};

/// One page. Reads the names of whole folders, and only of those that can hold keys asked for.
pub(super) fn walk(root: &Path, list: &List) -> io::Result<Page> {
    let mut walk = Walk {
        list,
        limit: list.page(),
        page: Page::default(),
    };
    let folder = list
        .prefix
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    walk.folder(&root.join(folder), folder)?;
    Ok(walk.page)
}

struct Walk<'a> {
    list: &'a List,
    limit: usize,
    page: Page,
}

/// Ordered as its keys are: a folder's keys all begin with its name and a `/`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    sorted_as: String,
    is_folder: bool,
    path: PathBuf,
}

impl Walk<'_> {
    /// `false`: the page is full.
    fn folder(&mut self, folder: &Path, name: &str) -> io::Result<bool> {
        for entry in entries(folder, name)? {
            let wanted = if entry.is_folder {
                self.may_hold(&entry.sorted_as)
            } else {
                self.wants(&entry.sorted_as)
            };
            if !wanted {
                continue;
            }
            let goes_on = if entry.is_folder {
                self.folder(&entry.path, entry.sorted_as.trim_end_matches('/'))?
            } else {
                self.file(&entry)?
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn may_hold(&self, folder: &str) -> bool {
        let prefix = &self.list.prefix;
        let after = self.list.after.as_ref().map_or("", BlobKey::as_str);
        (folder.starts_with(prefix) || prefix.starts_with(folder))
            && (folder > after || after.starts_with(folder))
    }

    fn wants(&self, key: &str) -> bool {
        let after = self.list.after.as_ref().map_or("", BlobKey::as_str);
        key.starts_with(&self.list.prefix) && key > after
    }

    fn file(&mut self, entry: &Entry) -> io::Result<bool> {
        let Ok(key) = BlobKey::new(&entry.sorted_as) else {
            return Ok(true);
        };
        if self.page.objects.len() == self.limit {
            self.page.next = self.page.objects.last().map(|last| last.key.clone());
            return Ok(false);
        }
        let meta = match std::fs::metadata(&entry.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
            other => other?,
        };
        if let Some(bytes) = meta.len().checked_sub(TRAILER_BYTES as u64) {
            let info = BlobInfo {
                bytes,
                modified_ms: modified_ms(&meta),
            };
            self.page.objects.push(Listed { key, info });
        }
        Ok(true)
    }
}

fn entries(folder: &Path, name: &str) -> io::Result<Vec<Entry>> {
    let listed = match std::fs::read_dir(folder) {
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry?;
        let Ok(file_name) = entry.file_name().into_string() else {
            continue;
        };
        if file_name.starts_with('.') {
            continue;
        }
        let is_folder = entry.file_type()?.is_dir();
        let slash = if is_folder { "/" } else { "" };
        let sorted_as = match name {
            "" => format!("{file_name}{slash}"),
            name => format!("{name}/{file_name}{slash}"),
        };
        entries.push(Entry {
            sorted_as,
            is_folder,
            path: entry.path(),
        });
    }
    entries.sort();
    Ok(entries)
}

/// A file's age, ms since the Unix epoch.
pub(super) fn modified_ms(meta: &std::fs::Metadata) -> i64 {
    let since = meta
        .modified()
        .ok()
        .and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
