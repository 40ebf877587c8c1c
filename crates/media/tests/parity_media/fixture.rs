//! Reads parity cases: `KIND/NAME.json` beside `KIND/NAME.safetensors`, from `test/fixtures/parity` and from every folder
//! named in `$AVJEPA_FIXTURES` (separated like `$PATH`).

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Numbers as stored: integers stay exact.
#[derive(Clone, Debug)]
pub enum Data {
    Float(Vec<f64>),
    Int(Vec<i64>),
}

pub struct Case {
    pub label: String,
    json: Value,
    file: Vec<u8>,
}

/// Runs `check` on every case of `kind`; panics with the list of the failed ones.
pub fn for_each_case(kind: &str, check: impl Fn(&Case)) {
    let mut roots = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/parity")];
    if let Some(more) = std::env::var_os("AVJEPA_FIXTURES") {
        roots.extend(std::env::split_paths(&more).filter(|p| !p.as_os_str().is_empty()));
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for root in roots {
        let Ok(entries) = fs::read_dir(root.join(kind)) else { continue };
        paths.extend(entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "json")));
    }
    paths.sort();
    assert!(!paths.is_empty(), "no cases of {kind}");
    let mut failed = Vec::new();
    for path in &paths {
        let case = Case::read(path);
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&case))).is_err() {
            failed.push(case.label);
        }
    }
    assert!(failed.is_empty(), "{} of {} cases of {kind} failed: {failed:?}", failed.len(), paths.len());
}

impl Case {
    fn read(path: &Path) -> Self {
        let json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let file = json["file"].as_str().map_or_else(Vec::new, |f| fs::read(path.with_file_name(f)).unwrap());
        Self { label: path.file_stem().unwrap().to_string_lossy().into_owned(), json, file }
    }

    pub fn hyper(&self) -> &Value {
        &self.json["hyper"]
    }

