//! A share of a core for a process, as the limit of a container gives it: control groups of Linux, in both versions.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often a share is given anew: often enough that nobody waits for long.
const PERIOD: Duration = Duration::from_millis(20);
/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// The group of one process. Drop it when the process has ended: a group with a process in it stays.
pub struct Share {
    folder: PathBuf,
}

impl Share {
    /// From here on this process and its threads together have no more than so many hundredths of one core. Making groups
    /// takes root, and an error says that this may not.
    pub fn hold(process: u32, hundredths: u32) -> io::Result<Self> {
        let name = format!("douane-bench-{process}");
        let (period, quota) = (PERIOD.as_micros(), PERIOD.as_micros() * u128::from(hundredths) / 100);
        let groups = Path::new(GROUPS);
        if groups.join("cgroup.controllers").exists() {
            fs::write(groups.join("cgroup.subtree_control"), "+cpu")?;
            let share = Self::new(groups.join(name))?;
            return share.fill(&[("cpu.max", format!("{quota} {period}"))], process);
        }
        let share = Self::new(groups.join("cpu").join(name))?;
        share.fill(
            &[("cpu.cfs_period_us", period.to_string()), ("cpu.cfs_quota_us", quota.to_string())],
            process,
        )
    }

    fn new(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir(&folder)?;
        Ok(Self { folder })
    }

    fn fill(self, settings: &[(&str, String)], process: u32) -> io::Result<Self> {
        for (setting, value) in settings {
            fs::write(self.folder.join(setting), value)?;
        }
        fs::write(self.folder.join("cgroup.procs"), process.to_string())?;
        Ok(self)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}
