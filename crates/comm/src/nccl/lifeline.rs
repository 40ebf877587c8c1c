//! A thread of connections through which a rank learns that another is gone.
//!
//! NCCL itself does not notice when a process at the other end of shared memory or NVLink dies: what waits for it waits for ever. The
//! connections by which the ranks met are kept, therefore, and nothing is sent on them until somebody leaves: the system closes them
//! when a process ends, however it does. Rank 0 has one to every other, and passes the news on.

use socket2::{SockRef, TcpKeepalive};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Words of farewell are short, and there at once.
const LONGEST: u64 = 4096;
const PATIENCE: Duration = Duration::from_millis(500);

/// What a rank says that leaves after the last call.
const FINISHED: &str = "finished";

/// This rank's connections.
pub struct Lifeline {
    /// To rank 0; on rank 0, to all others.
    others: Vec<(usize, TcpStream)>,
    is_first: bool,
}

impl Lifeline {
    /// Of a rank that has no others.
    pub fn alone() -> Self {
        Lifeline { others: vec![], is_first: true }
    }

    /// Rank 0's, to the ranks named.
    ///
    /// # Errors
    /// What the system says.
    pub fn of_first(others: Vec<(usize, TcpStream)>) -> std::io::Result<Self> {
        others.iter().try_for_each(|(_, stream)| watched(stream))?;
        Ok(Lifeline { others, is_first: true })
    }

    /// Another rank's, to rank 0.
    ///
    /// # Errors
    /// What the system says.
    pub fn to_first(stream: TcpStream) -> std::io::Result<Self> {
        watched(&stream)?;
        Ok(Lifeline { others: vec![(0, stream)], is_first: false })
    }

    /// Who is gone, in words, if anybody is; never waits otherwise.
    pub fn look(&mut self) -> Option<String> {
        let is_first = self.is_first;
        let mut gone = None;
        self.others.retain_mut(|(rank, stream)| match farewell(stream) {
            // Who has finished is not missed.
            Some(said) if said == FINISHED => false,
            Some(said) => {
                gone = gone.take().or(Some(match (is_first, said.is_empty()) {
                    (_, true) => format!("rank {rank} is gone: it was killed, or its machine is lost"),
                    // Of itself, or, from rank 0, of whoever it was.
                    (true, false) => format!("rank {rank} is gone: {said}"),
                    (false, false) => said,
                }));
                false
            }
            None => true,
        });
        gone
    }

    /// Leaves the others, who have made the last call too.
    pub fn finish(&mut self) {
        self.cut(FINISHED);
    }

    /// Leaves the others, telling them why.
    pub fn cut(&mut self, why: &str) {
        let text = match (self.is_first, why.starts_with("rank ") || why == FINISHED) {
            (true, false) => format!("rank 0 is gone: {why}"),
            _ => why.to_owned(),
        };
        for (_, mut stream) in std::mem::take(&mut self.others) {
            // Whoever is gone hears nothing.
            let _ = stream.write_all(&text.as_bytes()[..text.len().min(LONGEST as usize)]);
        }
    }
}

/// Neither reads nor writes wait, and a machine that is lost is noticed within a minute.
fn watched(stream: &TcpStream) -> std::io::Result<()> {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    stream.set_nonblocking(true)
}

/// The last words at the other end, which has left; nothing while it is there.
fn farewell(stream: &mut TcpStream) -> Option<String> {
    let mut first = [0; 1];
    match stream.read(&mut first) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
        Ok(1) => {
            let mut text = first.to_vec();
            let _ = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
            let _ = stream.take(LONGEST).read_to_end(&mut text);
            Some(String::from_utf8_lossy(&text).into_owned())
        }
        _ => Some(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Rank 0 of a world, and the others.
    fn world(size: usize) -> (Lifeline, Vec<Lifeline>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (mut held, mut others) = (vec![], vec![]);
        for rank in 1..size {
            others.push(Lifeline::to_first(TcpStream::connect(address).unwrap()).unwrap());
            held.push((rank, listener.accept().unwrap().0));
        }
        (Lifeline::of_first(held).unwrap(), others)
    }

    /// What a rank hears, once it hears something.
    fn hears(lifeline: &mut Lifeline) -> String {
        loop {
            match lifeline.look() {
                Some(text) => return text,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    #[test]
    fn who_is_there_is_not_gone() {
        let (mut first, mut others) = world(3);
        assert_eq!(first.look(), None);
        assert_eq!(others[1].look(), None);
    }

    #[test]
    fn a_rank_that_is_killed_is_named_to_all() {
        let (mut first, mut others) = world(3);
        drop(others.remove(0));
        let text = hears(&mut first);
        assert_eq!(text, "rank 1 is gone: it was killed, or its machine is lost");
        first.cut(&text);
        assert_eq!(hears(&mut others[0]), text);
    }

    #[test]
    fn a_rank_that_has_finished_is_not_missed() {
        let (mut first, mut others) = world(2);
        others[0].finish();
        while !first.others.is_empty() {
            assert_eq!(first.look(), None);
        }
    }

    #[test]
    fn a_rank_that_fails_says_why() {
        let (mut first, mut others) = world(2);
        others[0].cut("NCCL: unhandled system error");
        assert_eq!(hears(&mut first), "rank 1 is gone: NCCL: unhandled system error");
        let (mut first, mut others) = world(2);
        first.cut("interrupted");
        assert_eq!(hears(&mut others[0]), "rank 0 is gone: interrupted");
    }
}
