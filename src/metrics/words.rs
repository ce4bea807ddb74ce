//! The closed lists that labels of the request path come from.

/// Why a call was sent to the portal once more, or another's answer given to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Its token had expired, and was renewed.
    ExpiredToken,
    /// The portal does not read the header, perhaps.
    Parameter,
    /// A client's own credential stood in the gateway's way, and was taken out.
    ClientCredential,
    /// The portal's request limit was used up.
    QueryLimit,
    /// The method's operating time was used up.
    OperationTime,
    /// The portal could not ask its OAuth server.
    ConnectionError,
    /// The portal has moved.
    Moved,
    /// It was not: it repeats another by its id, and got that one's answer.
    RequestId,
}

/// What turned a request away before it was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// `Host` is no name of the gateway.
    Host,
    /// `Origin` or `Referer` names a web page.
    Origin,
    /// `Sec-Fetch-*` says that a browser sends it.
    SecFetch,
    /// It came through a proxy.
    Forwarded,
    /// The verb is not one of Bitrix24 REST.
    Verb,
    /// It is not one unambiguous HTTP request, or does not arrive.
    Malformed,
    /// Target or head are too long.
    HeadTooLarge,
    /// The body is larger than `max_body`.
    BodyTooLarge,
    /// The path is not a method.
    NotAMethod,
    /// The key is none of a client's.
    Key,
    /// The client may not call this.
    Method,
    /// The calling user is not in `allow_uids`.
    Peer,
    /// No such portal.
    PortalUnknown,
    /// The portal has no usable credential, or is not served.
    NotConnected,
}

impl Replay {
    /// The word in `X-B24-Replayed` and in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExpiredToken => "expired_token",
            Self::Parameter => "parameter",
            Self::ClientCredential => "client_credential",
            Self::QueryLimit => "query_limit",
            Self::OperationTime => "operation_time",
            Self::ConnectionError => "connection_error",
            Self::Moved => "moved",
            Self::RequestId => "request_id",
        }
    }

    /// Every reason, in the order of their numbers.
    pub(super) const ALL: [Self; 8] = [
        Self::ExpiredToken,
        Self::Parameter,
        Self::ClientCredential,
        Self::QueryLimit,
        Self::OperationTime,
        Self::ConnectionError,
        Self::Moved,
        Self::RequestId,
    ];
}

impl Guard {
    /// The word in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
            Self::SecFetch => "sec_fetch",
            Self::Forwarded => "forwarded",
            Self::Verb => "verb",
            Self::Malformed => "malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::NotAMethod => "not_a_method",
            Self::Key => "key",
            Self::Method => "method",
            Self::Peer => "peer",
            Self::PortalUnknown => "portal_unknown",
            Self::NotConnected => "not_connected",
        }
    }

    /// Every guard, in the order of their numbers.
    pub(super) const ALL: [Self; 14] = [
        Self::Host,
        Self::Origin,
        Self::SecFetch,
        Self::Forwarded,
        Self::Verb,
        Self::Malformed,
        Self::HeadTooLarge,
        Self::BodyTooLarge,
        Self::NotAMethod,
        Self::Key,
        Self::Method,
        Self::Peer,
        Self::PortalUnknown,
        Self::NotConnected,
    ];
}

/// The statuses that are shown by their number, and [`OTHER`].
pub(super) const STATUSES: [u16; 27] = [
    200, 201, 202, 204, 206, 304, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 414, 416, 422,
    423, 429, 431, 500, 501, 502, 503, 504,
];
/// Where all other statuses are counted, behind the [`STATUSES`].
pub(super) const OTHER: usize = STATUSES.len();
/// The client was gone before there was an answer.
pub(super) const NONE: usize = OTHER + 1;
/// All counters of answers.
pub(super) const KINDS: usize = NONE + 1;

/// The counter of a status.
pub(super) fn place_of(status: u16) -> usize {
    PLACES.get(usize::from(status)).map_or(OTHER, |place| usize::from(*place))
}

/// The label of a counter.
pub(super) fn status_word(place: usize) -> String {
    match STATUSES.get(place) {
        Some(status) => status.to_string(),
        None if place == NONE => "none".to_owned(),
        None => "other".to_owned(),
    }
}

/// Made once, so that a status finds its counter by one look.
static PLACES: [u8; 600] = places();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "computed while compiling, where a mistake does not build"
)]
const fn places() -> [u8; 600] {
    let mut places = [OTHER as u8; 600];
    let mut place = 0;
    while place < STATUSES.len() {
        places[STATUSES[place] as usize] = place as u8;
        place += 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_place_and_the_unusual_ones_share_one() {
        for status in 0..=1_000 {
            let word = status_word(place_of(status));
            let own = STATUSES.contains(&status);
            assert_eq!(word, if own { status.to_string() } else { "other".to_owned() });
        }
        assert_eq!(status_word(NONE), "none");
    }

    #[test]
    fn numbers_and_lists_agree() {
        for (number, reason) in Replay::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
        for (number, guard) in Guard::ALL.into_iter().enumerate() {
            assert_eq!(guard as usize, number);
        }
    }
}
