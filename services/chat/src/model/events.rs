//! Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), as they come in pieces of any size. Of an event
//! its data alone is of interest.

use coreloop_outbound::Away;

/// Longest event that is read, in bytes.
const MOST: usize = 256 << 10;

/// What of a stream was not read to its end yet.
#[derive(Debug, Default)]
pub struct Events {
    /// The beginning of a line.
    line: Vec<u8>,
    /// The data of an event whose end has not come.
    data: Option<Vec<u8>>,
}

impl Events {
    /// The data of the events that end in `bytes`.
    ///
    /// # Errors
    /// [`Away::Broken`] for an event that is too long.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Away> {
        let mut ended = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = rest.split_at(end);
            self.line.extend_from_slice(head);
            rest = tail.get(1..).unwrap_or_default();
            let line = std::mem::take(&mut self.line);
            ended.extend(self.line(line.strip_suffix(b"\r").unwrap_or(&line)));
            self.bounded()?;
        }
        self.line.extend_from_slice(rest);
        self.bounded()?;
        Ok(ended)
    }

    fn bounded(&self) -> Result<(), Away> {
        let held = self.line.len() + self.data.as_ref().map_or(0, Vec::len);
        if held > MOST { Err(Away::Broken) } else { Ok(()) }
    }

    /// Takes a whole line; the event that it ends.
    fn line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        if line.is_empty() {
            return self.data.take();
        }
        // Comments, names and ids of events say nothing here.
        let value = line.strip_prefix(b"data:")?;
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut self.data {
            None => self.data = Some(value.to_vec()),
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b": hello\n\ndata: {\"a\":1}\n\nevent: x\r\ndata:two\r\ndata: lines\r\n\r\ndata: [DONE]\n\ndata: unended";

    #[test]
    fn events_are_the_same_however_they_come() {
        let wanted: [&[u8]; 3] = [b"{\"a\":1}", b"two\nlines", b"[DONE]"];
        for size in 1..STREAM.len() {
            let mut events = Events::default();
            let seen: Vec<_> = STREAM.chunks(size).flat_map(|piece| events.take(piece).unwrap()).collect();
            assert_eq!(seen, wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn one_that_does_not_end_is_given_up() {
        let mut events = Events::default();
        let long = vec![b'x'; MOST / 2];
        assert!(events.take(&long).is_ok());
        assert!(matches!(events.take(&long).and_then(|_| events.take(b"x")), Err(Away::Broken)));
        let mut events = Events::default();
        let line = [b"data: ".as_slice(), &long, b"\n"].concat();
        assert!(events.take(&line).is_ok());
        assert!(events.take(&line).and_then(|_| events.take(&line)).is_err());
    }
}
