//! Which adapters the machine has, and which of them a device's name means.

use super::faults::Faults;
use crate::error::{Code, Error, Result};
use wgpu::{
    Adapter, Backend, Backends, CooperativeMatrixProperties, CooperativeScalarType, DeviceType, Features, Instance,
    InstanceDescriptor,
};

/// What kernels bind at once at the most, beside their uniform.
pub const STORAGE_BUFFERS: u32 = 10;
/// Bytes of shared memory that kernels take at the most.
pub const SHARED_MEMORY: u32 = 32 << 10;

/// An adapter's facts, for people and for `doctor --devices`.
#[derive(Clone, Debug)]
pub struct AdapterFacts {
    /// `wgpu:0`, …: what opens it.
    pub device: String,
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub interface: String,
    pub driver: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// Why it cannot be used, if so.
    pub lacks: Option<String>,
    /// Bytes of the largest binding (no chunk of a tensor that one kernel sees is larger) and of the largest buffer.
    pub binding_bytes: u64,
    pub buffer_bytes: u64,
    pub shared_memory: u32,
    pub invocations: u32,
    pub subgroup: [u32; 2],
    /// Those of the features that matter to arithmetic: `f16`, `subgroups`, `timestamps`, and each configuration of cooperative
    /// matrices: `cooperative matrix 16×16×16 f16 → f32`.
    pub features: Vec<String>,
}

