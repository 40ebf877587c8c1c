//! The names that a pickle may use. All others are refused: nothing is ever looked up, so nothing can be run.

use crate::dtype::DType;

/// What a name stands for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Global {
    RebuildTensor,
    RebuildTensorV2,
    RebuildTensorV3,
    RebuildParameter,
    RebuildParameterWithState,
    RebuildFromType,
    /// `torch.Tensor`, `torch.nn.Parameter`: the type of what is rebuilt.
    TensorClass,
    Storage(DType),
    DType(DType),
    /// `torch.Size`, `tuple`.
    Tuple,
    /// `list`, `set`, `frozenset`.
    List,
    /// `dict`, `OrderedDict`, `Counter`.
    Dict,
    DefaultDict,
    /// `argparse.Namespace`, `types.SimpleNamespace`: dictionaries by another name.
    Namespace,
    /// `torch.device`.
    Device,
    /// `pathlib.PosixPath` and its kin: text.
    Path,
    /// `_codecs.encode`: how Python 3 writes bytes for old protocols.
    Encode,
    Bytearray,
    /// `object`, `int`, …: only ever arguments.
    Type,
    Reconstructor,
    NumpyReconstruct,
    /// How protocol 5 writes arrays of numbers.
    NumpyFromBuffer,
    NumpyScalar,
    NumpyArray,
    NumpyType,
}

/// The meaning of `module.name`; none for names that are not known.
pub fn resolve(module: &str, name: &str) -> Option<Global> {
    use Global as G;
    Some(match (module, name) {
        ("torch._utils", "_rebuild_tensor") => G::RebuildTensor,
        ("torch._utils", "_rebuild_tensor_v2") => G::RebuildTensorV2,
        ("torch._utils", "_rebuild_tensor_v3") => G::RebuildTensorV3,
        ("torch._utils", "_rebuild_parameter") => G::RebuildParameter,
        ("torch._utils", "_rebuild_parameter_with_state") => G::RebuildParameterWithState,
        ("torch._tensor", "_rebuild_from_type_v2") => G::RebuildFromType,
        ("torch", "Tensor")
        | ("torch._tensor", "Tensor")
        | ("torch.nn.parameter" | "torch.nn", "Parameter")
        | ("torch.nn.parameter", "Buffer") => G::TensorClass,
        // Classes of the first versions, one for each type: `torch.FloatTensor`.
        ("torch" | "torch.cuda", class)
            if class
                .strip_suffix("Tensor")
                .is_some_and(|kind| DType::of_storage(&format!("{kind}Storage")).is_some()) =>
        {
            G::TensorClass
        }
        ("torch", "Size") => G::Tuple,
        ("torch", "device") => G::Device,
        ("torch" | "torch.cuda" | "torch.storage", storage) if storage.ends_with("Storage") => {
            G::Storage(DType::of_storage(storage)?)
        }
        ("torch", dtype) => G::DType(DType::named(dtype)?),
        ("collections", "OrderedDict" | "Counter") => G::Dict,
        ("collections", "defaultdict") => G::DefaultDict,
        ("argparse", "Namespace") | ("types", "SimpleNamespace") => G::Namespace,
        ("_codecs", "encode") => G::Encode,
        ("copyreg" | "copy_reg", "_reconstructor") => G::Reconstructor,
        ("pathlib" | "pathlib._local", "PosixPath" | "PurePosixPath" | "WindowsPath" | "PureWindowsPath") => G::Path,
        ("builtins" | "__builtin__", builtin) => match builtin {
            "dict" => G::Dict,
            "list" | "set" | "frozenset" => G::List,
            "tuple" => G::Tuple,
            "bytearray" => G::Bytearray,
            "object" | "int" | "float" | "str" | "bool" | "bytes" => G::Type,
            _ => return None,
        },
        ("numpy", "ndarray") => G::NumpyArray,
        ("numpy", "dtype") => G::NumpyType,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => G::NumpyReconstruct,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => G::NumpyScalar,
        ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => G::NumpyFromBuffer,
        _ => return None,
    })
}
