//! What ranks tell each other before a call: a rank that does something else is an error that names both, not a hang.

/// What a rank is about to do: the call's number and its size.
pub type Tag = [u64; 2];

/// The kinds of call, by the numbers they have in a [`Tag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Sum,
    Max,
    ReduceScatter,
    AllGather,
    Broadcast,
    Barrier,
    Close,
}

impl Call {
    const ALL: [Call; 7] =
        [Call::Sum, Call::Max, Call::ReduceScatter, Call::AllGather, Call::Broadcast, Call::Barrier, Call::Close];

    pub fn name(self) -> &'static str {
        match self {
            Call::Sum => "all_reduce (sum)",
            Call::Max => "all_reduce (max)",
            Call::ReduceScatter => "reduce_scatter",
            Call::AllGather => "all_gather",
            Call::Broadcast => "broadcast",
            Call::Barrier => "barrier",
            Call::Close => "close",
        }
    }
}

/// What is wrong where the ranks are not all about to do what this one is.
pub fn disagreement(mine: Tag, tags: &[Tag]) -> Option<String> {
    let other = tags.iter().position(|tag| *tag != mine)?;
    let [code, length] = tags[other];
    let theirs = Call::ALL.get(code as usize).map_or("an unknown call", |call| call.name());
    Some(format!("of {} bytes, while rank {other} calls {theirs} of {length}", mine[1]))
}
