//! How ranks meet before there is a communicator: rank 0 makes NCCL's id and gives it to the others over TCP.
//!
//! Rank 0 listens at the first free port from the one that is agreed on, and says its magic and the run's name to whoever comes; the
//! others try these ports in turn until one answers so, and send nothing to anybody else. A port that is taken, or belongs to another
//! run, costs nothing but a try, therefore. Numbers are little-endian.
//!
//! ```text
//!     rank 0 → rank r    "AVJNCCL1", length of the run's name (u16), the name
//!     rank r → rank 0    rank (u32), ranks (u32), NCCL's version (u32)
//!     rank 0 → rank r    0 (u8), the id (128 bytes)        when all have come
//!                        1 (u8), length (u16), why not
//! ```

use super::lifeline::Lifeline;
use super::nccl_api::{ID_BYTES, UniqueId};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, String>;

const MAGIC: &[u8; 8] = b"AVJNCCL1";

/// Ports that are tried.
pub const PORTS: u16 = 16;

/// How long a stranger may be silent.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Where and as whom a rank meets the others.
#[derive(Clone, Debug)]
pub struct Meeting {
    pub rank: usize,
    pub world: usize,
    /// Rank 0's machine: a name or an address.
    pub address: String,
    /// The first of the [`PORTS`] that are tried.
    pub port: u16,
    /// Tells the run from others on the same machines.
    pub run: String,
    /// NCCL's version, which has to be one.
    pub version: u32,
    /// When to give up.
    pub limit: Duration,
}

impl Meeting {
    /// Every rank gets the id that `make` makes on rank 0, and keeps its connections.
    ///
    /// # Errors
    /// Who has not come in time, or is another than expected; what `make` failed with. Every rank is told.
    pub fn share(&self, make: impl FnOnce() -> Result<UniqueId>) -> Result<(UniqueId, Lifeline)> {
        if self.world == 1 {
            return Ok((make()?, Lifeline::alone()));
        }
        let until = Instant::now() + self.limit;
        let (id, lifeline) = match self.rank {
            0 => {
                let listener = self.listen()?;
                let mut others = vec![];
                match self.gather(&listener, &mut others, until).and_then(|()| make()) {
                    Ok(id) => {
                        let message = [&[0], &id.0[..]].concat();
                        for (rank, stream) in &mut others {
                            stream
                                .write_all(&message)
                                .map_err(|error| format!("rank {rank} has gone again: {error}"))?;
                        }
                        (id, Lifeline::of_first(others))
                    }
                    Err(message) => {
                        refuse(&mut others, &message);
                        return Err(message);
                    }
                }
            }
            _ => {
                let mut stream = self.call(until)?;
                (self.receive(&mut stream)?, Lifeline::to_first(stream))
            }
        };
        Ok((id, lifeline.map_err(|error| self.system(&error))?))
    }

    fn system(&self, error: &std::io::Error) -> String {
        format!("the connection to {}:{}: {error}", self.address, self.port)
    }

    /// The addresses of rank 0's machine.
    fn resolve(&self) -> Result<Vec<IpAddr>> {
        let found = (self.address.as_str(), self.port).to_socket_addrs();
        let found = found.map_err(|error| format!("rank 0's machine {:?} is not known here: {error}", self.address))?;
        Ok(found.map(|address| address.ip()).collect())
    }

    fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        let first = self.port;
        (0..PORTS).filter_map(move |k| first.checked_add(k))
    }

    fn listen(&self) -> Result<TcpListener> {
        let addresses: Vec<IpAddr> = match self.is_local() {
            // Where all ranks are on this machine nobody else needs to come in.
            true => self.resolve()?,
            // Not at the address that the name has here: many machines call themselves 127.0.1.1.
            false => vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()],
        };
        let mut said = String::new();
        for port in self.ports() {
            for address in &addresses {
                match TcpListener::bind(SocketAddr::new(*address, port)) {
                    Ok(listener) => return Ok(listener),
                    Err(error) => said = error.to_string(),
                }
            }
        }
        Err(format!(
            "rank 0 can listen at none of the ports {} to {}: {said}",
            self.port,
            self.port.saturating_add(PORTS - 1)
        ))
    }

    /// Whether rank 0's machine is named in a way that means this one.
    fn is_local(&self) -> bool {
        self.address == "localhost" || self.address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// Takes in all other ranks.
    fn gather(&self, listener: &TcpListener, others: &mut Vec<(usize, TcpStream)>, until: Instant) -> Result<()> {
        listener.set_nonblocking(true).map_err(|error| self.system(&error))?;
        while others.len() + 1 < self.world {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(_) if Instant::now() < until => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(_) => return Err(self.missing(others)),
            };
            // Whoever does not speak this language, or takes its time, is no rank of this run.
            let Ok((rank, world, version)) = self.greet(&stream) else { continue };
            if world != self.world {
                others.push((rank, stream));
                return Err(format!("rank {rank} is one of {world}, rank 0 one of {}", self.world));
            }
            if rank == 0 || rank >= world || others.iter().any(|(other, _)| *other == rank) {
                others.push((rank, stream));
                return Err(format!("two processes say that they are rank {rank} of {world}"));
            }
            others.push((rank, stream));
            if version != self.version {
                let ours = self.version;
                return Err(format!(
                    "rank {rank} has NCCL's version {version}, rank 0 has {ours}: it must be the same everywhere"
                ));
            }
        }
        others.sort_by_key(|(rank, _)| *rank);
        Ok(())
    }

    fn missing(&self, others: &[(usize, TcpStream)]) -> String {
        let absent: Vec<_> = (1..self.world).filter(|rank| others.iter().all(|(other, _)| other != rank)).collect();
        let named: Vec<_> = absent.iter().take(8).map(ToString::to_string).collect();
        let more = if absent.len() > 8 { format!(" and {} others", absent.len() - 8) } else { String::new() };
        let (seconds, named) = (self.limit.as_secs(), named.join(", "));
        format!("of {} ranks these have not come within {seconds} s: {named}{more}", self.world)
    }

    fn greet(&self, mut stream: &TcpStream) -> std::io::Result<(usize, usize, u32)> {
        patient(stream, PATIENCE)?;
        stream.write_all(&[MAGIC, &(self.run.len() as u16).to_le_bytes()[..], self.run.as_bytes()].concat())?;
        let mut hello = [0; 12];
        stream.read_exact(&mut hello)?;
        let number = |k: usize| u32::from_le_bytes(hello[4 * k..4 * k + 4].try_into().expect("four bytes"));
        Ok((number(0) as usize, number(1) as usize, number(2)))
    }

    /// Finds rank 0.
    fn call(&self, until: Instant) -> Result<TcpStream> {
        loop {
            // Again each time: a name may become known while machines start.
            let addresses = self.resolve();
            for address in addresses.iter().flatten() {
                for port in self.ports() {
                    if let Ok(stream) = self.knock(SocketAddr::new(*address, port)) {
                        return Ok(stream);
                    }
                }
            }
            if Instant::now() > until {
                addresses?;
                let (address, port, seconds) = (&self.address, self.port, self.limit.as_secs());
                return Err(format!("rank 0 has not answered at {address}:{port} within {seconds} s"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Connects, and says hello if it is this run's rank 0.
    fn knock(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        patient(&stream, PATIENCE)?;
        let expected = [MAGIC, &(self.run.len() as u16).to_le_bytes()[..], self.run.as_bytes()].concat();
        let mut greeting = vec![0; expected.len()];
        stream.read_exact(&mut greeting)?;
        if greeting != expected {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        let hello = [self.rank as u32, self.world as u32, self.version].map(u32::to_le_bytes).concat();
        stream.write_all(&hello)?;
        Ok(stream)
    }

    fn receive(&self, stream: &mut TcpStream) -> Result<UniqueId> {
        let gone = |error: std::io::Error| format!("rank 0 has gone before all ranks had met: {error}");
        // Rank 0 gives up first, and says so.
        patient(stream, self.limit + PATIENCE).map_err(gone)?;
        let mut status = [0];
        stream.read_exact(&mut status).map_err(gone)?;
        if status == [0] {
            let mut id = [0; ID_BYTES];
            stream.read_exact(&mut id).map_err(gone)?;
            return Ok(UniqueId(id));
        }
        let mut length = [0; 2];
        stream.read_exact(&mut length).map_err(gone)?;
        let mut text = vec![0; u16::from_le_bytes(length) as usize];
        stream.read_exact(&mut text).map_err(gone)?;
        Err(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Tells the ranks that have come why nothing comes of it.
fn refuse(others: &mut [(usize, TcpStream)], message: &str) {
    let text = &message.as_bytes()[..message.len().min(4096)];
    let answer = [&[1], &(text.len() as u16).to_le_bytes()[..], text].concat();
    for (_, stream) in others {
        let _ = stream.write_all(&answer);
    }
}

fn patient(stream: &TcpStream, limit: Duration) -> std::io::Result<()> {
    // An accepted stream may have the listener's mode.
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    fn meeting(rank: usize, world: usize, port: u16) -> Meeting {
        let (address, limit) = ("127.0.0.1".to_owned(), Duration::from_secs(20));
        // Ranges of ports may overlap where tests run beside each other.
        Meeting { rank, world, address, port, run: format!("test {port}"), version: 22_703, limit }
    }

    /// What each of these ranks comes to.
    fn meet(ranks: Vec<Meeting>) -> Vec<Result<u8>> {
        std::thread::scope(|scope| {
            let make = |rank: u8| move || Ok(UniqueId([rank + 1; ID_BYTES]));
            let threads: Vec<_> = ranks
                .iter()
                .map(|meeting| scope.spawn(move || meeting.share(make(meeting.rank as u8)).map(|(id, _)| id.0[127])))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn every_rank_gets_the_id_of_rank_0() {
        let port = free_port();
        let ranks = (0..4).map(|rank| meeting(rank, 4, port)).collect();
        assert_eq!(meet(ranks), [Ok(1), Ok(1), Ok(1), Ok(1)]);
        assert_eq!(meet(vec![meeting(0, 1, port)]), [Ok(1)]);
    }

    #[test]
    fn names_of_this_machine_will_do() {
        for address in ["localhost", "0.0.0.0", "::1"] {
            if TcpListener::bind((address, 0)).is_err() {
                continue; // A machine without IPv6.
            }
            let port = free_port();
            let named = |rank| Meeting { address: address.to_owned(), ..meeting(rank, 2, port) };
            assert_eq!(meet(vec![named(0), named(1)]), [Ok(1), Ok(1)], "{address}");
        }
    }

    #[test]
    fn a_port_that_is_taken_and_another_run_beside_do_not_disturb() {
        // Somebody listens, and never says a word.
        let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = stranger.local_addr().unwrap().port();
        let mut ranks: Vec<_> = (0..2).map(|rank| meeting(rank, 2, port)).collect();
        ranks.extend((0..2).map(|rank| Meeting { run: "another".to_owned(), ..meeting(rank, 2, port) }));
        assert_eq!(meet(ranks), [Ok(1), Ok(1), Ok(1), Ok(1)]);
    }

    #[test]
    fn what_does_not_fit_is_told_to_all() {
        let port = free_port();
        let other = Meeting { version: 22_000, ..meeting(1, 2, port) };
        for answer in meet(vec![meeting(0, 2, port), other]) {
            assert!(answer.unwrap_err().contains("rank 1 has NCCL's version 22000, rank 0 has 22703"));
        }
        let port = free_port();
        let answers = meet(vec![meeting(0, 2, port), meeting(1, 3, port)]);
        for answer in answers {
            assert_eq!(answer.unwrap_err(), "rank 1 is one of 3, rank 0 one of 2");
        }
        let port = free_port();
        let answers = meet((0..3).map(|k| meeting(k.min(1), 3, port)).collect());
        assert!(answers[0].clone().unwrap_err().contains("two processes say that they are rank 1"));
    }

    #[test]
    fn who_does_not_come_is_named() {
        let port = free_port();
        let limit = Duration::from_millis(300);
        let first = Meeting { limit: Duration::from_secs(2), ..meeting(0, 3, port) };
        let second = Meeting { limit: Duration::from_secs(5), ..meeting(1, 3, port) };
        for answer in meet(vec![first, second]) {
            assert_eq!(answer.unwrap_err(), "of 3 ranks these have not come within 2 s: 2");
        }
        let alone = Meeting { limit, ..meeting(1, 2, free_port()) };
        assert!(meet(vec![alone])[0].clone().unwrap_err().contains("rank 0 has not answered at 127.0.0.1:"));
        let nowhere = Meeting { limit, address: "no.such.machine.invalid".to_owned(), ..meeting(1, 2, 1) };
        assert!(meet(vec![nowhere])[0].clone().unwrap_err().contains("is not known here"));
    }
}
