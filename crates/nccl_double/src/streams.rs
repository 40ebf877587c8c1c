//! Streams, events and memory of a device that is the host. A stream goes on when somebody asks, the newest first.

use crate::nccl::Collective;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// What is on a stream.
pub enum Op {
    Copy {
        from: usize,
        to: usize,
        bytes: usize,
    },
    /// The event's so-and-so-manieth record.
    Record {
        event: usize,
        number: u64,
    },
    Wait {
        event: usize,
        number: u64,
    },
    Collective(Collective),
}

/// An event: how often it was recorded, and the last record that has come to pass.
#[derive(Default)]
struct Event {
    recorded: u64,
    past: u64,
}

/// A rank's device.
#[derive(Default)]
pub struct Device {
    /// The context that is current; its number is the device's, from 1.
    pub context: usize,
    /// Retained contexts.
    pub retained: HashMap<usize, usize>,
    streams: BTreeMap<usize, VecDeque<Op>>,
    events: HashMap<usize, Event>,
    /// Address, and length: of the device's memory and of the host's pinned one.
    memory: BTreeMap<usize, Box<[u128]>>,
    pinned: BTreeMap<usize, Box<[u128]>>,
    made: usize,
}

thread_local! {
    static DEVICE: RefCell<Device> = RefCell::default();
}

/// Works on this rank's device.
pub fn device<R>(work: impl FnOnce(&mut Device) -> R) -> R {
    DEVICE.with_borrow_mut(work)
}

/// What cannot be told in a code ends the process with its reason.
pub fn wrong(what: &str) -> ! {
    eprintln!("nccl double: {what}");
    std::process::abort()
}

impl Device {
    /// The context has to be current wherever something is made or used.
    fn require_context(&self, what: &str) {
        if self.context == 0 {
            wrong(&format!("{what} without a current context"));
        }
    }

    fn number(&mut self) -> usize {
        self.made += 1;
        self.made
    }

    pub fn make_stream(&mut self) -> usize {
        self.require_context("cuStreamCreate");
        let number = self.number();
        self.streams.insert(number, VecDeque::new());
        number
    }

    pub fn drop_stream(&mut self, stream: usize) {
        if self.streams.remove(&stream).is_none() {
            wrong("cuStreamDestroy of no stream");
        }
    }

    pub fn make_event(&mut self) -> usize {
        self.require_context("cuEventCreate");
        let number = self.number();
        self.events.insert(number, Event::default());
        number
    }

    pub fn drop_event(&mut self, event: usize) {
        if self.events.remove(&event).is_none() {
            wrong("cuEventDestroy of no event");
        }
    }

    pub fn allocate(&mut self, bytes: usize, pinned: bool) -> usize {
        self.require_context("an allocation");
        let block = vec![u128::MAX; bytes.div_ceil(16).max(1)].into_boxed_slice();
        let address = block.as_ptr() as usize;
        let blocks = if pinned { &mut self.pinned } else { &mut self.memory };
        blocks.insert(address, block);
        address
    }

    /// As CUDA does, it lets what is on the streams come to its end first.
    pub fn free(&mut self, address: usize, pinned: bool) {
        self.go_on();
        let blocks = if pinned { &mut self.pinned } else { &mut self.memory };
        let Some(block) = blocks.remove(&address) else { wrong("freed memory that is not there") };
        let range = address..address + size_of_val(&*block);
        let in_use = self.streams.values().flatten().any(|op| match op {
            Op::Copy { from, to, .. } => range.contains(from) || range.contains(to),
            Op::Collective(call) => range.contains(&call.send) || range.contains(&call.receive),
            _ => false,
        });
        if in_use {
            wrong("freed memory that a stream is to use");
        }
    }

    /// Checks that so many bytes lie in one block.
    pub fn require(&self, what: &str, address: usize, bytes: usize, pinned: bool) {
        let blocks = if pinned { &self.pinned } else { &self.memory };
        let holds = blocks
            .range(..=address)
            .next_back()
            .is_some_and(|(start, block)| address + bytes <= start + size_of_val(&**block));
        if !holds {
            wrong(&format!(
                "{what}: {bytes} bytes that are not in {} memory",
                if pinned { "pinned" } else { "the device's" }
            ));
        }
    }

    pub fn enqueue(&mut self, stream: usize, op: Op) {
        self.require_context("work for a stream");
        match self.streams.get_mut(&stream) {
            Some(ops) => ops.push_back(op),
            None => wrong("work for no stream"),
        }
    }

    pub fn record(&mut self, event: usize, stream: usize) {
        let Some(entry) = self.events.get_mut(&event) else { wrong("cuEventRecord of no event") };
        entry.recorded += 1;
        let number = entry.recorded;
        self.enqueue(stream, Op::Record { event, number });
    }

    pub fn wait(&mut self, stream: usize, event: usize) {
        let Some(entry) = self.events.get(&event) else { wrong("cuStreamWaitEvent of no event") };
        let number = entry.recorded;
        self.enqueue(stream, Op::Wait { event, number });
    }

    /// Whether the event's last record has come to pass.
    pub fn is_past(&mut self, event: usize) -> bool {
        self.go_on();
        match self.events.get(&event) {
            Some(Event { recorded, past }) => past == recorded,
            None => wrong("cuEventQuery of no event"),
        }
    }

    /// Lets every stream go as far as it can, the newest first.
    fn go_on(&mut self) {
        let streams: Vec<_> = self.streams.keys().rev().copied().collect();
        while streams.iter().any(|stream| self.step(*stream)) {}
    }

    /// Does what is next on a stream; whether it did.
    fn step(&mut self, stream: usize) -> bool {
        let Some(ops) = self.streams.get_mut(&stream) else { return false };
        let done = match ops.front_mut() {
            None => false,
            Some(Op::Copy { from, to, bytes }) => {
                // SAFETY: both sides were checked when it was enqueued, and memory in use is not freed.
                unsafe { std::ptr::copy(*from as *const u8, *to as *mut u8, *bytes) };
                true
            }
            Some(Op::Record { event, number }) => {
                if let Some(entry) = self.events.get_mut(event) {
                    entry.past = *number;
                }
                true
            }
            Some(Op::Wait { event, number }) => self.events.get(event).is_none_or(|entry| entry.past >= *number),
            Some(Op::Collective(call)) => call.step(),
        };
        if done && let Some(ops) = self.streams.get_mut(&stream) {
            ops.pop_front();
        }
        done
    }
}
