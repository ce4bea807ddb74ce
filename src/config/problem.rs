//! What is wrong with a configuration: every problem at once, one line each, never a secret.

use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

/// One thing that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The configuration file; `None` when there is none.
    pub file: Option<PathBuf>,
    /// The line in that file, from 1.
    pub line: Option<usize>,
    /// The section as written, without brackets, such as `portals.acme`.
    pub section: Option<String>,
    /// The key, where one is to blame.
    pub key: Option<String>,
    /// Whether it is the text or the permissions of a file.
    pub fault: Fault,
    /// What is wrong and what to do, in one line. It repeats no value that may be a secret.
    pub text: String,
}

/// What kind of thing is wrong; it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The configuration says something that cannot be.
    Invalid,
    /// A file with a secret can be read by other users.
    UnsafeFile,
}

impl ConfigError {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        // Stable: problems of one line keep the order in which they were found.
        problems.sort_by_key(|problem| problem.line);
        Self { problems }
    }

    /// Every problem found, never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// 3 when nothing but the permissions of files is wrong, 2 otherwise.
    pub fn exit_code(&self) -> u8 {
        let only_files = self.problems.iter().all(|problem| problem.fault == Fault::UnsafeFile);
        if only_files { 3 } else { 2 }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl Problem {
    /// A problem of the file as a whole.
    pub(super) fn of_file(file: &Path, text: String) -> Self {
        Self {
            file: Some(file.to_owned()),
            line: None,
            section: None,
            key: None,
            fault: Fault::Invalid,
            text,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}", file.display())?,
            None => f.write_str("configuration")?,
        }
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(":")?;
        if let Some(section) = &self.section {
            write!(f, " [{section}]")?;
        }
        write!(f, " {}", self.text)
    }
}