/// All adapters, hardware before software, else in the order of the system. Empty where there is no driver.
pub fn adapters() -> Vec<Adapter> {
    let instance = Instance::new(InstanceDescriptor {
        backends: Backends::VULKAN | Backends::METAL | Backends::DX12,
        ..InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters = pollster::block_on(instance.enumerate_adapters(Backends::all()));
    adapters.sort_by_key(|a| rank(a.get_info().device_type));
    adapters
}

fn rank(kind: DeviceType) -> u8 {
    match kind {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    }
}

pub fn facts(index: usize, adapter: &Adapter) -> AdapterFacts {
    let (info, limits, has) = (adapter.get_info(), adapter.limits(), adapter.features());
    let features =
        [(Features::SHADER_F16, "f16"), (Features::SUBGROUP, "subgroups"), (Features::TIMESTAMP_QUERY, "timestamps")];
    let features = features.iter().filter(|(f, _)| has.contains(*f)).map(|(_, name)| name.to_string());
    let features = features.chain(adapter.cooperative_matrix_properties().iter().map(configuration)).collect();
    AdapterFacts {
        device: format!("wgpu:{index}"),
        name: info.name.clone(),
        interface: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        kind: match info.device_type {
            DeviceType::DiscreteGpu => "discrete",
            DeviceType::IntegratedGpu => "integrated",
            DeviceType::VirtualGpu => "virtual",
            DeviceType::Cpu => "software",
            DeviceType::Other => "other",
        },
        lacks: lacks(&limits),
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
        shared_memory: limits.max_compute_workgroup_storage_size,
        invocations: limits.max_compute_invocations_per_workgroup,
        subgroup: [info.subgroup_min_size, info.subgroup_max_size],
        features,
    }
}

fn configuration(c: &CooperativeMatrixProperties) -> String {
    let name = |kind: CooperativeScalarType| match kind {
        CooperativeScalarType::F32 => "f32",
        CooperativeScalarType::F16 => "f16",
        CooperativeScalarType::I32 => "i32",
        CooperativeScalarType::U32 => "u32",
    };
    let [m, n, k] = [c.m_size, c.n_size, c.k_size];
    format!("cooperative matrix {m}×{n}×{k} {} → {}", name(c.ab_type), name(c.cr_type))
}

/// What kernels use of what the adapter has.
pub fn features(adapter: &Adapter, faults: &Faults) -> Features {
    let mut features = Features::empty();
    // Workgroups, of 64 threads or 256, are whole subgroups.
    let info = adapter.get_info();
    if !faults.no_subgroups && info.subgroup_min_size >= 4 && info.subgroup_max_size <= 64 {
        features |= adapter.features() & Features::SUBGROUP;
    }
    let Matrices { f32, f16, .. } = matrices(adapter, faults);
    if f32.or(f16).is_some() {
        features |= Features::SUBGROUP | Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    }
    if f16.is_some() {
        features |= Features::SHADER_F16;
    }
    features
}

/// Cooperative matrices that products can use: their sides, of operands in f32 and in f16; sums are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matrices {
    pub f32: Option<u32>,
    pub f16: Option<u32>,
    /// Threads of four subgroups.
    pub threads: u32,
}

/// Those of the adapter's that have equal sides; of two, the larger. A driver that computes on the processor plays them, and is slower
/// by them: there they are used when asked for.
pub fn matrices(adapter: &Adapter, faults: &Faults) -> Matrices {
    let (info, has) = (adapter.get_info(), adapter.features());
    // Metal's range is that of the interface, not of the adapter.
    let threads = 4 * if info.backend == Backend::Metal { 32 } else { info.subgroup_max_size };
    let needed = Features::SUBGROUP | Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    let wanted = faults.matrices.unwrap_or(info.device_type != DeviceType::Cpu);
    if !wanted || faults.no_subgroups || !has.contains(needed) || threads > 256 {
        return Matrices::default();
    }
    let all = adapter.cooperative_matrix_properties();
    let largest = |operands: CooperativeScalarType| {
        let square = all.iter().filter(|c| c.m_size == c.n_size && c.n_size == c.k_size);
        let fitting = square.filter(|c| c.ab_type == operands && c.cr_type == CooperativeScalarType::F32);
        fitting.map(|c| c.m_size).filter(|side| [8, 16].contains(side)).max()
    };
    let f32 = largest(CooperativeScalarType::F32);
    let f16 = largest(CooperativeScalarType::F16).filter(|_| has.contains(Features::SHADER_F16));
    match f32.or(f16) {
        None => Matrices::default(),
        Some(_) => Matrices { f32, f16, threads },
    }
}

/// What kernels need and the adapter has not.
fn lacks(limits: &wgpu::Limits) -> Option<String> {
    let needs = [
        ("storage buffers a kernel", limits.max_storage_buffers_per_shader_stage, STORAGE_BUFFERS),
        ("bytes of shared memory", limits.max_compute_workgroup_storage_size, SHARED_MEMORY),
        ("threads a workgroup", limits.max_compute_invocations_per_workgroup, 256),
    ];
    needs.iter().find(|(_, has, needed)| has < needed).map(|(what, has, needed)| format!("{has} {what} of {needed}"))
}

/// The adapter that `wgpu` or `wgpu:1` names.
///
/// `wgpu` is the first piece of hardware; a driver that computes on the processor is slower than the `cpu` device, so it is taken
/// only when it is asked for by number.
///
/// # Errors
/// `AVJ_DEVICE`: none is there, or not so many, or it lacks what kernels need.
pub fn choose(name: &str) -> Result<(usize, Adapter)> {
    let mut adapters = adapters();
    if adapters.is_empty() {
        return Err(Error::new(Code::Device, format!("{name}: no graphics adapter was found")).hint(
            "install the GPU's Vulkan driver (Debian: mesa-vulkan-drivers or the vendor's, and libvulkan1), or use --devices cpu",
        ));
    }
    let index = match name.split_once(':') {
        None => adapters.iter().position(|a| a.get_info().device_type != DeviceType::Cpu).ok_or_else(|| {
            let software = adapters[0].get_info().name;
            Error::new(Code::Device, format!("{name}: the only adapter is {software}, which computes on the processor"))
                .hint("use --devices cpu, which is faster, or name it: --devices wgpu:0")
        })?,
        Some((_, number)) => number.parse::<usize>().ok().filter(|i| *i < adapters.len()).ok_or_else(|| {
            let last = adapters.len() - 1;
            let there = if last == 0 { "wgpu:0 alone is".to_string() } else { format!("wgpu:0 to wgpu:{last} are") };
            Error::new(Code::Device, format!("{name}: there is no such adapter; {there} here"))
                .hint("`bun run doctor --devices` lists them")
        })?,
    };
    let adapter = adapters.swap_remove(index);
    if let Some(lack) = lacks(&adapter.limits()) {
        let message = format!("{name}: {} has {lack} that the kernels need", adapter.get_info().name);
        return Err(Error::new(Code::Device, message).hint("use another adapter, or --devices cpu"));
    }
    Ok((index, adapter))
}
