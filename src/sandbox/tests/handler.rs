//! An app that listens: it answers everything with the same page and keeps what it was told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::sandbox::params;
use crate::sandbox::value::Value;

/// The app; it ends with the test's runtime.
pub(super) struct Handler {
    address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Its head, with the target in the first line.
    pub(super) head: String,
    /// Its body.
    pub(super) body: String,
}

impl Handler {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, told) = (listener.local_addr().unwrap(), Arc::default());
        let kept: Arc<Mutex<Vec<Told>>> = Arc::clone(&told);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut seen = Vec::new();
                let told = loop {
                    let mut part = [0; 4096];
                    let count = stream.read(&mut part).await.unwrap();
                    seen.extend_from_slice(&part[..count]);
                    if let Some(told) = whole(&seen).or_else(|| (count == 0).then(Told::nothing)) {
                        break told;
                    }
                };
                kept.lock().unwrap().push(told);
                let answer = "HTTP/1.1 201 Created\r\nX-App: yes\r\nContent-Length: 5\r\n\r\nthere";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, told }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The only thing that it was told.
    pub(super) fn told(&self) -> Told {
        let mut told = self.told.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    }
}

impl Told {
    fn nothing() -> Self {
        Self { head: String::new(), body: String::new() }
    }

    /// The body as PHP reads it.
    pub(super) fn form(&self) -> Value {
        params::parse_str(self.body.as_bytes())
    }

    /// The query as PHP reads it.
    pub(super) fn query(&self) -> Value {
        let target = self.head.split(' ').nth(1).unwrap();
        params::parse_str(target.split_once('?').unwrap().1.as_bytes())
    }
}

/// The request, once its body is complete.
fn whole(seen: &[u8]) -> Option<Told> {
    let text = std::str::from_utf8(seen).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
    });
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    (body.len() == length).then(|| Told { head: head.to_owned(), body: body.to_owned() })
}

/// A field of a form, by its path.
pub(super) fn field(form: &Value, path: &[&str]) -> Option<String> {
    let found = path.iter().try_fold(form, |value, key| value.get(key));
    found.and_then(Value::text)
}