    /// Names of the tensors to reproduce.
    pub fn expected(&self) -> Vec<String> {
        let tensors = self.json["tensors"].as_object().unwrap();
        tensors.iter().filter(|(_, d)| d["role"] == "expect").map(|(name, _)| name.clone()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.json["tensors"][name].is_null()
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        let shape = self.descriptor(name)["shape"].as_array().unwrap();
        shape.iter().map(|d| d.as_u64().unwrap() as usize).collect()
    }

    pub fn u8(&self, name: &str) -> Vec<u8> {
        let descriptor = self.descriptor(name);
        if descriptor["source"] == "fill_u8" {
            let seed = descriptor["fill"]["seed"].as_u64().unwrap();
            let count = self.shape(name).iter().product::<usize>();
            return (0..count).map(|i| (128.0 * (unit(name, seed, i) + 1.0)).floor() as u8).collect();
        }
        match self.stored(name) {
            Data::Int(values) => values.iter().map(|&v| u8::try_from(v).unwrap()).collect(),
            Data::Float(_) => panic!("{name} is not u8"),
        }
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        let descriptor = self.descriptor(name);
        match descriptor["source"].as_str() {
            Some("signal") => signal(&descriptor["signal"]),
            Some("file") => match self.stored(name) {
                Data::Float(values) => values.iter().map(|&v| v as f32).collect(),
                Data::Int(_) => panic!("{name} is not float"),
            },
            other => panic!("{name}: source {other:?}"),
        }
    }

    /// Every element within `atol + rtol*|want|`, and no more than `loose_fraction` of them above `tight_atol`.
    pub fn check(&self, name: &str, shape: &[usize], got: Data) {
        let descriptor = self.descriptor(name);
        assert_eq!(self.shape(name), shape, "{}: shape of {name}", self.label);
        let (want, got) = match descriptor["source"].as_str() {
            Some("sample") => {
                let Data::Int(index) = self.stored(descriptor["index"].as_str().unwrap()) else { panic!("index") };
                let picked = match got {
                    Data::Float(v) => Data::Float(index.iter().map(|&i| v[i as usize]).collect()),
                    Data::Int(v) => Data::Int(index.iter().map(|&i| v[i as usize]).collect()),
                };
                (self.stored(descriptor["values"].as_str().unwrap()), picked)
            }
            _ => (self.stored(name), got),
        };
        if let (Data::Int(want), Data::Int(got)) = (&want, &got)
            && descriptor["tol"]["atol"] == 0
        {
            let differ = want.iter().zip(got).position(|(want, got)| want != got);
            assert!(want.len() == got.len() && differ.is_none(), "{}: {name} differs from {differ:?} on", self.label);
            return;
        }
        let (want, got) = (want.into_float(), got.into_float());
        assert_eq!(want.len(), got.len(), "{}: length of {name}", self.label);
        let tol = |key: &str| descriptor["tol"][key].as_f64();
        let (rtol, atol) = (tol("rtol").unwrap(), tol("atol").unwrap());
        let tight = tol("tight_atol").unwrap_or(atol);
        let mut loose = 0;
        for (i, (want, got)) in want.iter().zip(&got).enumerate() {
            let (error, relative) = ((want - got).abs(), rtol * want.abs());
            assert!(error <= atol + relative, "{}: {name}[{i}] is {got}, want {want}", self.label);
            loose += usize::from(error > tight + relative);
        }
        let allowed = tol("loose_fraction").unwrap_or(0.0) * want.len() as f64;
        assert!(loose as f64 <= allowed, "{}: {name}: {loose} of {} beyond {tight}", self.label, want.len());
    }

    fn descriptor(&self, name: &str) -> &Value {
        let descriptor = &self.json["tensors"][name];
        assert!(!descriptor.is_null(), "{}: no tensor {name}", self.label);
        descriptor
    }

    fn stored(&self, name: &str) -> Data {
        let file = SafeTensors::deserialize(&self.file).unwrap();
        let view = file.tensor(name).unwrap();
        let bytes = view.data();
        macro_rules! read {
            ($type:ty, $variant:ident, $wide:ty) => {
                Data::$variant(
                    bytes
                        .chunks_exact(size_of::<$type>())
                        .map(|b| <$wide>::from(<$type>::from_le_bytes(b.try_into().unwrap())))
                        .collect(),
                )
            };
        }
        match view.dtype() {
            Dtype::F32 => read!(f32, Float, f64),
            Dtype::F64 => read!(f64, Float, f64),
            Dtype::I32 => read!(i32, Int, i64),
            Dtype::I64 => read!(i64, Int, i64),
            Dtype::U8 => read!(u8, Int, i64),
            other => panic!("{name}: dtype {other:?}"),
        }
    }
}

impl Data {
    fn into_float(self) -> Vec<f64> {
        match self {
            Self::Float(values) => values,
            Self::Int(values) => values.iter().map(|&v| v as f64).collect(),
        }
    }
}

impl From<&[f32]> for Data {
    fn from(values: &[f32]) -> Self {
        Self::Float(values.iter().map(|&v| f64::from(v)).collect())
    }
}

impl From<&[u8]> for Data {
    fn from(values: &[u8]) -> Self {
        Self::Int(values.iter().map(|&v| i64::from(v)).collect())
    }
}

pub fn f64_pair(value: &Value) -> [f64; 2] {
    [value[0].as_f64().unwrap(), value[1].as_f64().unwrap()]
}

pub fn usize_of(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a count")) as usize
}

/// Unit value `i` of the fill rule: FNV-1a of the name and the seed start a splitmix64 sequence.
fn unit(name: &str, seed: u64, i: usize) -> f64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut z = (hash ^ seed).wrapping_add((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    2.0 * ((z >> 40) as f64 / 16_777_216.0) - 1.0
}

/// A sum of chirps and fill noise.
fn signal(rule: &Value) -> Vec<f32> {
    let rate = rule["sample_rate"].as_f64().unwrap();
    let noise = rule["noise"].as_f64().unwrap();
    let seed = rule["seed"].as_u64().unwrap();
    let noise_name = rule["noise_name"].as_str().unwrap();
    let tones: Vec<[f64; 4]> = rule["tones"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tone| std::array::from_fn(|i| tone[i].as_f64().unwrap()))
        .collect();
    (0..usize_of(&rule["n"]))
        .map(|k| {
            let t = k as f64 / rate;
            let mut y = 0.0;
            for [amplitude, f0, sweep, phase] in &tones {
                y += amplitude * (std::f64::consts::TAU * (f0 * t + 0.5 * sweep * t * t) + phase).sin();
            }
            if noise != 0.0 {
                y += noise * unit(noise_name, seed, k);
            }
            y as f32
        })
        .collect()
}

#[test]
fn fill_rule_check_values() {
    assert_eq!(unit("x", 0, 0), -0.597_583_532_333_374);
    assert_eq!(unit("blocks.0.attn.qkv.weight", 6_500_197, 1), 0.330_733_895_301_818_85);
    assert_eq!(unit("encoder.norm.weight", 1_099_511_627_777, 1000), -0.915_738_224_983_215_3);
    let bytes: Vec<u8> = (0..8).map(|i| (128.0 * (unit("frames", 3, i) + 1.0)).floor() as u8).collect();
    assert_eq!(bytes, [243, 157, 190, 142, 151, 194, 14, 202]);
}
