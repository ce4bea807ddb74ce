//! A client that sends exactly the bytes it is given and shows exactly the bytes it gets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// An answer, its body decoded from chunks.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The body ended as its framing said; false for a broken transfer.
    pub whole: bool,
}

/// A connection on which requests follow one another.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    seen: Vec<u8>,
    reset: bool,
}

impl Answer {
    /// The value of a header field, if it is there.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// The `error` code, or an empty text.
    pub fn error(&self) -> String {
        serde_json::from_slice::<serde_json::Value>(&self.body)
            .ok()
            .and_then(|json| json["error"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    /// `gateway.executed` of the gateway's own errors.
    pub fn executed(&self) -> String {
        self.json()["gateway"]["executed"].as_str().unwrap_or_default().to_owned()
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    /// As [`Client::connect`], where nobody may listen.
    pub async fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, seen: Vec::new(), reset: false })
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// As [`Client::send`], for a peer that may hang up in the middle.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads one answer; `None` when the connection ends before one.
    pub async fn answer(&mut self) -> Option<Answer> {
        self.answer_to(false).await
    }

    /// As [`Client::answer`], to a HEAD request.
    pub async fn answer_to(&mut self, head_only: bool) -> Option<Answer> {
        timeout(PATIENCE, self.read_answer(head_only)).await.expect("an answer in time")
    }

    /// Reads the interim answer that must come before anything else is sent.
    pub async fn interim(&mut self) {
        let line = self.first_line().await;
        assert!(line.starts_with("HTTP/1.1 100 "), "{line}");
        while !self.seen.windows(4).any(|four| four == b"\r\n\r\n") {
            assert!(self.more().await, "the interim answer is cut off");
        }
        let end = self.seen.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        self.seen.drain(..end);
    }

    /// The first line of what comes next, which stays to be read.
    pub async fn first_line(&mut self) -> String {
        while !self.seen.contains(&b'\n') && self.more().await {}
        String::from_utf8_lossy(self.seen.split(|byte| *byte == b'\n').next().unwrap()).into_owned()
    }

    /// True when the other side has ended the connection and nothing more comes.
    pub async fn is_closed(&mut self) -> bool {
        !self.more().await && self.seen.is_empty()
    }

    /// True when the other side has ended the connection with a reset: a broken transfer where the
    /// end of the connection is the end of the body.
    pub fn was_reset(&self) -> bool {
        self.reset
    }

    /// Reads `count` bytes or more of whatever comes, and no further.
    pub async fn taste(&mut self, count: usize) {
        while self.seen.len() < count && self.more().await {}
    }

    async fn read_answer(&mut self, head_only: bool) -> Option<Answer> {
        loop {
            let end = loop {
                if let Some(at) = self.seen.windows(4).position(|four| four == b"\r\n\r\n") {
                    break at + 4;
                }
                if !self.more().await {
                    return None;
                }
            };
            let head = String::from_utf8_lossy(&self.seen[..end]).into_owned();
            self.seen.drain(..end);
            let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
            if (100..200).contains(&status) {
                continue;
            }
            let mut answer = Answer { status, head, body: Vec::new(), whole: true };
            if !head_only && !matches!(status, 204 | 304) {
                self.read_body(&mut answer).await;
            }
            return Some(answer);
        }
    }

    async fn read_body(&mut self, answer: &mut Answer) {
        if answer.field("transfer-encoding").is_some() {
            answer.whole = self.read_chunks(&mut answer.body).await;
            if !answer.whole {
                self.seen.clear();
            }
        } else if let Some(length) = answer.field("content-length") {
            let length: usize = length.parse().unwrap();
            while self.seen.len() < length && self.more().await {}
            answer.whole = self.seen.len() >= length;
            let taken = self.seen.len().min(length);
            answer.body = self.seen.drain(..taken).collect();
        } else {
            while self.more().await {}
            answer.body = std::mem::take(&mut self.seen);
        }
    }

    async fn read_chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let end = loop {
                if let Some(at) = self.seen.windows(2).position(|two| two == b"\r\n") {
                    break at;
                }
                if !self.more().await {
                    return false;
                }
            };
            let size = std::str::from_utf8(&self.seen[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            while self.seen.len() < end + 2 + size + 2 {
                if !self.more().await {
                    return false;
                }
            }
            body.extend_from_slice(&self.seen[end + 2..end + 2 + size]);
            self.seen.drain(..end + 2 + size + 2);
            if size == 0 {
                return true;
            }
        }
    }

    async fn more(&mut self) -> bool {
        let mut part = vec![0; 64 * 1024];
        match timeout(PATIENCE, self.stream.read(&mut part)).await.expect("bytes in time") {
            Ok(count @ 1..) => {
                self.seen.extend_from_slice(&part[..count]);
                true
            }
            Ok(0) => false,
            Err(_) => {
                self.reset = true;
                false
            }
        }
    }
}

/// One GET on a connection of its own.
pub async fn get(address: SocketAddr, target: &str) -> Answer {
    send(address, format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
}

/// One POST on a connection of its own.
pub async fn post(address: SocketAddr, target: &str, content_type: &str, body: &[u8]) -> Answer {
    let mut request = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    send(address, request).await
}

/// Any bytes on a connection of their own, and the first answer to them.
pub async fn send(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Answer {
    let mut client = Client::connect(address).await;
    client.try_send(bytes).await;
    client.answer().await.expect("an answer before the connection ends")
}
