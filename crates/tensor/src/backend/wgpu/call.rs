//! One kernel's call: its tensors, parameters and constants, and the pipeline that they name.

use super::{
    Wgpu, lock,
    memory::{ALIGNMENT, Block},
    source::{self, Access, Binding, Field},
};
use crate::{
    dtype::DType,
    error::{Code, Error, Result},
    tensor::Tensor,
};
use std::{num::NonZeroU64, sync::Arc};
use wgpu::{
    BindGroupEntry, BindGroupLayout, BindGroupLayoutEntry, BindingResource, BindingType, Buffer, BufferBinding,
    BufferBindingType, ShaderStages,
};

/// A family of kernels: one file.
#[derive(Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub source: &'static str,
}

macro_rules! family {
    ($name:literal) => {
        $crate::backend::wgpu::call::Family { name: $name, source: include_str!(concat!("kernels/", $name, ".wgsl")) }
    };
}
pub(super) use family;

/// What tells pipelines apart.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    family: &'static str,
    entry: &'static str,
    bindings: Vec<Binding>,
    constants: Vec<(&'static str, String)>,
}

/// A compiled kernel and what it binds.
#[derive(Clone)]
pub struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: BindGroupLayout,
}

/// Where a tensor lies: what is bound, and the number of its first element from there.
struct Window {
    buffer: Buffer,
    offset: u64,
    size: u64,
}

pub struct Call<'a> {
    on: &'a Wgpu,
    family: Family,
    entry: &'static str,
    bindings: Vec<Binding>,
    windows: Vec<Window>,
    starts: Vec<u32>,
    fields: Vec<Field>,
    words: Vec<u32>,
    constants: Vec<(&'static str, String)>,
    extensions: Vec<&'static str>,
}

