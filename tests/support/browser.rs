//! A real browser: Chromium, driven over `WebDriver` (<https://www.w3.org/TR/webdriver2/>) by a
//! chromedriver of its own. Everything waits for the browser, so tests need a runtime with threads
//! besides the one that they run on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{PATIENCE, repository};

/// A browser with one window and a profile of its own; dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    profile: tempfile::TempDir,
}

/// An element of the page that was shown when it was found.
#[derive(Debug)]
pub struct Element<'a> {
    browser: &'a Browser,
    id: String,
}

/// How a browser is started.
#[derive(Debug, Default)]
pub struct Manner {
    rules: Vec<String>,
    arguments: Vec<String>,
    without_scripts: bool,
}

impl Manner {
    /// Has the browser look for a host elsewhere.
    pub fn map(mut self, host: &str, to: SocketAddr) -> Self {
        self.rules.push(format!("MAP {host} {to}"));
        self
    }

    /// Has the browser find a host where it says it is.
    pub fn reach(mut self, host: &str) -> Self {
        self.rules.push(format!("EXCLUDE {host}"));
        self
    }

    /// Has the browser trust every certificate.
    pub fn trusting(mut self) -> Self {
        self.arguments.push("--ignore-certificate-errors".to_owned());
        self
    }

    /// Has the browser take this address for one of the internet.
    pub fn far_away(mut self, address: SocketAddr) -> Self {
        self.arguments.push(format!("--ip-address-space-overrides={address}=public"));
        self
    }

    /// No page's scripts run.
    pub fn without_scripts(mut self) -> Self {
        self.without_scripts = true;
        self
    }

    /// Starts it. Whatever is not mapped and not on this machine is not found.
    pub fn start(mut self) -> Browser {
        self.rules.extend(
            ["MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", "EXCLUDE localhost"].map(str::to_owned),
        );
        let profile = tempfile::tempdir().unwrap();
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--no-first-run".to_owned(),
            "--window-size=1100,900".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
            format!("--host-resolver-rules={}", self.rules.join(", ")),
        ];
        arguments.extend(self.arguments);
        if is_root() {
            arguments.push("--no-sandbox".to_owned());
        }
        let mut preferences = json!({});
        if self.without_scripts {
            preferences["profile.managed_default_content_settings.javascript"] = json!(2);
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments, "prefs": preferences},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let (driver, address) = start_driver();
        let mut browser = Browser { driver, address, session: String::new(), profile };
        let session = browser.ask("POST", "/session", &wanted);
        session["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        browser
    }
}

impl Browser {
    pub fn start() -> Self {
        Manner::default().start()
    }

    /// Opens a page and waits until it is loaded.
    pub fn goto(&self, url: &str) {
        self.command("POST", "/url", &json!({"url": url}));
    }

    /// Where the window is.
    pub fn url(&self) -> String {
        self.command("GET", "/url", &Json::Null).as_str().unwrap().to_owned()
    }

    pub fn title(&self) -> String {
        self.command("GET", "/title", &Json::Null).as_str().unwrap().to_owned()
    }

