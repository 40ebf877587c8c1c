//! How the arguments and results of a call lie in arrays of doubles.
//!
//! A tensor is its handle, 0 for none; a list is its length and its elements; a type is its place in `DType::ALL`; a boolean is
//! 0 or 1. A resulting tensor is handle, type, whether it needs a gradient, number of axes, sizes.

use crate::handles;
use avjepa_tensor::{Code, DType, Device, Error, Result, Tensor, Var, backend::cpu::Cpu};
use std::sync::{Arc, LazyLock, Mutex};

/// Reads the arguments of one call, in order.
pub struct Args<'a> {
    values: &'a [f64],
    at: usize,
}

impl<'a> Args<'a> {
    pub fn new(values: &'a [f64]) -> Self {
        Args { values, at: 0 }
    }

    pub fn f64(&mut self) -> Result<f64> {
        let value = self.values.get(self.at).copied();
        self.at += 1;
        value.ok_or_else(|| Error::new(Code::Argument, format!("argument {} is missing", self.at)))
    }

    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.f64()? != 0.0)
    }

    pub fn i64(&mut self) -> Result<i64> {
        let x = self.f64()?;
        match x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 {
            true => Ok(x as i64),
            false => Err(Error::new(Code::Argument, format!("{x} is not an integer"))),
        }
    }

    pub fn usize(&mut self) -> Result<usize> {
        let i = self.i64()?;
        usize::try_from(i).map_err(|_| Error::new(Code::Argument, format!("{i} is negative")))
    }

    /// A 64-bit number in two halves, low first.
    pub fn u64(&mut self) -> Result<u64> {
        let (low, high) = (self.usize()? as u64, self.usize()? as u64);
        Ok(high << 32 | low)
    }

    pub fn dtype(&mut self) -> Result<DType> {
        let i = self.usize()?;
        DType::ALL.get(i).copied().ok_or_else(|| Error::new(Code::DType, format!("there is no element type {i}")))
    }

    pub fn var(&mut self) -> Result<Var> {
        let handle = self.f64()?;
        handles::get(handle)
    }

    pub fn tensor(&mut self) -> Result<Tensor> {
        Ok(self.var()?.tensor)
    }

    pub fn opt_var(&mut self) -> Result<Option<Var>> {
        match self.f64()? {
            0.0 => Ok(None),
            handle => handles::get(handle).map(Some),
        }
    }

    pub fn opt_tensor(&mut self) -> Result<Option<Tensor>> {
        Ok(self.opt_var()?.map(|v| v.tensor))
    }

    /// NaN stands for "not given".
    pub fn opt_f64(&mut self) -> Result<Option<f64>> {
        let x = self.f64()?;
        Ok((!x.is_nan()).then_some(x))
    }

    pub fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let n = self.usize()?;
        if n > self.values.len() {
            return Err(Error::new(
                Code::Argument,
                format!("a list of {n} elements in a call of {}", self.values.len()),
            ));
        }
        (0..n).map(|_| each(self)).collect()
    }

    pub fn usizes(&mut self) -> Result<Vec<usize>> {
        self.list(Self::usize)
    }

    pub fn i64s(&mut self) -> Result<Vec<i64>> {
        self.list(Self::i64)
    }

    pub fn f64s(&mut self) -> Result<Vec<f64>> {
        self.list(Self::f64)
    }

    pub fn vars(&mut self) -> Result<Vec<Var>> {
        self.list(Self::var)
    }

    pub fn device(&mut self) -> Result<Arc<Device>> {
        let i = self.usize()?;
        device(i)
    }
}

/// What a call answers.
pub enum Reply {
    Vars(Vec<Var>),
    Numbers(Vec<f64>),
}

impl From<Var> for Reply {
    fn from(v: Var) -> Reply {
        Reply::Vars(vec![v])
    }
}

impl From<Tensor> for Reply {
    fn from(t: Tensor) -> Reply {
        Reply::Vars(vec![Var::constant(t)])
    }
}

impl From<()> for Reply {
    fn from((): ()) -> Reply {
        Reply::Numbers(vec![])
    }
}

impl Reply {
    /// Writes the answer, and says how many numbers it took. Without room for it nothing is given a handle.
    pub fn write(self, out: &mut [f64]) -> Result<usize> {
        let numbers = match &self {
            Reply::Numbers(numbers) => numbers.len(),
            Reply::Vars(vars) => vars.iter().map(|v| 4 + v.tensor.shape.len()).sum(),
        };
        if numbers > out.len() {
            let message = format!("the answer has {numbers} numbers, room for {}", out.len());
            return Err(Error::new(Code::Argument, message).hint("use fewer axes, or fewer tensors at once"));
        }
        match self {
            Reply::Numbers(answer) => out[..numbers].copy_from_slice(&answer),
            Reply::Vars(vars) => {
                let mut at = 0;
                for v in vars {
                    let dtype = DType::ALL.iter().position(|d| *d == v.tensor.dtype).expect("every type is listed");
                    let shape = v.tensor.shape.clone();
                    let needs = f64::from(u8::from(v.requires_grad()));
                    let place = &mut out[at..at + 4 + shape.len()];
                    place[..4].copy_from_slice(&[handles::put(v)?, dtype as f64, needs, shape.len() as f64]);
                    place[4..].iter_mut().zip(&shape).for_each(|(number, &size)| *number = size as f64);
                    at += place.len();
                }
            }
        }
        Ok(numbers)
    }
}

static DEVICES: LazyLock<Mutex<Vec<Arc<Device>>>> = LazyLock::new(Mutex::default);

/// Opens a device by its name, or finds it open: its number.
pub fn open_device(name: &str) -> Result<usize> {
    let mut devices = DEVICES.lock().unwrap_or_else(|p| p.into_inner());
    if let Some(i) = devices.iter().position(|d| d.name() == name) {
        return Ok(i);
    }
    match name {
        "cpu" => devices.push(Device::new(name, Box::new(Cpu::new()?))),
        _ if name == "wgpu" || name.starts_with("wgpu:") => devices.push(avjepa_tensor::backend::wgpu::device(name)?),
        _ => {
            return Err(Error::new(Code::Device, format!("there is no device \"{name}\" in this build"))
                .hint("use --devices cpu or wgpu, the backends that are there"));
        }
    }
    Ok(devices.len() - 1)
}

pub fn device(i: usize) -> Result<Arc<Device>> {
    let devices = DEVICES.lock().unwrap_or_else(|p| p.into_inner());
    devices.get(i).cloned().ok_or_else(|| Error::new(Code::Device, format!("device {i} has not been opened")))
}
