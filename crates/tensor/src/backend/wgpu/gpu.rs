//! The adapter's device and queue, with every fault of theirs turned into an error of ours. Nothing else talks to the driver.

use super::{
    adapter::{self, Matrices},
    faults::Faults,
};
use crate::{
    backend::Counters,
    error::{Code, Error, Result},
};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use wgpu::{Buffer, BufferDescriptor, BufferUsages, CommandBuffer, ErrorFilter, PollType, SubmissionIndex};

#[derive(Default)]
pub(super) struct Tally {
    pub dispatches: AtomicU64,
    pub submissions: AtomicU64,
    pub uploaded: AtomicU64,
    pub downloaded: AtomicU64,
}

impl Tally {
    pub fn read(&self) -> Counters {
        let get = |n: &AtomicU64| n.load(Relaxed);
        Counters {
            dispatches: get(&self.dispatches),
            submissions: get(&self.submissions),
            uploaded: get(&self.uploaded),
            downloaded: get(&self.downloaded),
        }
    }
}

/// What went wrong where no call of ours could say so.
#[derive(Default)]
struct Fault {
    /// Stays: nothing works any more.
    lost: Option<String>,
    other: Option<Error>,
}

pub struct Gpu {
    pub device: wgpu::Device,
    queue: wgpu::Queue,
    pub limits: wgpu::Limits,
    pub info: wgpu::AdapterInfo,
    /// Whether kernels use subgroups.
    pub subgroups: bool,
    /// The cooperative matrices that products use.
    pub matrices: Matrices,
    /// What messages call the device.
    pub name: String,
    pub(super) tally: Tally,
    fault: Arc<Mutex<Fault>>,
    faults: Faults,
    held: AtomicU64,
}

