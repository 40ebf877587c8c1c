//! The thread on which a process talks to the others.
//!
//! Calls are made in the order in which their tickets were drawn, whenever what they send is ready: tickets are drawn by the program,
//! which is the same on every rank, while gradients become ready at times of their own.

use crate::{Collective, CommError, Result};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A call's work on the communication thread; given the error of an earlier call, it only passes it on.
type Work = Box<dyn FnOnce(Result<&mut dyn Collective>) -> Result<()> + Send>;

enum Message {
    Call {
        number: u64,
        call: &'static str,
        work: Work,
    },
    /// A ticket that nobody will use.
    Lost {
        number: u64,
        call: &'static str,
    },
    /// After the calls before that number.
    Close(u64, Closed),
}

type Closed = Box<dyn FnOnce(Result<()>) + Send>;

/// The call a process is in.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub call: &'static str,
    /// How many calls came before it.
    pub number: u64,
    pub since: Duration,
}

/// The call that the communication thread is in: its name, its number, and when it began.
type Current = Mutex<Option<(&'static str, u64, Instant)>>;

/// A process's connection to the others.
pub struct Communicator {
    pub rank: usize,
    pub world: usize,
    /// What carries the messages: `Open MPI v4.1.4`.
    pub engine: String,
    sender: Sender<Message>,
    next: AtomicU64,
    current: Arc<Current>,
    interrupter: Option<Arc<AtomicBool>>,
}

/// The right to one call, at its place among the others.
pub struct Ticket {
    number: u64,
    call: &'static str,
    sender: Sender<Message>,
    used: bool,
}

impl Communicator {
    /// Opens the connection on a thread of its own and tells `done`.
    ///
    /// # Errors
    /// Why there is no thread.
    pub fn open<E: Send + 'static>(
        open: impl FnOnce() -> std::result::Result<(Box<dyn Collective>, String), E> + Send + 'static,
        done: impl FnOnce(std::result::Result<Communicator, E>) + Send + 'static,
    ) -> std::io::Result<()> {
        let run = move || {
            let (mut collective, engine) = match open() {
                Ok(opened) => opened,
                Err(error) => return done(Err(error)),
            };
            let (sender, receiver) = channel();
            let current: Arc<Current> = Arc::default();
            let (rank, world) = (collective.rank(), collective.world());
            let (next, interrupter) = (AtomicU64::new(0), collective.interrupter());
            done(Ok(Communicator { rank, world, engine, sender, next, current: current.clone(), interrupter }));
            let Some((failed, close)) = serve(collective.as_mut(), &receiver, &current) else { return };
            close(failed.map_or_else(|| collective.close(), Err));
        };
        std::thread::Builder::new().name("avjepa-comm".to_owned()).spawn(run).map(drop)
    }

    /// The next place in the order of calls. `call` is what the watchdog says.
    pub fn ticket(&self, call: &'static str) -> Ticket {
        Ticket { number: self.next.fetch_add(1, Relaxed), call, sender: self.sender.clone(), used: false }
    }

    /// The call that the communication thread is in, if it is in one.
    pub fn waiting(&self) -> Option<Waiting> {
        lock(&self.current).map(|(call, number, at)| Waiting { call, number, since: at.elapsed() })
    }

    /// Has the call that waits for the others give up, where that is possible, and waits until it has, but not for long: a process
    /// that is about to end leaves nothing running on its device.
    pub fn interrupt(&self, limit: Duration) {
        let Some(interrupter) = &self.interrupter else { return };
        interrupter.store(true, Relaxed);
        let begun = Instant::now();
        while self.waiting().is_some() && begun.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Leaves the others, once every call before is done.
    pub fn close(&self, done: impl FnOnce(Result<()>) + Send + 'static) {
        let number = self.next.load(Relaxed);
        if let Err(unsent) = self.sender.send(Message::Close(number, Box::new(done)))
            && let Message::Close(_, done) = unsent.0
        {
            done(Err(CommError { rank: self.rank, call: "close", message: "the connection is closed".to_owned() }));
        }
    }
}

impl Ticket {
    /// Makes the call, when its turn has come.
    pub fn call(mut self, work: impl FnOnce(Result<&mut dyn Collective>) -> Result<()> + Send + 'static) {
        self.used = true;
        let message = Message::Call { number: self.number, call: self.call, work: Box::new(work) };
        if let Err(unsent) = self.sender.send(message)
            && let Message::Call { work, call, .. } = unsent.0
        {
            // The work tells whoever waits.
            let _ = work(Err(CommError { rank: 0, call, message: "the connection is closed".to_owned() }));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.used {
            let _ = self.sender.send(Message::Lost { number: self.number, call: self.call });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Closing = (Option<CommError>, Closed);

/// Makes the calls until it is asked to close, or nobody is left to ask.
fn serve(collective: &mut dyn Collective, receiver: &Receiver<Message>, current: &Current) -> Option<Closing> {
    let rank = collective.rank();
    let mut early: BTreeMap<u64, (&'static str, Option<Work>)> = BTreeMap::new();
    let mut next = 0;
    let mut failed: Option<CommError> = None;
    let mut closing: Option<(u64, Closed)> = None;
    while let Ok(message) = receiver.recv() {
        match message {
            Message::Call { number, call, work } => early.insert(number, (call, Some(work))),
            Message::Lost { number, call } => early.insert(number, (call, None)),
            Message::Close(number, done) => {
                closing = Some((number, done));
                None
            }
        };
        while let Some((call, work)) = early.remove(&next) {
            let number = next;
            next += 1;
            let Some(work) = work else {
                let message = "what it was to send was never made: an earlier step failed".to_owned();
                failed.get_or_insert(CommError { rank, call, message });
                continue;
            };
            *lock(current) = Some((call, number, Instant::now()));
            let result = work(failed.clone().map_or(Ok(&mut *collective), Err));
            *lock(current) = None;
            if let Err(error) = result {
                failed.get_or_insert(error);
            }
        }
        // What a device's queue has yet to send goes first.
        if let Some((_, done)) = closing.take_if(|(number, _)| next >= *number) {
            return Some((failed, done));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Single;

    fn open() -> Communicator {
        let (send, receive) = channel();
        Communicator::open::<String>(
            || Ok((Box::new(Single), "single".to_owned())),
            move |opened| send.send(opened.ok().unwrap()).unwrap(),
        )
        .unwrap();
        receive.recv().unwrap()
    }

    #[test]
    fn calls_are_made_in_the_order_of_their_tickets() {
        let communicator = open();
        let (send, receive) = channel();
        let tickets: Vec<_> = (0..5).map(|_| communicator.ticket("sum")).collect();
        for (i, ticket) in tickets.into_iter().enumerate().rev() {
            let send = send.clone();
            ticket.call(move |collective| {
                collective?.barrier()?;
                send.send(i).unwrap();
                Ok(())
            });
        }
        assert_eq!(receive.iter().take(5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let (done, closed) = channel();
        communicator.close(move |result| done.send(result).unwrap());
        assert_eq!(closed.recv().unwrap(), Ok(()));
    }

    #[test]
    fn closes_after_every_call_before() {
        let communicator = open();
        let ticket = communicator.ticket("sum");
        let (send, receive) = channel();
        let (done, called) = (send.clone(), send);
        communicator.close(move |result| done.send(("closed", result.is_ok())).unwrap());
        ticket.call(move |collective| {
            collective?.barrier()?;
            called.send(("called", true)).unwrap();
            Ok(())
        });
        assert_eq!(receive.iter().take(2).collect::<Vec<_>>(), [("called", true), ("closed", true)]);
    }

    #[test]
    fn a_lost_ticket_fails_what_comes_after_it() {
        let communicator = open();
        drop(communicator.ticket("all_reduce"));
        let (send, receive) = channel();
        communicator.ticket("barrier").call(move |collective| {
            send.send(collective.map(|c| c.rank()).map_err(|e| e.call)).unwrap();
            Ok(())
        });
        assert_eq!(receive.recv().unwrap(), Err("all_reduce"));
    }

    #[test]
    fn says_what_it_waits_for() {
        let communicator = open();
        let (begun, has_begun) = channel();
        let (end, may_end) = channel::<()>();
        communicator.ticket("barrier").call(move |_| {
            begun.send(()).unwrap();
            may_end.recv().unwrap();
            Ok(())
        });
        has_begun.recv().unwrap();
        let waiting = communicator.waiting().unwrap();
        assert_eq!((waiting.call, waiting.number), ("barrier", 0));
        end.send(()).unwrap();
    }
}
