//! Folders that are written whole or not at all, whenever the process is killed or the disk is full.
//!
//! A folder is written beside its place and then renamed, of which a file system does all or nothing. Where there is one in
//! its place already that takes two renames, the first of which puts it aside; what lies aside tells what was going on:
//!
//! | in place | aside (`.NAME.old`) | beside (`.NAME.part`) | |
//! |---|---|---|---|
//! | whole | | unfinished or missing | before, or while the new one is written |
//! | | the one before | whole | between the two renames |
//! | whole | the one before | | the new one is in place |
//! | whole | | some of the one before | the old one, no longer aside, is being removed |
//!
//! What is aside is always whole, and nothing is aside when another folder begins to be written. So whatever happens, one of the
//! three is whole and known to be.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Writes a folder of these files, each by its path in it (with slashes) and its bytes. When this returns it is on the disk;
/// until then a folder that was there before stays there, or is found by [`find`].
///
/// # Errors
/// When it cannot be written. The folder that was there before stays.
pub fn write(folder: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    let places = Places::of(folder)?;
    places.settle()?;
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let failed = |error: io::Error| Error::file(folder, problem(&error, "written", bytes));
    let written = write_part(&places.part, files).and_then(|()| {
        if folder.exists() {
            fs::rename(folder, &places.old)?;
            sync(&places.parent)?; // or the disk might have the next rename without this one
        }
        fs::rename(&places.part, folder)?;
        sync(&places.parent)
    });
    if let Err(error) = written {
        // The folder from before goes back to its place, if it has left it.
        if !folder.exists() && places.old.exists() {
            fs::rename(&places.old, folder).map_err(failed)?;
        }
        let _ = remove(&places.part); // it takes room, but harms nobody; the error that counts is the other one
        return Err(failed(error));
    }
    places.remove_old().map_err(|error| Error::file(&places.old, problem(&error, "removed", 0)))
}

/// The newest whole folder that was written as `folder`, if there is one: where to read it. Nothing is changed.
pub fn find(folder: &Path) -> Option<PathBuf> {
    let places = Places::of(folder).ok()?;
    [folder, &places.part, &places.old]
        .into_iter()
        .find(|place| place.is_dir() && (*place != places.part || places.old.is_dir()))
        .map(Path::to_path_buf)
}

/// The newest checkpoint of a run: of the folders `checkpoint-N` that were written in `run`, that of the largest N which is
/// whole, as N and where to read it; nothing if there is none yet.
///
/// # Errors
/// When `run` cannot be read.
pub fn newest(run: &Path) -> Result<Option<(u64, PathBuf)>> {
    let failed = |error: io::Error| Error::file(run, problem(&error, "read", 0));
    let mut numbers = Vec::new();
    for entry in fs::read_dir(run).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        let plain = name.strip_prefix('.').and_then(|name| name.strip_suffix(OLD)).unwrap_or(&name);
        numbers.extend(plain.strip_prefix(CHECKPOINT).and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers.into_iter().rev().find_map(|number| Some((number, find(&run.join(format!("{CHECKPOINT}{number}")))?))))
}

/// What names of checkpoints begin with, as in diffusers' training scripts.
pub const CHECKPOINT: &str = "checkpoint-";

const PART: &str = ".part";
const OLD: &str = ".old";

/// The places of a folder besides its own. Their names begin with a dot, so that nothing takes them for the folder.
struct Places {
    folder: PathBuf,
    parent: PathBuf,
    part: PathBuf,
    old: PathBuf,
}

impl Places {
    fn of(folder: &Path) -> Result<Self> {
        let name = folder.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::file(folder, "is not the name of a folder."))?;
        let parent = match folder.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let beside = |ending: &str| folder.with_file_name(format!(".{name}{ending}"));
        Ok(Places { folder: folder.into(), parent: parent.into(), part: beside(PART), old: beside(OLD) })
    }

    /// Finishes what a process that was killed had begun: the folder is in its place, if there is one, and nothing is beside.
    fn settle(&self) -> Result<()> {
        let failed = |error: io::Error| Error::file(&self.folder, problem(&error, "written", 0));
        fs::create_dir_all(&self.parent).map_err(failed)?;
        if !self.folder.exists() && self.old.is_dir() {
            let newest = if self.part.is_dir() { &self.part } else { &self.old };
            fs::rename(newest, &self.folder).and_then(|()| sync(&self.parent)).map_err(failed)?;
        }
        self.remove_old().map_err(failed)
    }

    /// Removes the folder aside, which until then is whole.
    fn remove_old(&self) -> io::Result<()> {
        if self.old.exists() {
            remove(&self.part)?;
            fs::rename(&self.old, &self.part)?;
            sync(&self.parent)?;
        }
        remove(&self.part)
    }
}

/// Writes the files of a folder that is not there yet, until they are on the disk.
fn write_part(part: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    fs::create_dir(part)?;
    let mut folders = vec![part.to_path_buf()];
    for (name, bytes) in files {
        let path = part.join(name);
        if let Some(folder) = path.parent()
            && !folders.iter().any(|known| known == folder)
        {
            fs::create_dir_all(folder)?;
            folders.extend(folder.ancestors().take_while(|folder| *folder != part).map(Path::to_path_buf));
        }
        let mut file = File::create_new(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    folders.iter().try_for_each(|folder| sync(folder))
}

/// Waits until the disk has what a folder lists. Only Unix opens folders, and needs it.
fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Removes a folder that may not be there.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What an error of the disk means, and what to do.
pub(crate) fn problem(error: &io::Error, done: &str, bytes: usize) -> String {
    let megabytes = bytes.div_ceil(1 << 20);
    let advice = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!(" There is no room for {megabytes} MB: delete something, or choose another disk.")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            " Choose a place that you may write to, or change its permissions.".into()
        }
        _ => String::new(),
    };
    format!("could not be {done}: {error}.{advice}")
}
