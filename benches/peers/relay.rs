//! A blind TCP relay, the floor that `scripts/bench-peers` measures proxies against: whatever
//! forwards over sockets pays at least this.
//!
//!     relay PORT UPSTREAM_PORT
//!
//! One thread, one upstream connection per client connection, nothing is looked at.

use std::cell::RefCell;
use std::env;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// One direction of a connection.
struct Pipe {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    /// What `to` would not take yet.
    rest: Vec<u8>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let ports: Vec<u16> = env::args().skip(1).filter_map(|port| port.parse().ok()).collect();
    let &[port, upstream_port] = ports.as_slice() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "usage: relay PORT UPSTREAM_PORT"));
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        // A side that goes away is the ordinary end of a connection.
        tokio::spawn(async move { relay(client, upstream_port).await.ok() });
    }
}

async fn relay(client: TcpStream, upstream_port: u16) -> io::Result<()> {
    let upstream = TcpStream::connect(("127.0.0.1", upstream_port)).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (upstream_read, upstream_write) = upstream.into_split();
    let mut there = Pipe { from: client_read, to: upstream_write, rest: Vec::new() };
    let mut back = Pipe { from: upstream_read, to: client_write, rest: Vec::new() };
    // Both directions in one task, and the first to end takes the other with it.
    std::future::poll_fn(|context| match there.poll_pump(context) {
        Poll::Ready(end) => Poll::Ready(end),
        Poll::Pending => back.poll_pump(context),
    })
    .await
}

impl Pipe {
    /// Moves what there is; ready at the end of the stream.
    fn poll_pump(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        SPACE.with_borrow_mut(|space| self.poll_pump_through(space, context))
    }

    fn poll_pump_through(
        &mut self,
        space: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.rest.is_empty() {
                let written = ready!(Pin::new(&mut self.to).poll_write(context, &self.rest))?;
                self.rest.drain(..written);
            }
            let mut piece = ReadBuf::new(space);
            ready!(Pin::new(&mut self.from).poll_read(context, &mut piece))?;
            let bytes = piece.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.to).poll_write(context, bytes) {
                Poll::Ready(written) => {
                    self.rest.extend_from_slice(bytes.get(written?..).unwrap_or_default());
                }
                Poll::Pending => self.rest.extend_from_slice(bytes),
            }
        }
    }
}

thread_local! {
    /// One for all connections: nothing stays in it from one poll to the next.
    static SPACE: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
}

const PIECE: usize = 128 * 1024;