    /// The first element of this CSS selector, waited for.
    pub fn find(&self, css: &str) -> Element<'_> {
        self.wait_until(&format!("there is {css}"), || self.all(css).into_iter().next())
    }

    /// Clicks the first element of this CSS selector, waited for. A page that renews itself may take
    /// it away in between; then the next one is clicked.
    pub fn click(&self, css: &str) {
        self.wait_until(&format!("{css} is clicked"), || {
            let element = self.all(css).into_iter().next()?;
            let path = format!("/element/{}/click", element.id);
            self.try_command("POST", &path, &json!({})).ok()
        });
    }

    /// What a reader sees of the first element of this CSS selector, waited for.
    pub fn read(&self, css: &str) -> String {
        self.wait_until(&format!("{css} is read"), || self.all(css).first()?.text())
    }

    /// All elements of this CSS selector that are there now.
    pub fn all(&self, css: &str) -> Vec<Element<'_>> {
        let wanted = json!({"using": "css selector", "value": css});
        let found = self.command("POST", "/elements", &wanted);
        let id = |element: &Json| element.as_object().unwrap().values().next().cloned().unwrap();
        let ids = found.as_array().unwrap().iter().map(id);
        ids.map(|id| Element { browser: self, id: id.as_str().unwrap().to_owned() }).collect()
    }

    /// The text of the first element of this CSS selector; empty while there is none, or while the
    /// page is being replaced.
    pub fn text_of(&self, css: &str) -> String {
        let script =
            "const it = document.querySelector(arguments[0]); return it ? it.innerText : ''";
        let body = json!({"script": script, "args": [css]});
        let answer = self.try_command("POST", "/execute/sync", &body);
        answer.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Waits until `look` sees something, and gives that.
    pub fn wait_until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let step = Duration::from_millis(20);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            if let Some(seen) = look() {
                return seen;
            }
            std::thread::sleep(step);
        }
        self.screenshot("failed");
        panic!("not so: {what}; {} shows\n{}", self.url(), self.text_of("body"));
    }

    /// Waits for a window that was opened besides the first one, and goes there.
    pub fn follow(&self) {
        let opened = || {
            let handles = self.command("GET", "/window/handles", &Json::Null);
            let handles = handles.as_array().unwrap();
            handles.get(1).cloned()
        };
        let handle = self.wait_until("there is a second window", opened);
        self.command("POST", "/window", &json!({"handle": handle}));
    }

    /// Closes this window and goes to the first one.
    pub fn close(&self) {
        let left = self.command("DELETE", "/window", &Json::Null);
        self.command("POST", "/window", &json!({"handle": left[0]}));
    }

    /// Lets the page that is shown do what the browser would ask its user about.
    pub fn permit(&self, what: &str) {
        let wanted = json!({"descriptor": {"name": what}, "state": "granted"});
        self.command("POST", "/permissions", &wanted);
    }

    /// The cookies that the shown page gets.
    pub fn cookies(&self) -> Vec<Json> {
        self.command("GET", "/cookie", &Json::Null).as_array().unwrap().clone()
    }

    /// Runs the body of a function in the page.
    pub fn script(&self, body: &str, arguments: &[Json]) -> Json {
        self.command("POST", "/execute/sync", &json!({"script": body, "args": arguments}))
    }

    /// From now on, elements are those of this frame.
    pub fn enter(&self, frame: &Element<'_>) {
        self.command("POST", "/frame", &json!({"id": frame.reference()}));
    }

    /// From now on, elements are those of the window.
    pub fn leave(&self) {
        self.command("POST", "/frame", &json!({"id": null}));
    }

    /// What the console has shown since it was asked for the last time.
    pub fn console(&self) -> Vec<String> {
        let entries = self.command("POST", "/se/log", &json!({"type": "browser"}));
        let text = |entry: &Json| entry["message"].as_str().unwrap().to_owned();
        entries.as_array().unwrap().iter().map(text).collect()
    }

    /// Keeps what the window shows as `target/screenshots/NAME.png`.
    pub fn screenshot(&self, name: &str) -> PathBuf {
        let coded = self.command("GET", "/screenshot", &Json::Null);
        let folder = repository().join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, from_base64(coded.as_str().unwrap())).unwrap();
        path
    }

    fn command(&self, verb: &str, path: &str, body: &Json) -> Json {
        let answer = self.try_command(verb, path, body);
        answer.unwrap_or_else(|error| panic!("{verb} {path} {body}: {error}"))
    }

    fn try_command(&self, verb: &str, path: &str, body: &Json) -> Result<Json, Json> {
        exchange(self.address, verb, &format!("/session/{}{path}", self.session), body)
    }

    fn ask(&self, verb: &str, path: &str, body: &Json) -> Json {
        exchange(self.address, verb, path, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl Element<'_> {
    /// What a reader sees of it; nothing when the page was replaced.
    pub fn text(&self) -> Option<String> {
        let path = format!("/element/{}/text", self.id);
        let text = self.browser.try_command("GET", &path, &Json::Null).ok()?;
        text.as_str().map(str::to_owned)
    }

    pub fn attribute(&self, name: &str) -> Option<String> {
        let value = self.command("GET", &format!("/attribute/{name}"), &Json::Null);
        value.as_str().map(str::to_owned)
    }

    /// Types into it.
    pub fn write(&self, text: &str) {
        self.command("POST", "/value", &json!({"text": text}));
    }

    fn command(&self, verb: &str, path: &str, body: &Json) -> Json {
        self.browser.command(verb, &format!("/element/{}{path}", self.id), body)
    }

    /// The element as arguments of commands name it.
    fn reference(&self) -> Json {
        json!({"element-6066-11e4-a52e-4f735466cecf": self.id})
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A browser outlives its chromedriver; the profile is what tells it from any other.
        let profile = self.profile.path().to_str().unwrap().to_owned();
        drop(self.driver.kill());
        drop(self.driver.wait());
        for pid in processes_with(&profile) {
            drop(Command::new("kill").args(["-s", "KILL", &pid]).status());
        }
    }
}

/// The processes whose command line holds `text`.
fn processes_with(text: &str) -> Vec<String> {
    let holds = |pid: &String| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        memchr::memmem::find(&line, text.as_bytes()).is_some()
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter(holds).collect()
}

/// Starts chromedriver on a free port.
fn start_driver() -> (Child, SocketAddr) {
    let missing = |error: std::io::Error| -> ! {
        panic!(
            "chromedriver does not start ({error}); scripts/test installs it, or by hand: \
             apt-get install chromium chromium-driver"
        )
    };
    let mut command = Command::new("chromedriver");
    command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut driver = command.spawn().unwrap_or_else(|error| missing(error));
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port = lines.find_map(|line| {
        let after = line.split("started successfully on port ").nth(1)?;
        after.trim_end_matches('.').parse::<u16>().ok()
    });
    // It must not be stopped by a full pipe.
    std::thread::spawn(move || lines.count());
    (driver, SocketAddr::from(([127, 0, 0, 1], port.expect("a port of chromedriver"))))
}

/// One command, and the `value` of its answer.
fn exchange(address: SocketAddr, verb: &str, path: &str, body: &Json) -> Result<Json, Json> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
    let length = body.len();
    let head = format!(
        "{verb} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
    let mut answer = BufReader::new(stream);
    let (mut good, mut length) = (false, 0);
    loop {
        let mut line = String::new();
        let count = answer.read_line(&mut line).expect("an answer of chromedriver in time");
        assert!(count > 0, "chromedriver has gone");
        let line = line.trim_end().to_ascii_lowercase();
        good |= line.starts_with("http/1.1 200");
        if let Some(announced) = line.strip_prefix("content-length:") {
            length = announced.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    // It keeps the connection open, whatever it was asked.
    let mut body = vec![0; length];
    answer.read_exact(&mut body).unwrap();
    let mut json: Json = serde_json::from_slice(&body).unwrap();
    let value = json["value"].take();
    if good { Ok(value) } else { Err(value) }
}

/// Chromium's own sandbox does not work for root.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().filter_map(value).collect();
    digits
        .chunks(4)
        .flat_map(|group| {
            let word = group.iter().fold(0_u32, |word, digit| word << 6 | u32::from(*digit));
            let word = word << (6 * (4 - group.len()));
            let bytes = word.to_be_bytes();
            bytes[1..group.len()].to_vec()
        })
        .collect()
}