impl<'a> Call<'a> {
    pub fn new(on: &'a Wgpu, family: Family, entry: &'static str) -> Call<'a> {
        Call {
            on,
            family,
            entry,
            bindings: vec![],
            windows: vec![],
            starts: vec![],
            fields: vec![],
            words: vec![],
            constants: vec![],
            extensions: vec![],
        }
    }

    fn bind(mut self, name: &'static str, dtype: DType, access: Access, window: (Window, u32)) -> Self {
        self.bindings.push(Binding { name, dtype, access });
        self.windows.push(window.0);
        self.starts.push(window.1);
        self
    }

    /// A tensor to read.
    pub fn input(self, name: &'static str, t: &Tensor) -> Result<Self> {
        let window = self.window(t, false)?;
        Ok(self.bind(name, t.dtype, Access::Read, window))
    }

    /// A tensor to read, four neighbours at a time if `fours`, which [`by_fours`] allows.
    pub fn rows_input(self, name: &'static str, t: &Tensor, fours: bool) -> Result<Self> {
        let window = self.window(t, false)?;
        Ok(self.bind(name, t.dtype, if fours { Access::Read4 } else { Access::Read }, window))
    }

    /// A tensor to write, or to add to.
    pub fn output(self, name: &'static str, t: &Tensor, accumulate: bool) -> Result<Self> {
        let window = self.window(t, !accumulate)?;
        self.on.forget_host(t);
        Ok(self.bind(name, t.dtype, if accumulate { Access::Add } else { Access::Write }, window))
    }

    /// A tensor to change in place, which must have been written: `old_x` and `put_x`.
    pub fn change(self, name: &'static str, t: &Tensor) -> Result<Self> {
        let window = self.window(t, false)?;
        self.on.forget_host(t);
        Ok(self.bind(name, t.dtype, Access::Write, window))
    }

    pub fn input_bits(self, name: &'static str, t: &Tensor) -> Result<Self> {
        let window = self.window(t, false)?;
        Ok(self.bind(name, t.dtype, Access::ReadBits, window))
    }

    pub fn output_bits(self, name: &'static str, t: &Tensor) -> Result<Self> {
        let window = self.window(t, true)?;
        self.on.forget_host(t);
        Ok(self.bind(name, t.dtype, Access::WriteBits, window))
    }

    /// Working memory or a table, elements of which are of `dtype`.
    pub fn block(self, name: &'static str, block: &Block, dtype: DType, access: Access) -> Result<Self> {
        let window = (self.on.binding(block, 0, block.len)?, 0);
        Ok(self.bind(name, dtype, access, window))
    }

    pub fn word(mut self, name: &'static str, value: usize) -> Self {
        self.fields.push(Field::Word(name));
        self.words.push(u32::try_from(value).expect("tensors are bound in parts of less than 2³² elements"));
        self
    }

    pub fn float(mut self, name: &'static str, value: f64) -> Self {
        self.fields.push(Field::Float(name));
        self.words.push((value as f32).to_bits());
        self
    }

    /// A constant of the text: the kernel is compiled for each of its values.
    pub fn constant(mut self, name: &'static str, value: impl ToString) -> Self {
        self.constants.push((name, value.to_string()));
        self
    }

    /// What the text needs beyond WGSL's core.
    pub fn enable(mut self, extension: &'static str) -> Self {
        self.extensions.push(extension);
        self
    }

    /// Encodes the kernel on `groups` workgroups, numbered by `group_index`.
    pub fn run(self, groups: usize) -> Result<()> {
        let limit = self.on.gpu.limits.max_compute_workgroups_per_dimension as usize;
        let rows = groups.div_ceil(limit);
        if rows > limit {
            return Err(Error::new(Code::Argument, format!("{groups} workgroups are more than the adapter takes")));
        }
        if groups == 0 {
            return Ok(());
        }
        self.run_on([groups.div_ceil(rows) as u32, rows as u32])
    }

    fn run_on(self, grid: [u32; 2]) -> Result<()> {
        let pipeline = self.pipeline()?;
        let mut stream = lock(&self.on.stream);
        let size = NonZeroU64::new(4 * (self.starts.len() + self.words.len()) as u64);
        let uniform = BindingResource::Buffer(BufferBinding { buffer: &stream.params_buffer, offset: 0, size });
        let mut entries = vec![BindGroupEntry { binding: 0, resource: uniform }];
        for (i, window) in self.windows.iter().enumerate() {
            let Window { buffer, offset, size } = window;
            let binding = BufferBinding { buffer, offset: *offset, size: NonZeroU64::new(*size) };
            entries.push(BindGroupEntry { binding: i as u32 + 1, resource: BindingResource::Buffer(binding) });
        }
        let group = self.on.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(self.family.name),
            layout: &pipeline.layout,
            entries: &entries,
        });
        let params: Vec<u8> = self.starts.iter().chain(&self.words).flat_map(|w| w.to_le_bytes()).collect();
        stream.dispatch(&pipeline.pipeline, &group, &params, grid)
    }

    fn pipeline(&self) -> Result<Pipeline> {
        let key = Key {
            family: self.family.name,
            entry: self.entry,
            bindings: self.bindings.clone(),
            constants: self.constants.clone(),
        };
        if let Some(pipeline) = lock(&self.on.pipelines).get(&key) {
            return Ok(pipeline.clone());
        }
        let gpu = &self.on.gpu;
        let entry = |binding, ty| BindGroupLayoutEntry {
            binding,
            visibility: ShaderStages::COMPUTE,
            ty: BindingType::Buffer { ty, has_dynamic_offset: binding == 0, min_binding_size: None },
            count: None,
        };
        // All are bound for writing: a buffer holds many tensors, and may be bound in one way at a time.
        let storage = BufferBindingType::Storage { read_only: false };
        let entries: Vec<_> = std::iter::once(entry(0, BufferBindingType::Uniform))
            .chain((1..=self.windows.len()).map(|i| entry(i as u32, storage)))
            .collect();
        let layout =
            gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let whole = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let Call { bindings, fields, constants, family, entry, .. } = self;
        let mut text: String = self.extensions.iter().map(|name| format!("enable {name};\n")).collect();
        text += &source::assemble(bindings, fields, constants, family.source, entry, gpu.subgroups);
        let pipeline = gpu.pipeline(self.family.name, self.entry, &text, &whole)?;
        let pipeline = Pipeline { pipeline, layout };
        lock(&self.on.pipelines).insert(key, pipeline.clone());
        Ok(pipeline)
    }

    fn window(&self, t: &Tensor, write: bool) -> Result<(Window, u32)> {
        if matches!(t.dtype, DType::F64) {
            return Err(no_float64(&self.on.gpu.name));
        }
        if t.is_empty() {
            return Ok((self.on.binding(&self.on.nothing, 0, 16)?, 0));
        }
        let block = self.on.block(t, write)?;
        let floor = t.offset as u64 / ALIGNMENT * ALIGNMENT;
        let window = self.on.binding(block, floor, (t.offset + t.bytes()) as u64 - floor)?;
        Ok((window, ((t.offset as u64 - floor) / t.dtype.size() as u64) as u32))
    }
}

