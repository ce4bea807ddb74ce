//! Those who are alerted: a webhook and a program, as an operator would have them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::calls::until;

/// The part of the webhook's URL that nobody may see.
pub(super) const PATH: &str = "/hooks/W-canary-path?key=W-canary-query";

/// A webhook.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    pub(super) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    heads: Vec<String>,
    alerts: Vec<Value>,
    replies: VecDeque<Reply>,
    hung_up: usize,
}

/// What the webhook does with a request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// This status, with these fields.
    Status(u16, String),
    /// Nothing, until the other side hangs up.
    Hang,
}

impl Hook {
    /// Answers like this, and 204 from then on.
    pub(super) async fn start(replies: &[Reply]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Inner { replies: replies.to_vec().into(), ..Inner::default() };
        let hook = Self { address, inner: Arc::new(Mutex::new(inner)) };
        let server = hook.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream));
            }
        });
        hook
    }

    async fn serve(self, mut stream: TcpStream) {
        let (mut seen, mut part) = (Vec::new(), [0; 4096]);
        let (head, alert) = loop {
            let count = stream.read(&mut part).await.unwrap();
            assert!(count > 0, "cut off: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&part[..count]);
            let text = String::from_utf8(seen.clone()).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.to_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            if body.len() >= length.parse().unwrap() {
                break (head.to_owned(), serde_json::from_str(body).unwrap());
            }
        };
        let reply = {
            let mut inner = self.inner.lock().unwrap();
            inner.heads.push(head);
            inner.alerts.push(alert);
            inner.replies.pop_front().unwrap_or(Reply::Status(204, String::new()))
        };
        match reply {
            Reply::Status(status, fields) => {
                let answer = format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            Reply::Hang => {
                while stream.read(&mut part).await.is_ok_and(|count| count > 0) {}
                self.inner.lock().unwrap().hung_up += 1;
            }
        }
    }

    /// What it has been told so far.
    pub(super) fn alerts(&self) -> Vec<Value> {
        self.inner.lock().unwrap().alerts.clone()
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.inner.lock().unwrap().heads.clone()
    }

    /// Requests that were given up while it said nothing.
    pub(super) fn hung_up(&self) -> usize {
        self.inner.lock().unwrap().hung_up
    }

    /// The line of `[alerts]` for it.
    pub(super) fn line(&self) -> String {
        format!("webhook = \"http://{}{PATH}\"", self.address)
    }

    pub(super) async fn told(&self, count: usize) -> Vec<Value> {
        until("the webhook is told", || self.alerts().len() >= count).await;
        self.alerts()
    }
}

/// A program that writes down what it is told.
#[derive(Debug)]
pub(super) struct Pager {
    directory: tempfile::TempDir,
}

impl Pager {
    /// Does `then` when it has written it down.
    pub(super) fn new(then: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().display();
        let script = format!(
            "#!/bin/sh\nenv > {place}/env\necho \"$@\" > {place}/arguments\necho $$ > {place}/pid\n\
             alert=$(cat)\necho \"$alert\" >> {place}/alerts\n{then}\n"
        );
        let pager = Self { directory };
        std::fs::write(pager.path("page-me"), script).unwrap();
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(pager.path("page-me"), mode).unwrap();
        pager
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The line of `[alerts]` for it.
    pub(super) fn line(&self) -> String {
        format!("command = [\"{}\", \"on\", \"call\"]", self.path("page-me").display())
    }

    pub(super) fn alerts(&self) -> Vec<Value> {
        let text = self.read("alerts");
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(super) async fn told(&self, count: usize) -> Vec<Value> {
        until("the program is told", || self.alerts().len() >= count).await;
        self.alerts()
    }

    /// Whether the program that was started last is still there.
    pub(super) fn runs(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.read("pid").trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }
}
