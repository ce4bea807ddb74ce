//! Files on a disk: where the configuration is found, and who may read secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::file::locate;
use super::super::{Access, Config, Fault, KeySource};
use super::{APP, PORTAL};

fn write(dir: &TempDir, name: &str, mode: u32, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn secret_file(mode: u32, contents: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    write(&dir, "main.secret", mode, contents);
    let text = format!(
        "[apps.main]\nclient_id = \"local.1\"\nclient_secret_file = \"main.secret\"\n{PORTAL}"
    );
    let file = write(&dir, "b24gate.toml", 0o644, &text);
    (dir, file)
}

#[test]
fn a_secret_file_is_read_beside_the_configuration_without_its_line_break() {
    for contents in ["S-canary\n", "S-canary\r\n", "S-canary"] {
        let (_dir, file) = secret_file(0o600, contents);
        let config = Config::load(Some(&file)).unwrap();
        assert_eq!(config.apps["main"].client_secret.expose(), "S-canary");
        assert_eq!(config.source.as_deref(), Some(file.as_path()));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}

#[test]
fn a_secret_file_that_others_can_reach_is_refused_with_the_mend() {
    for mode in [0o640, 0o604, 0o620, 0o602, 0o666] {
        let (_dir, file) = secret_file(mode, "S-canary\n");
        let error = Config::load(Some(&file)).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{mode:o}");
        let [problem] = error.problems() else { panic!("{error}") };
        assert_eq!((problem.fault, problem.line), (Fault::UnsafeFile, Some(3)));
        let secret = file.with_file_name("main.secret");
        assert!(problem.text.contains("unsafe file"), "{error}");
        assert!(problem.text.contains(&format!("chmod 600 {}", secret.display())), "{error}");
        assert!(!error.to_string().contains("S-canary"));
    }
}

#[test]
fn an_unsafe_file_beside_another_problem_is_a_configuration_error() {
    let (dir, file) = secret_file(0o644, "S-canary");
    let text = fs::read_to_string(&file).unwrap();
    let file = write(&dir, "b24gate.toml", 0o600, &format!("{text}urll = 1\n"));
    let error = Config::load(Some(&file)).unwrap_err();
    assert_eq!((error.problems().len(), error.exit_code()), (2, 2));
}

#[test]
fn a_secret_file_that_holds_no_secret_is_refused_without_being_repeated() {
    for contents in ["", "\n", "S-canary two", "S-canary\nS-canary\n", &"S-canary".repeat(10_000)] {
        let (_dir, file) = secret_file(0o600, contents);
        let error = Config::load(Some(&file)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(!error.to_string().contains("S-canary"), "{error}");
    }
}

#[test]
fn a_secret_file_that_is_a_directory_or_missing_is_named() {
    for (name, said) in [(".", "is not a file"), ("nowhere.secret", "nowhere.secret: ")] {
        let text = format!("[apps.main]\nclient_id = \"a\"\nclient_secret_file = \"{name}\"\n");
        let dir = TempDir::new().unwrap();
        let file = write(&dir, "b24gate.toml", 0o600, &text);
        let error = Config::load(Some(&file)).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn an_inline_secret_in_a_file_that_others_can_read_is_a_warning() {
    let dir = TempDir::new().unwrap();
    let text = format!("{APP}{PORTAL}");
    let open = Config::load(Some(&write(&dir, "open.toml", 0o644, &text))).unwrap();
    let [warning] = open.warnings.as_slice() else { panic!("{:?}", open.warnings) };
    assert!(warning.contains("chmod 600") && warning.contains("open.toml"), "{warning}");
    let closed = Config::load(Some(&write(&dir, "closed.toml", 0o600, &text))).unwrap();
    assert!(closed.warnings.is_empty());
    let none = Config::load(Some(&write(&dir, "none.toml", 0o644, ""))).unwrap();
    assert!(none.warnings.is_empty());
}

fn admin_at(listen: &str, mode: u32, password: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    write(&dir, "admin.secret", mode, password);
    let text = format!("[admin]\nlisten = \"{listen}\"\npassword_file = \"admin.secret\"\n");
    let file = write(&dir, "b24gate.toml", 0o644, &text);
    (dir, file)
}

#[test]
fn with_a_password_the_operators_pages_may_be_reachable() {
    for listen in ["0.0.0.0:8025", "[2001:db8::1]:8025", "127.0.0.1:8025"] {
        let (_dir, file) = admin_at(listen, 0o600, "S-canary\n");
        let config = Config::load(Some(&file)).unwrap();
        assert_eq!(config.admin.listen.to_string(), listen);
        assert_eq!(config.admin.password.as_ref().unwrap().expose(), "S-canary");
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}

#[test]
fn a_password_that_others_can_read_or_guess_is_refused() {
    let (_dir, file) = admin_at("0.0.0.0:8025", 0o640, "S-canary\n");
    let error = Config::load(Some(&file)).unwrap_err();
    let [problem] = error.problems() else { panic!("{error}") };
    assert_eq!((problem.fault, problem.line), (Fault::UnsafeFile, Some(3)));
    assert_eq!(problem.key.as_deref(), Some("password_file"));
    for (password, said) in [
        ("S-canar", "admin.secret holds fewer than 8 characters; lengthen it"),
        ("S-canary S-canary", "holds a blank"),
        ("", "is empty"),
    ] {
        let (_dir, file) = admin_at("0.0.0.0:8025", 0o600, password);
        let error = Config::load(Some(&file)).unwrap_err();
        assert_eq!((error.problems().len(), error.exit_code()), (1, 2), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.to_string().contains(":3: [admin] password_file: "), "{error}");
        assert!(!error.to_string().contains("S-canar"), "{error}");
    }
}

#[test]
fn a_webhook_is_read_from_a_file_like_every_secret() {
    let dir = TempDir::new().unwrap();
    let text = "[portals.acme]\nwebhook_url_file = \"acme.secret\"\n";
    let file = write(&dir, "b24gate.toml", 0o644, text);
    write(&dir, "acme.secret", 0o600, "https://acme.bitrix24.com/rest/1/S-canary/\n");
    let config = Config::load(Some(&file)).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let Access::IncomingWebhook(webhook) = &config.portals["acme"].access else { panic!() };
    assert_eq!((webhook.user_id, webhook.secret.expose()), (1, "S-canary"));
    write(&dir, "acme.secret", 0o640, "https://acme.bitrix24.com/rest/1/S-canary/\n");
    assert_eq!(Config::load(Some(&file)).unwrap_err().exit_code(), 3);
    let inline = "[portals.acme]\nwebhook_url = \"https://acme.bitrix24.com/rest/1/S-canary/\"\n";
    let open = Config::load(Some(&write(&dir, "open.toml", 0o644, inline))).unwrap();
    let [warning] = open.warnings.as_slice() else { panic!("{:?}", open.warnings) };
    assert!(warning.contains("holds webhook_url") && warning.contains("or use webhook_url_file"));
}

#[test]
fn a_key_file_is_checked_where_it_exists() {
    let dir = TempDir::new().unwrap();
    let file = write(&dir, "b24gate.toml", 0o600, "store.key_file = \"seal.key\"\n");
    let key = write(&dir, "seal.key", 0o600, "k");
    let config = Config::load(Some(&file)).unwrap();
    assert!(matches!(config.store.key, KeySource::File(path) if path == key));
    write(&dir, "seal.key", 0o640, "k");
    assert_eq!(Config::load(Some(&file)).unwrap_err().exit_code(), 3);
}

#[test]
fn a_file_that_is_named_must_exist_and_a_well_known_one_may() {
    let dir = TempDir::new().unwrap();
    let here = write(&dir, "here.toml", 0o600, "");
    let missing = dir.path().join("missing.toml");
    let well_known = [missing.to_str().unwrap(), here.to_str().unwrap()];
    let find = |named: Option<&PathBuf>, environment: Option<&PathBuf>| {
        locate(named.cloned(), environment.map(|path| path.clone().into()), &well_known)
    };
    assert_eq!(find(None, None).unwrap(), Some(here.clone()));
    assert_eq!(find(Some(&here), Some(&missing)).unwrap(), Some(here.clone()));
    assert_eq!(find(None, Some(&PathBuf::new())).unwrap(), Some(here.clone()));
    assert_eq!(find(None, Some(&here)).unwrap().as_ref(), Some(&here));
    assert!(find(Some(&missing), None).unwrap_err().to_string().contains("--config"));
    assert!(find(None, Some(&missing)).unwrap_err().to_string().contains("$B24GATE_CONFIG"));
    assert_eq!(locate(None, None, &[missing.to_str().unwrap()]).unwrap(), None);
}

#[test]
fn a_file_that_is_no_text_is_named_with_its_line() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("b24gate.toml");
    fs::write(&path, b"[gateway]\n# \xff\n").unwrap();
    let error = Config::load(Some(&path)).unwrap_err().to_string();
    assert!(error.contains("UTF-8 in line 2"), "{error}");
    fs::write(&path, vec![b'#'; 2 << 20]).unwrap();
    assert!(Config::load(Some(&path)).unwrap_err().to_string().contains("larger than 1 MiB"));
    let error = Config::load(Some(Path::new("/"))).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

#[test]
fn a_byte_order_mark_is_no_error() {
    let dir = TempDir::new().unwrap();
    let file = write(&dir, "b24gate.toml", 0o600, "\u{feff}[gateway]\nhosts = []\n");
    Config::load(Some(&file)).unwrap();
}
