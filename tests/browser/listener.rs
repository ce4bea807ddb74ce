//! An app that is not the gateway: it answers everything with one page and tells what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The app; it ends with the test's runtime.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Listener {
    /// Answers every request with this page.
    pub(crate) async fn start(page: &str) -> Self {
        let page: Arc<str> = page.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = Self { address: listener.local_addr().unwrap(), asked: Arc::default() };
        let served = app.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (app, page) = (served.clone(), page.clone());
                tokio::spawn(async move { Box::pin(app.answer(stream, &page)).await });
            }
        });
        app
    }

    /// First lines and bodies of the requests for this path, in order.
    pub(crate) fn asked(&self, path: &str) -> Vec<(String, String)> {
        let asked = self.asked.lock().unwrap();
        let of_path = |line: &str| {
            let target = line.split(' ').nth(1).unwrap_or_default();
            target.split('?').next() == Some(path)
        };
        asked.iter().filter(|(line, _)| of_path(line)).cloned().collect()
    }

    /// A browser opens connections that it may never use, so an end without a request is none.
    async fn answer(self, mut stream: TcpStream, page: &str) {
        let mut seen = Vec::new();
        let (head, body) = loop {
            let mut part = [0; 4096];
            match stream.read(&mut part).await {
                Ok(count @ 1..) => seen.extend_from_slice(&part[..count]),
                _ => return,
            }
            if let Some(whole) = whole(&seen) {
                break whole;
            }
        };
        let line = head.lines().next().unwrap_or_default().to_owned();
        self.asked.lock().unwrap().push((line, body));
        let length = page.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{page}"
        );
        drop(stream.write_all(answer.as_bytes()).await);
    }
}

/// Head and body, once both are complete.
fn whole(seen: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(seen).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
    });
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    (body.len() >= length).then(|| (head.to_owned(), body.to_owned()))
}