/// Whether rows of `width` elements can be read by fours.
pub fn by_fours(t: &Tensor, width: usize) -> bool {
    width.is_multiple_of(4) && t.offset.is_multiple_of(4 * t.dtype.size())
}

pub fn no_float64(device: &str) -> Error {
    Error::new(Code::DType, format!("{device}: WGSL has no float64"))
        .hint("compute in float32 or bfloat16 there, or on the device cpu")
}

impl Wgpu {
    /// The block a tensor lies in, allocated now if it is to be written and has not been yet.
    pub(super) fn block<'t>(&self, t: &'t Tensor, write: bool) -> Result<&'t Block> {
        let allocation = match (write, t.buffer.allocation()) {
            (_, Some(allocation)) => allocation,
            (true, None) => t.buffer.allocate()?,
            (false, None) => {
                let (shape, dtype) = (&t.shape, t.dtype);
                let message =
                    format!("a tensor of shape {shape:?}, {dtype}, is read before anything has been written to it");
                return Err(Error::new(Code::Handle, message));
            }
        };
        let block = allocation.as_any().downcast_ref::<Block>().ok_or_else(|| {
            let message = format!("a tensor of {} was handed to a kernel of {}", t.device().name(), self.gpu.name);
            Error::new(Code::Device, message)
        })?;
        assert!((t.offset + t.bytes()) as u64 <= block.len, "{t:?} at byte {} reaches past its buffer", t.offset);
        Ok(block)
    }

    fn binding(&self, block: &Block, at: u64, bytes: u64) -> Result<Window> {
        let limit = self.gpu.limits.max_storage_buffer_binding_size.min(1 << 31);
        // Whole vectors of four; the block's length is a multiple of that.
        let size = bytes.next_multiple_of(16);
        if size > limit {
            let message =
                format!("{}: {bytes} bytes of one tensor, but kernels of the adapter see {limit}", self.gpu.name);
            return Err(Error::new(Code::Memory, message).hint("use a smaller batch"));
        }
        match &block.buffer {
            Some(buffer) => Ok(Window { buffer: buffer.clone(), offset: block.offset + at, size }),
            None => self.binding(&self.nothing, 0, 16),
        }
    }

    /// The host's copy of a tensor's values is no longer right.
    pub(super) fn forget_host(&self, t: &Tensor) {
        if let Some(block) = t.buffer.allocation().and_then(|a| a.as_any().downcast_ref::<Block>()) {
            block.set_host(None);
        }
    }

    /// Working memory, freed when dropped: commands encoded before may still use it, those after see it anew.
    pub(super) fn scratch(&self, elements: usize) -> Result<Arc<Block>> {
        Ok(Arc::new(self.memory.alloc(4 * elements.max(4) as u64)?))
    }

    /// A table of words on the device.
    pub(super) fn table(&self, words: &[u32]) -> Result<Block> {
        let block = self.memory.alloc(4 * words.len().max(4) as u64)?;
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        lock(&self.stream).upload(&block, 0, &bytes)?;
        Ok(block)
    }
}
