//! A disk of a few megabytes, to be filled.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::bail;

/// How large it is, in the words of `mount`. Redis' files of a run are smaller by far.
const SIZE: &str = "size=24m";

/// A file system in memory, mounted until this is dropped. Needs root.
#[derive(Debug)]
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one here.
    ///
    /// # Errors
    /// What `mount` says.
    pub(crate) fn mount(place: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(place)?;
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(place)
            .output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self(place.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may hold a file still.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
