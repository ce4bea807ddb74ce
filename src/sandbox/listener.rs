//! Listens, and stops listening while a fault says that nobody is there.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use super::connection::{self, Visit};
use super::state::{Place, State};

/// Accepts connections until the task is aborted, and all of them end with it.
pub(super) async fn run(
    state: Arc<State>,
    listener: TcpListener,
    address: SocketAddr,
    place: Place,
) -> std::convert::Infallible {
    let mut listener = Some(listener);
    let mut tasks = JoinSet::new();
    let mut weather = state.weather.subscribe();
    loop {
        while state.should_close(place) {
            drop(listener.take());
            report(&state, place, true);
            tokio::time::sleep(RETRY).await;
        }
        let Some(open) = &listener else {
            match listen(address) {
                Ok(bound) => listener = Some(bound),
                Err(error) => {
                    tracing::warn!(%error, %address, "sandbox_cannot_listen");
                    tokio::time::sleep(RETRY).await;
                }
            }
            continue;
        };
        report(&state, place, false);
        tokio::select! {
            accepted = open.accept() => match accepted {
                Ok((stream, peer)) => {
                    let number = open_connection(&state);
                    let visit = Visit { place, peer: peer.ip(), number };
                    let state = Arc::clone(&state);
                    tasks.spawn(async move {
                        connection::serve(Arc::clone(&state), stream, visit).await;
                        state.lock().counters.connections_open -= 1;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "sandbox_cannot_accept");
                    tokio::time::sleep(RETRY).await;
                }
            },
            _changed = weather.changed() => {}
            _ended = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

/// Binds and listens, with room for a herd: who finds none tries again a second later.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn open_connection(state: &State) -> u64 {
    let counters = &mut state.lock().counters;
    counters.connections += 1;
    counters.connections_open += 1;
    counters.connections
}

fn report(state: &State, place: Place, is_closed: bool) {
    state.closed.send_if_modified(|closed| {
        let before = *closed;
        match place {
            Place::Portal => closed.portal = is_closed,
            Place::Oauth => closed.oauth = is_closed,
            Place::Renamed => {}
        }
        before != *closed
    });
}

/// Connections that wait to be accepted; the system may allow fewer.
const BACKLOG: u32 = 4096;
/// How soon a closed listener looks whether its outage is over.
const RETRY: Duration = Duration::from_millis(10);
