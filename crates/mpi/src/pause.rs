//! Waiting for other ranks without keeping a core from them. `avjepa-comm` compiles this very file too.

use std::time::Duration;

/// Waits longer the longer it has waited: a blocking call would keep a core busy that others could compute on.
#[derive(Default)]
pub struct Pause {
    times: u32,
}

impl Pause {
    const YIELDS: u32 = 50;
    const LONGEST: Duration = Duration::from_millis(1);

    pub fn wait(&mut self) {
        self.times += 1;
        match self.times.checked_sub(Self::YIELDS) {
            None => std::thread::yield_now(),
            Some(slept) => {
                std::thread::sleep(Duration::from_micros(20).saturating_mul(1 + slept / 4).min(Self::LONGEST))
            }
        }
    }
}