impl Gpu {
    /// Opens the adapter with all of its limits, and those of its features that kernels use.
    ///
    /// # Errors
    /// `AVJ_DEVICE` when the driver refuses.
    pub fn open(name: &str, adapter: &wgpu::Adapter, faults: Faults) -> Result<Gpu> {
        let (info, mut limits) = (adapter.get_info(), adapter.limits());
        let features = adapter::features(adapter, &faults);
        let subgroups = features.contains(wgpu::Features::SUBGROUP);
        let matrices = adapter::matrices(adapter, &faults);
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("avjepa"),
            required_features: features,
            // SAFETY: cooperative matrices are marked as such; those of an adapter are proven when it is opened (`proven_matrices`).
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            required_limits: limits.clone(),
            ..Default::default()
        });
        let (device, queue) = pollster::block_on(request).map_err(|error| {
            Error::new(Code::Device, format!("{name}: {} cannot be opened: {error}", info.name))
                .hint("see whether its driver works for other programs, or use --devices cpu")
        })?;
        let most = faults.binding.unwrap_or(u64::MAX);
        limits.max_storage_buffer_binding_size = limits.max_storage_buffer_binding_size.min(most);
        let fault: Arc<Mutex<Fault>> = Arc::default();
        let (lost, uncaptured) = (fault.clone(), fault.clone());
        device.set_device_lost_callback(move |reason, message| {
            lock(&lost).lost.get_or_insert(format!("{reason:?}: {message}"));
        });
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let error = explain(&error);
            lock(&uncaptured).other.get_or_insert(error);
        }));
        let (tally, held) = (Tally::default(), AtomicU64::new(0));
        Ok(Gpu { device, queue, limits, info, subgroups, matrices, name: name.to_string(), tally, fault, faults, held })
    }

    /// # Errors
    /// What the driver has reported since the last call.
    pub fn check(&self) -> Result<()> {
        let mut fault = lock(&self.fault);
        if let Some(why) = &fault.lost {
            let after = self.tally.submissions.load(Relaxed);
            let message = format!("{}: the device was lost after {after} submissions ({})", self.name, why.trim());
            return Err(Error::new(Code::Device, message).hint(
                "start again: training resumes from its last checkpoint; if it comes back, look at the driver's log and the GPU's temperature",
            ));
        }
        fault.other.take().map_or(Ok(()), Err)
    }

    /// # Errors
    /// `AVJ_MEMORY` when there is no room, which says how much is taken already.
    pub fn buffer(&self, what: &str, bytes: u64, usage: BufferUsages) -> Result<Buffer> {
        self.create(what, bytes, usage, false)
    }

    /// A buffer that the host writes before the device sees it; its bytes are not counted as held.
    pub fn staging(&self, bytes: u64) -> Result<Buffer> {
        let buffer = self.create("an upload", bytes, BufferUsages::COPY_SRC, true)?;
        self.released(bytes);
        Ok(buffer)
    }

    fn create(&self, what: &str, bytes: u64, usage: BufferUsages, mapped: bool) -> Result<Buffer> {
        let held = self.held.load(Relaxed);
        let full = |why: &str| {
            let message = format!("{}: no room for {bytes} bytes of {what} beside the {held} taken{why}", self.name);
            Error::new(Code::Memory, message).hint("use a smaller batch or model, or activation checkpointing")
        };
        if bytes > self.limits.max_buffer_size {
            return Err(full(&format!(" (a buffer of the adapter has at most {})", self.limits.max_buffer_size)));
        }
        if self.faults.memory.is_some_and(|limit| held + bytes > limit) {
            return Err(full(""));
        }
        let scope = self.device.push_error_scope(ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&BufferDescriptor {
            label: Some(what),
            size: bytes,
            usage,
            mapped_at_creation: mapped,
        });
        let error = pollster::block_on(scope.pop());
        self.check()?;
        if error.is_some() {
            return Err(full(""));
        }
        self.held.fetch_add(bytes, Relaxed);
        Ok(buffer)
    }

    /// A buffer of [`Gpu::buffer`] is gone.
    pub fn released(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Relaxed);
    }

    /// Compiles one entry of a module.
    ///
    /// # Errors
    /// `AVJ_DEVICE` with the compiler's text when the driver refuses.
    pub fn pipeline(
        &self,
        family: &str,
        entry: &str,
        source: &str,
        layout: &wgpu::PipelineLayout,
    ) -> Result<wgpu::ComputePipeline> {
        let refused = |why: &str| {
            let message = format!("{}: {} refuses the kernel {family}.{entry}: {why}", self.name, self.info.name);
            Error::new(Code::Device, message).hint("update the driver, or use --devices cpu")
        };
        if self.faults.shader.as_deref() == Some(family) {
            return Err(refused("on purpose"));
        }
        let scope = self.device.push_error_scope(ErrorFilter::Validation);
        let internal = self.device.push_error_scope(ErrorFilter::Internal);
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(family), source: wgpu::ShaderSource::Wgsl(source.into()) };
        // SAFETY: kernels check their indices against sizes that the host has checked against the bindings; loops end.
        let module =
            unsafe { self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) };
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry),
            layout: Some(layout),
            module: &module,
            entry_point: Some(entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        let errors = [pollster::block_on(internal.pop()), pollster::block_on(scope.pop())];
        match errors.into_iter().flatten().next() {
            Some(error) => Err(refused(&error.to_string())),
            None => Ok(pipeline),
        }
    }

    /// Hands commands to the device, after writing `params` to the start of `buffer`.
    pub fn submit(&self, buffer: &Buffer, params: &[u8], commands: CommandBuffer) -> Result<SubmissionIndex> {
        let done = self.tally.submissions.load(Relaxed);
        if self.faults.lost_after.is_some_and(|n| done >= n) {
            self.device.destroy();
            // The loss is reported once what runs has ended.
            drop(self.device.poll(PollType::Wait { submission_index: None, timeout: None }));
            drop(self.device.poll(PollType::Poll));
            self.check()?;
        }
        if !params.is_empty() {
            self.queue.write_buffer(buffer, 0, params);
        }
        let index = self.queue.submit([commands]);
        self.tally.submissions.fetch_add(1, Relaxed);
        self.check()?;
        Ok(index)
    }

    /// Waits for a submission, on the calling thread.
    pub fn wait(&self, index: SubmissionIndex) -> Result<()> {
        let polled = self.device.poll(PollType::Wait { submission_index: Some(index), timeout: None });
        if polled.is_err() {
            // A submission that a lost device swallowed cannot be waited for, and a wait that is refused reports no loss: this does.
            drop(self.device.poll(PollType::Poll));
        }
        self.check()?;
        polled.map(drop).map_err(|error| Error::new(Code::Device, format!("{}: waiting failed: {error}", self.name)))
    }
}

fn lock(fault: &Mutex<Fault>) -> std::sync::MutexGuard<'_, Fault> {
    fault.lock().unwrap_or_else(PoisonError::into_inner)
}

fn explain(error: &wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::new(Code::Memory, "wgpu: the device is out of memory")
            .hint("use a smaller batch or model, or activation checkpointing"),
        other => Error::new(Code::Device, format!("wgpu: {other}"))
            .hint("this is a bug in AV-JEPA or the driver: please report it with the message above"),
    }
}
