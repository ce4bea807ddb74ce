use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_state_directory_is_closed_to_others_and_its_lock_names_this_process() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a/b/b24gate");
    let state = StateDirectory::open(&path).unwrap();
    assert_eq!(state.path(), path);
    for made in [home.path().join("a"), home.path().join("a/b"), path.clone()] {
        assert_eq!(mode(&made), 0o700, "{}", made.display());
    }
    assert_eq!(mode(&path.join(LOCK)), 0o600);
    let pid = fs::read_to_string(path.join(LOCK)).unwrap();
    assert_eq!(pid.trim(), std::process::id().to_string());
}

#[test]
fn a_second_opening_is_refused_with_the_pid_of_the_first_until_that_is_gone() {
    let home = tempfile::tempdir().unwrap();
    chmod(home.path(), 0o700);
    let first = StateDirectory::open(home.path()).unwrap();
    let refused = StateDirectory::open(home.path()).unwrap_err();
    assert!(matches!(refused, StateError::Locked { pid: Some(pid), .. }
        if pid == std::process::id()));
    assert!(refused.to_string().contains(&format!("pid {}", std::process::id())));
    drop(first);
    StateDirectory::open(home.path()).unwrap();
}

#[test]
fn another_process_holds_the_lock_too() {
    let home = tempfile::tempdir().unwrap();
    chmod(home.path(), 0o700);
    let lock = home.path().join(LOCK);
    fs::write(&lock, "4242\n").unwrap();
    chmod(&lock, 0o600);
    let mut other = std::process::Command::new("flock")
        .arg(&lock)
        .args(["-c", "echo held; read line"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("flock of util-linux");
    let mut said = [0; 5];
    io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut said).unwrap();
    let refused = StateDirectory::open(home.path()).unwrap_err();
    assert!(refused.to_string().contains("pid 4242"), "{refused}");
    drop(other.stdin.take());
    other.wait().unwrap();
    StateDirectory::open(home.path()).unwrap();
}

#[test]
fn f_52_a_lock_file_left_by_a_killed_process_does_not_hinder_the_start() {
    let home = tempfile::tempdir().unwrap();
    chmod(home.path(), 0o700);
    let lock = home.path().join(LOCK);
    // A number that this machine gave to another process since.
    fs::write(&lock, "1\n").unwrap();
    chmod(&lock, 0o600);
    let mut other = std::process::Command::new("flock")
        .arg("--no-fork")
        .arg(&lock)
        .args(["sh", "-c", "echo held; exec sleep 60"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("flock of util-linux");
    let mut said = [0; 5];
    io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut said).unwrap();
    StateDirectory::open(home.path()).unwrap_err();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(fs::read_to_string(&lock).unwrap(), "1\n");
    StateDirectory::open(home.path()).unwrap();
}

#[test]
fn a_directory_that_others_can_enter_is_refused_with_the_command_that_mends_it() {
    let home = tempfile::tempdir().unwrap();
    for open in [0o750, 0o701, 0o770, 0o777, 0o1777] {
        chmod(home.path(), open);
        let error = StateDirectory::open(home.path()).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let mend = format!("chmod 700 {}", home.path().display());
        assert!(error.to_string().contains(&mend), "{error}");
        assert_eq!(inspect(home.path()), [error.to_string()]);
    }
    assert!(!home.path().join(LOCK).exists());
}

#[test]
fn a_symbolic_link_in_place_of_the_directory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (real, link) = (home.path().join("real"), home.path().join("link"));
    fs::create_dir(&real).unwrap();
    chmod(&real, 0o700);
    symlink(&real, &link).unwrap();
    for path in [link.clone(), link.join("")] {
        let error = StateDirectory::open(&path).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
    let dangling = home.path().join("dangling");
    symlink(home.path().join("nowhere"), &dangling).unwrap();
    StateDirectory::open(&dangling).unwrap_err();
    assert!(!home.path().join("nowhere").exists());
}

#[test]
fn a_directory_or_a_file_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can give a file away.
    }
    let home = tempfile::tempdir().unwrap();
    chmod(home.path(), 0o700);
    fs::write(home.path().join(LOCK), "").unwrap();
    chmod(&home.path().join(LOCK), 0o600);
    for path in [home.path().join(LOCK), home.path().to_owned()] {
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        let error = StateDirectory::open(home.path()).unwrap_err();
        assert!(error.to_string().contains("belongs to user 12345"), "{error}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
    StateDirectory::open(home.path()).unwrap();
}

#[test]
fn inspect_names_every_unsafe_file_and_its_mend() {
    let home = tempfile::tempdir().unwrap();
    chmod(home.path(), 0o700);
    let file = |name: &str| home.path().join(name);
    assert!(inspect(home.path()).is_empty());
    fs::write(file("b24gate.db"), "").unwrap();
    chmod(&file("b24gate.db"), 0o644);
    fs::write(file("elsewhere"), "").unwrap();
    chmod(&file("elsewhere"), 0o600);
    symlink(file("elsewhere"), file("b24gate.key")).unwrap();
    fs::hard_link(file("elsewhere"), file("b24gate.lock")).unwrap();
    let lines = inspect(home.path());
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("chmod 600") && lines[0].contains("b24gate.db"), "{lines:?}");
    assert!(lines[1].contains("symbolic link"), "{lines:?}");
    assert!(lines[2].contains("2 names"), "{lines:?}");
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_does_not_hang() {
    let home = tempfile::tempdir().unwrap();
    chmod(home.path(), 0o700);
    let made = std::process::Command::new("mkfifo").arg(home.path().join(LOCK)).status();
    assert!(made.unwrap().success());
    chmod(&home.path().join(LOCK), 0o600);
    let error = StateDirectory::open(home.path()).unwrap_err();
    assert!(error.to_string().contains("not a plain file"), "{error}");
}

#[test]
fn the_place_is_looked_for_in_the_documented_order() {
    let find = |cli: Option<&str>, variables: &[(&str, &str)]| {
        let variables: Vec<_> = variables.to_vec();
        locate_in(cli.map(Path::new), move |name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| PathBuf::from(value))
        })
    };
    let all = [("STATE_DIRECTORY", "/s:/t"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
    assert_eq!(find(Some("/cli"), &all).unwrap(), Path::new("/cli"));
    assert_eq!(find(None, &all).unwrap(), Path::new("/s"));
    assert_eq!(find(None, &all[1..]).unwrap(), Path::new("/x/b24gate"));
    assert_eq!(find(None, &all[2..]).unwrap(), Path::new("/h/.local/state/b24gate"));
    let relative = [("XDG_STATE_HOME", "x"), ("HOME", "/h")];
    assert_eq!(find(None, &relative).unwrap(), Path::new("/h/.local/state/b24gate"));
    assert!(matches!(find(None, &[]), Err(StateError::Nowhere)));
}
