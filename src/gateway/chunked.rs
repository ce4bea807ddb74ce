//! The chunked transfer coding (RFC 9112, section 7.1), read strictly and incrementally.

/// Where a chunked body has been read to.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes of framing since the last payload byte; bounds extensions and trailers.
    framing: usize,
}

/// What the next bytes of the stream are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Framing to skip.
    pub(crate) skip: usize,
    /// Payload behind it, in the bytes at hand.
    pub(crate) data: usize,
}

/// The bytes are not chunked coding; the connection cannot be trusted any further.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

#[derive(Debug, PartialEq, Eq)]
enum State {
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        value: u64,
    },
    SizeEnd {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataEnd,
    DataEndLine,
    /// At the start of a line of the trailer section, or the blank line that ends the body.
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastEnd,
    Done,
}

impl Chunked {
    /// At the first byte of a chunked body.
    pub(crate) fn new() -> Self {
        Self { state: State::Size { value: 0, digits: 0 }, framing: 0 }
    }

    /// Whether the last chunk and its trailer section have been read.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Looks at `input`; the caller skips and takes what the piece says and calls again. A piece
    /// with neither means: more bytes are needed, or the body is done.
    pub(crate) fn next(&mut self, input: &[u8]) -> Result<Piece, Broken> {
        let mut skip = 0;
        for &byte in input {
            if let State::Data { left } = &mut self.state {
                let data = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len() - skip);
                *left -= data as u64;
                if *left == 0 {
                    self.state = State::DataEnd;
                }
                self.framing = 0;
                return Ok(Piece { skip, data });
            }
            if self.is_done() {
                break;
            }
            self.step(byte)?;
            skip += 1;
            self.framing += 1;
            if self.framing > FRAMING_MAX {
                return Err(Broken);
            }
        }
        Ok(Piece { skip, data: 0 })
    }

    fn step(&mut self, byte: u8) -> Result<(), Broken> {
        self.state = match (&self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() && *digits < 15 => {
                State::Size { value: value << 4 | hex(byte), digits: digits + 1 }
            }
            (State::Size { value, digits: 1.. }, b';' | b' ' | b'\t') => {
                State::Extension { value: *value }
            }
            (State::Size { value, digits: 1.. } | State::Extension { value }, b'\r') => {
                State::SizeEnd { value: *value }
            }
            (State::Extension { value }, _) if !is_control(byte) => {
                State::Extension { value: *value }
            }
            (State::SizeEnd { value: 0 } | State::TrailerEnd, b'\n') => State::TrailerStart,
            (State::SizeEnd { value }, b'\n') => State::Data { left: *value },
            (State::DataEnd, b'\r') => State::DataEndLine,
            (State::DataEndLine, b'\n') => State::Size { value: 0, digits: 0 },
            (State::TrailerStart, b'\r') => State::LastEnd,
            (State::LastEnd, b'\n') => State::Done,
            (State::Trailer, b'\r') => State::TrailerEnd,
            (State::TrailerStart | State::Trailer, _) if !is_control(byte) => State::Trailer,
            _ => return Err(Broken),
        };
        Ok(())
    }
}

fn hex(digit: u8) -> u64 {
    u64::from(match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    })
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// Extensions and trailers are dropped, so there is no reason to read many of them.
const FRAMING_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, bool, usize), Broken> {
        let mut chunked = Chunked::new();
        let (mut body, mut at) = (Vec::new(), 0);
        let mut seen = 0;
        while seen < input.len() && !chunked.is_done() {
            seen = (seen + step).min(input.len());
            loop {
                let piece = chunked.next(&input[at..seen])?;
                body.extend_from_slice(&input[at + piece.skip..at + piece.skip + piece.data]);
                at += piece.skip + piece.data;
                if piece.data == 0 {
                    break;
                }
            }
        }
        Ok((body, chunked.is_done(), at))
    }

    #[test]
    fn a_body_reads_the_same_in_any_slicing() {
        let wire =
            b"4\r\nWiki\r\n6;ext=1\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nT: x\r\n\r\nNEXT";
        for step in 1..=wire.len() {
            let (body, done, end) = decode(wire, step).unwrap();
            assert_eq!(body, b"Wikipedia in \r\n\r\nchunks.");
            assert!(done);
            assert_eq!(&wire[end..], b"NEXT", "nothing of the next request is eaten");
        }
    }

    #[test]
    fn an_unfinished_body_is_not_done() {
        assert!(!decode(b"4\r\nWiki\r\n", 3).unwrap().1);
        assert!(!decode(b"0\r\n", 1).unwrap().1);
    }

    #[test]
    fn framing_that_two_parsers_could_read_differently_is_refused() {
        for wire in [
            &b"\r\n"[..],
            b"4\nWiki\r\n",
            b"4\r\nWikipedia",
            b"0x4\r\nWiki\r\n",
            b"-1\r\n",
            b"4 4\r\rWiki",
            b"fffffffffffffffff\r\n",
            b"4\r\nWiki\n0\r\n\r\n",
            b"0\r\nT: \x00\r\n\r\n",
            b"0\r\n\n",
        ] {
            assert_eq!(decode(wire, 1).err(), Some(Broken), "{:?}", String::from_utf8_lossy(wire));
        }
    }

    #[test]
    fn endless_extensions_and_trailers_are_refused() {
        let extension = [b"4;".as_slice(), &vec![b'x'; FRAMING_MAX + 1]].concat();
        assert_eq!(decode(&extension, 4096).err(), Some(Broken));
        let trailers = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(FRAMING_MAX)].concat();
        assert_eq!(decode(&trailers, 4096).err(), Some(Broken));
    }
}
