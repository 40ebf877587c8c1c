//! Faults on purpose: what a device does when it is lost, full or refuses a kernel, tried without breaking one.

use crate::error::{Code, Error, Result};

/// None by default. `AVJEPA_WGPU_FAULT` sets it for a process: `lost:20`, `memory:1000000`, `shader:gemm`, `binding:65536`,
/// `without:subgroups`, `without:matrices` or `with:matrices`, or several of them, separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The device is lost at the submission after so many.
    pub lost_after: Option<u64>,
    /// The device refuses buffers once it holds so many bytes.
    pub memory: Option<u64>,
    /// The driver refuses the kernels of this family.
    pub shader: Option<String>,
    /// Kernels see no more bytes of a tensor than this.
    pub binding: Option<u64>,
    /// The adapter seems to have no subgroups, and so no cooperative matrices either.
    pub no_subgroups: bool,
    /// Whether products go by cooperative matrices where the adapter has them, whatever speaks for or against it there.
    pub matrices: Option<bool>,
}

impl Faults {
    /// # Errors
    /// `AVJ_ARGUMENT` when the text says something else.
    pub fn parse(text: &str) -> Result<Faults> {
        let mut faults = Faults::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part.split_once(':') {
                Some(("lost", n)) if n.parse::<u64>().is_ok() => faults.lost_after = n.parse().ok(),
                Some(("memory", n)) if n.parse::<u64>().is_ok() => faults.memory = n.parse().ok(),
                Some(("binding", n)) if n.parse::<u64>().is_ok() => faults.binding = n.parse().ok(),
                Some(("without", "subgroups")) => faults.no_subgroups = true,
                Some(("without", "matrices")) => faults.matrices = Some(false),
                Some(("with", "matrices")) => faults.matrices = Some(true),
                Some(("shader", name)) if !name.is_empty() => faults.shader = Some(name.to_string()),
                _ => {
                    return Err(Error::new(Code::Argument, format!("AVJEPA_WGPU_FAULT is \"{part}\"")).hint(
                        "lost:SUBMISSIONS, memory:BYTES, shader:FAMILY, binding:BYTES, without:subgroups, without:matrices or with:matrices; unset it for work",
                    ));
                }
            }
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let faults =
            Faults::parse("lost:20,memory:1000,shader:gemm,binding:4096,without:subgroups,without:matrices").unwrap();
        let all = Faults {
            lost_after: Some(20),
            memory: Some(1000),
            shader: Some("gemm".into()),
            binding: Some(4096),
            no_subgroups: true,
            matrices: Some(false),
        };
        assert_eq!(faults, all);
        assert_eq!(Faults::parse("with:matrices").unwrap().matrices, Some(true));
        assert_eq!(Faults::parse("").unwrap(), Faults::default());
        for bad in ["lost", "lost:x", "memory:-1", "shader:", "without:f16", "fire:1"] {
            assert_eq!(Faults::parse(bad).unwrap_err().code, Code::Argument, "{bad}");
        }
    }
}
