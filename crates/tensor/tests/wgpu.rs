//! The wgpu backend from outside: a transformer block beside the CPU's, memory, bindings smaller than tensors, and faults.
//!
//! They need an adapter, and are ignored unless asked for: `AVJEPA_TEST_DEVICES=wgpu bun run test`.

mod common;

use avjepa_tensor::{
    Code, DType, Device, Tensor, Var,
    backend::{
        Distribution, Reduction,
        wgpu::{Faults, Wgpu},
    },
    op,
};
use common::{Block, backward, distance, grad, grad_bytes, leaf, shared};
use std::sync::{Arc, LazyLock, mpsc};

fn open(faults: &str) -> Arc<Device> {
    let faults = Faults::parse(faults).expect("a fault that exists");
    let named = std::env::var("AVJEPA_TEST_DEVICES").unwrap_or_default();
    let name = named.split(',').map(str::trim).find(|name| name.starts_with("wgpu:")).unwrap_or("wgpu:0");
    Device::new(name, Box::new(Wgpu::open(name, faults).expect("an adapter")))
}

/// One for all tests in which nothing fails: a device tells an error to whoever asks it next.
fn gpu() -> Arc<Device> {
    static GPU: LazyLock<Arc<Device>> = LazyLock::new(|| open(""));
    GPU.clone()
}

fn settle(device: &Device) -> avjepa_tensor::Result<()> {
    let (send, receive) = mpsc::channel();
    device.sync(move |result| send.send(result).unwrap());
    receive.recv().unwrap()
}

/// f32 without a detour over float64, which wgpu has not.
fn values(t: &Tensor) -> Vec<f64> {
    let t = op::cast(&Var::constant(t.clone()), DType::F32).unwrap().tensor;
    let bytes = t.device().read_now(&t).unwrap();
    bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
}

/// The same numbers on another device.
fn moved(v: &Var, device: &Arc<Device>) -> Var {
    let t = &v.tensor;
    let bytes = t.device().read_now(t).unwrap();
    Var::leaf(Tensor::from_bytes(device, &t.shape, t.dtype, bytes).unwrap(), None).unwrap()
}

fn offsets(device: &Arc<Device>, values: &[i32]) -> Tensor {
    common::indices(device, values)
}

/// Output and all gradients of a block on the CPU and on `device`, as distances.
fn beside(device: &Arc<Device>, compute: DType) -> Vec<f64> {
    let (dim, heads, lengths) = (48, 3, [0, 17, 17, 60]);
    let cpu = shared();
    let block = Block::new(&cpu, dim, heads, compute, 5);
    let twin = block.map(|v| moved(v, device));
    let x = leaf(&cpu, &[60, dim], DType::F32, 40);
    let x_twin = moved(&x, device);
    let y = block.forward(&x, &offsets(&cpu, &lengths)).unwrap();
    let y_twin = twin.forward(&x_twin, &offsets(device, &lengths)).unwrap();
    backward(&y).unwrap();
    backward(&y_twin).unwrap();
    let mut apart = vec![distance(&values(&y_twin.tensor), &values(&y.tensor))];
    let pairs = block.parameters().zip(twin.parameters()).chain([(&x, &x_twin)]);
    apart.extend(pairs.map(|(a, b)| distance(&values(&b.grad().unwrap()), &grad(a))));
    apart
}

mod wgpu {
    use super::*;

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn a_block_is_the_cpus() {
        for (compute, bound) in [(DType::F32, 1e-5), (DType::BF16, 2.0 / 128.0)] {
            for (i, apart) in beside(&gpu(), compute).into_iter().enumerate() {
                assert!(apart <= bound, "{compute}, tensor {i}: {apart:e}");
            }
        }
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn tensors_larger_than_a_binding() {
        // Weights of up to 27648 bytes are seen whole; activations of 34560 are not.
        let device = open("binding:28672");
        for (i, apart) in beside(&device, DType::F32).into_iter().enumerate() {
            assert!(apart <= 1e-5, "tensor {i}: {apart:e}");
        }
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn rows_and_columns_larger_than_a_binding() {
        let device = open("binding:28672");
        // 57600 bytes, reduced to 24 numbers; 40000 bytes of logits.
        let x = leaf(&shared(), &[600, 24], DType::F32, 41);
        let x_twin = moved(&x, &device);
        for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
            let [y, y_twin] = [&x, &x_twin].map(|x| op::reduce(x, &[0], false, reduction).unwrap());
            assert!(distance(&values(&y_twin.tensor), &values(&y.tensor)) <= 1e-5, "{reduction:?}");
        }
        let labels: Vec<i32> = (0..100).map(|i| i * 37 % 100).collect();
        let logits = leaf(&shared(), &[100, 100], DType::F32, 42);
        let twin = moved(&logits, &device);
        let loss = op::cross_entropy(&logits, &common::indices(&shared(), &labels), 0.1).unwrap();
        let loss_twin = op::cross_entropy(&twin, &common::indices(&device, &labels), 0.1).unwrap();
        backward(&loss).unwrap();
        backward(&loss_twin).unwrap();
        assert!(distance(&values(&loss_twin.tensor), &values(&loss.tensor)) <= 1e-5);
        assert!(distance(&values(&twin.grad().unwrap()), &grad(&logits)) <= 1e-5);
    }

    /// Results and gradients of `f` on the CPU and on `device`.
    fn same(device: &Arc<Device>, x: &Var, f: impl Fn(&Var) -> Var) {
        let (x, twin) = (moved(x, &shared()), moved(x, device));
        let (y, y_twin) = (f(&x), f(&twin));
        backward(&y).unwrap();
        backward(&y_twin).unwrap();
        assert!(distance(&values(&y_twin.tensor), &values(&y.tensor)) <= 1e-5);
        assert!(distance(&values(&twin.grad().unwrap()), &grad(&x)) <= 1e-5);
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn picked_rows_losses_and_patches_larger_than_a_binding() {
        let device = open("binding:28672");
        // 57600 bytes of rows, of which 67200 are picked; some twice, some never.
        let picked: Vec<i32> = (0..700).map(|i| i * 131 % 600).collect();
        let x = leaf(&shared(), &[600, 24], DType::F32, 43);
        same(&device, &x, |x| op::index_select(x, &offsets(x.tensor.device(), &picked)).unwrap());
        // 48000 bytes of targets.
        let goals = leaf(&shared(), &[500, 24], DType::F32, 44);
        let rows: Vec<i32> = (0..600).map(|i| i * 7 % 500).collect();
        for p in [1.0, 2.0, 1.5] {
            same(&device, &x, |x| {
                let goals = moved(&goals, x.tensor.device());
                op::lp_loss(x, &goals, &offsets(x.tensor.device(), &rows), p, Some(1e-6)).unwrap()
            });
        }
        let goals = leaf(&shared(), &[600, 24], DType::F32, 45);
        same(&device, &x, |x| op::binary_cross_entropy(x, &moved(&goals, x.tensor.device()).tensor).unwrap());
        // 25600 bytes a sample.
        let x = leaf(&shared(), &[6, 1, 4, 40, 40], DType::F32, 46);
        same(&device, &x, |x| {
            let y = op::patchify(x, [2, 8, 8], None, &[], &[], DType::F32).unwrap();
            op::unary(&y, avjepa_tensor::backend::Unary::Square).unwrap()
        });
        // 450 of 300 tokens, 230400 bytes, of samples out of order.
        let picked: Vec<i32> = (0..450).map(|i| i * 131 % 300).collect();
        same(&device, &x, |x| {
            let rows = offsets(x.tensor.device(), &picked);
            let y = op::patchify(x, [2, 8, 8], Some(&rows), &[], &[], DType::F32).unwrap();
            op::unary(&y, avjepa_tensor::backend::Unary::Square).unwrap()
        });
        // Rows of an odd number of bfloat16: words of two samples.
        let x = leaf(&shared(), &[9, 1, 3, 33, 33], DType::F32, 47);
        let picked: Vec<i32> = (0..700).map(|i| i * 131 % 1089).collect();
        let draw = |device: &Arc<Device>| {
            let y = op::patchify(&moved(&x, device), [3, 3, 3], Some(&offsets(device, &picked)), &[], &[], DType::BF16);
            device.read_now(&y.unwrap().tensor).unwrap()
        };
        assert!(draw(&device) == draw(&shared()));
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn statistics_larger_than_a_binding() {
        let device = open("binding:28672");
        // 67200 bytes; the third sequence has 38400 of them, others none or one token.
        let x = leaf(&shared(), &[700, 24], DType::F32, 48);
        let lengths = [0, 0, 100, 500, 501, 501, 700];
        same(&device, &x, |x| op::segment_std(x, &offsets(x.tensor.device(), &lengths), 1e-4).unwrap());
        // 33600 bytes of deviations.
        let many: Vec<i32> = (0..=350).map(|i| 2 * i).collect();
        same(&device, &x, |x| op::segment_std(x, &offsets(x.tensor.device(), &many), 1e-4).unwrap());
        let knots: Vec<f64> = (1..=17).map(|i| f64::from(i) * 0.2).collect();
        same(&device, &x, |x| op::epps_pulley(x, &knots, &[0.1; 17]).unwrap());
        // 54400 bytes of means.
        let x = leaf(&shared(), &[40, 400], DType::F32, 49);
        same(&device, &x, |x| op::epps_pulley(x, &knots, &[0.1; 17]).unwrap());
    }

    /// Pieces of many tensors, over the ends of the staging buffer, from anywhere in their buffers.
    #[test]
    #[ignore = "needs a graphics adapter"]
    fn many_tensors_are_read_at_once() {
        // Of its own: its submissions are counted.
        let device = open("");
        let whole = Tensor::empty(&device, &[9_000_001], DType::U8);
        let bytes: Vec<u8> = (0..9_000_001u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        let (to, from) = (whole.clone(), bytes.clone());
        device.submit("upload", move |b| b.write(&to, &from));
        // 60 MB in all, of which no piece begins or ends at a word.
        let places: Vec<(usize, usize)> =
            (0..20).map(|i| (i * 37 + 1, 3_000_001 + i * 13)).chain([(5, 0), (8_999_999, 2)]).collect();
        let views = places.iter().map(|&(at, len)| whole.view(at, &[len]).unwrap()).collect();
        let before = device.backend().counters().submissions;
        let (send, receive) = mpsc::channel();
        device.read_all(views, move |result| send.send(result).unwrap());
        for ((at, len), got) in places.into_iter().zip(receive.recv().unwrap().unwrap()) {
            assert!(got == bytes[at..at + len], "{at} {len}");
        }
        assert_eq!(device.backend().counters().submissions - before, 2);
    }

    /// Every distribution at every seed and counter, of any length, anywhere in memory, in both types: the CPU's bytes.
    #[test]
    #[ignore = "needs a graphics adapter"]
    fn random_numbers_are_the_cpus() {
        let uniform = |low, high| Distribution::Uniform { low, high };
        let normal = |mean, std| Distribution::Normal { mean, std };
        let cut = |mean, std, low, high| Distribution::TruncatedNormal { mean, std, low, high };
        let distributions = [
            uniform(0.0, 1.0),
            uniform(-1e-3, 7.25),
            // Everything is rounded up to the limit, or to nothing.
            uniform(1.0, 1.0 + 1e-9),
            uniform(-1e-310, 1e-310),
            uniform(-1e-46, -1e-47),
            uniform(-1e300, 1e300),
            uniform(2.5, 2.5),
            normal(0.0, 1.0),
            normal(0.5, 0.02),
            normal(-3.0, 0.0),
            normal(0.0, 1e-40),
            normal(1e38, 1e38),
            cut(0.0, 0.02, -2.0, 2.0),
            cut(0.0, 1.0, -1.0, 2.0),
            cut(1.0, 0.5, 2.0, 2.5),
            cut(0.0, 1.0, 5.0, 6.0),
            cut(0.0, 1.0, 20.0, 21.0),
            cut(0.0, 1.0, -60.0, -38.0),
        ];
        let places = [
            (0, 0, 1021),
            (7, 5, 300),
            (u64::MAX, u64::from(u32::MAX) - 20, 200),
            (0x0123_4567_89ab_cdef, u64::MAX - 9, 71),
            (1 << 32, 1 << 63, 3),
            (3, 3, 1),
        ];
        for (d, distribution) in distributions.into_iter().enumerate() {
            for (i, (seed, counter, len)) in places.into_iter().enumerate() {
                for dtype in [DType::F32, DType::BF16] {
                    let offset = (d + i) % 6;
                    let draw = |device: &Arc<Device>| {
                        let whole = Tensor::zeros(device, &[len + 11], dtype);
                        let part = whole.view(offset, &[len]).unwrap();
                        device.submit("random", move |b| b.random(&part, distribution, seed, counter));
                        device.read_now(&whole).unwrap()
                    };
                    assert!(draw(&gpu()) == draw(&shared()), "{distribution:?} {seed} {counter} {len} {dtype}");
                }
            }
        }
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn random_numbers_larger_than_a_binding() {
        let device = open("binding:28672");
        let distribution = Distribution::TruncatedNormal { mean: 0.0, std: 0.02, low: -2.0, high: 2.0 };
        for dtype in [DType::F32, DType::BF16] {
            let draw = |device| op::random(device, &[30_001], dtype, distribution, 5, u64::MAX - 3).unwrap();
            let [got, expected] = [&device, &shared()].map(|device| device.read_now(&draw(device)).unwrap());
            assert!(got == expected, "{dtype}");
        }
    }

    /// Rows that are whole vectors of four and such that are not, of one thread's vectors and of several.
    #[test]
    #[ignore = "needs a graphics adapter"]
    fn layer_norms_are_the_cpus() {
        for columns in [7, 64, 258, 1500] {
            let x = leaf(&shared(), &[9, columns], DType::F32, 47);
            let [weight, bias] = [48, 49].map(|seed| leaf(&shared(), &[columns], DType::F32, seed));
            same(&gpu(), &x, |x| {
                let [weight, bias] = [&weight, &bias].map(|v| moved(v, x.tensor.device()));
                op::layer_norm(x, Some(&weight), Some(&bias), 1e-6, DType::F32).unwrap()
            });
        }
    }

    /// Of f32; any NaN is as good as another.
    fn bits(bytes: Vec<u8>) -> Vec<u32> {
        let words = bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()));
        words.map(|w| if f32::from_bits(w).is_nan() { f32::NAN.to_bits() } else { w }).collect()
    }

    /// Softmax, a loss over classes, a layer norm and reductions of rows of so many columns, and the sum of their gradients.
    fn of_rows(device: &Arc<Device>, columns: usize, special: bool) -> Vec<Vec<u32>> {
        let mut x: Vec<f32> = (0..3 * columns).map(|i| ((i * 37 % 101) as f32 / 25.0 - 2.0) * 1.1).collect();
        if special {
            x[columns - 1] = 90.0;
            x[2 * columns - 1] = f32::INFINITY;
            x[3 * columns - 1] = f32::NAN;
        }
        let bytes = x.iter().flat_map(|x| x.to_le_bytes()).collect();
        let x = Var::leaf(Tensor::from_bytes(device, &[3, columns], DType::F32, bytes).unwrap(), None).unwrap();
        let mut all = vec![];
        let softmax = op::softmax(&x).unwrap();
        let labels = common::indices(device, &[0, columns as i32 - 1, 0]);
        for y in [softmax, op::cross_entropy(&x, &labels, 0.1).unwrap()]
            .into_iter()
            .chain([op::layer_norm(&x, None, None, 1e-6, DType::F32).unwrap()])
            .chain([Reduction::Sum, Reduction::Max, Reduction::Min].map(|r| op::reduce(&x, &[1], false, r).unwrap()))
        {
            all.push(bits(device.read_now(&y.tensor).unwrap()));
            backward(&y).unwrap();
        }
        all.push(bits(grad_bytes(&x)));
        all
    }

    /// One order of sums: subgroups are a faster way to the same bits.
    #[test]
    #[ignore = "needs a graphics adapter"]
    fn rows_have_the_same_bits_without_subgroups() {
        let without = open("without:subgroups");
        for columns in [1, 7, 64, 257, 2049] {
            for special in [false, true] {
                let (a, b) = (of_rows(&gpu(), columns, special), of_rows(&without, columns, special));
                for (i, (a, b)) in a.iter().zip(&b).enumerate() {
                    assert!(a == b, "tensor {i} of rows of {columns}");
                }
            }
        }
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn a_run_is_bit_equal() {
        let run = || {
            let device = gpu();
            let block = Block::new(&shared(), 48, 3, DType::BF16, 5).map(|v| moved(v, &device));
            let x = moved(&leaf(&shared(), &[60, 48], DType::F32, 40), &device);
            backward(&block.forward(&x, &offsets(&device, &[0, 17, 60])).unwrap()).unwrap();
            block.parameters().map(grad_bytes).collect::<Vec<_>>()
        };
        assert!(run() == run());
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn bytes_at_any_place() {
        let device = gpu();
        for dtype in [DType::U8, DType::BF16, DType::I32, DType::I64] {
            let size = dtype.size();
            let whole = Tensor::zeros(&device, &[23], dtype);
            let bytes: Vec<u8> = (0..7 * size).map(|i| i as u8 + 1).collect();
            let (view, part) = (whole.view(5, &[7]).unwrap(), bytes.clone());
            let to = view.clone();
            device.submit("upload", move |b| b.write(&to, &part));
            assert_eq!(device.read_now(&view).unwrap(), bytes, "{dtype}");
            let mut expected = vec![0; 23 * size];
            expected[5 * size..12 * size].copy_from_slice(&bytes);
            assert_eq!(device.read_now(&whole).unwrap(), expected, "{dtype}");
        }
        assert_eq!(device.read_now(&Tensor::zeros(&device, &[0], DType::F32)).unwrap(), []);
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn float64_is_refused() {
        let device = open("");
        let x = Tensor::zeros(&device, &[2], DType::F64);
        let error = device.read_now(&x).expect_err("there is none");
        assert_eq!(error.code, Code::DType);
        assert!(error.message.contains("float64"), "{error}");
        assert!(error.hint.unwrap().contains("float32"));
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn memory_is_used_again() {
        let device = open("");
        let before = device.memory();
        for i in 0..20 {
            let x = leaf(&shared(), &[1000 + i, 100], DType::F32, 1);
            let x = moved(&x, &device);
            let y = op::unary(&x, avjepa_tensor::backend::Unary::Exp).unwrap();
            drop(values(&y.tensor));
        }
        settle(&device).unwrap();
        assert_eq!(device.memory().bytes, before.bytes);
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn no_room() {
        let device = open("memory:100000000");
        let kept = Tensor::full(&device, &[1000], DType::F32, 2.0);
        let large = Tensor::zeros(&device, &[40_000_000], DType::F32);
        let error = device.read_now(&large).expect_err("160 MB of 100");
        assert_eq!(error.code, Code::Memory);
        assert!(error.message.starts_with("fill: ") && error.message.contains("160000000 bytes"), "{error}");
        // What is there stays, and there is room for less.
        assert_eq!(values(&kept), [2.0; 1000]);
        assert_eq!(values(&Tensor::full(&device, &[3], DType::F32, 1.0)), [1.0; 3]);
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn a_lost_device() {
        let device = open("lost:2");
        let step = || values(&Tensor::full(&device, &[3], DType::F32, 1.0));
        assert_eq!([step(), step()], [[1.0; 3]; 2]);
        for _ in 0..2 {
            let x = Tensor::full(&device, &[3], DType::F32, 1.0);
            let error = device.read_now(&x).expect_err("it is gone");
            assert_eq!(error.code, Code::Device);
            assert!(error.message.contains("lost") && error.message.contains("wgpu:"), "{error}");
        }
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn a_refused_kernel() {
        let device = open("shader:unary");
        let x = Var::constant(Tensor::full(&device, &[3], DType::F32, 1.0));
        let y = op::unary(&x, avjepa_tensor::backend::Unary::Exp).unwrap();
        let error = device.read_now(&y.tensor).expect_err("it was refused");
        assert_eq!(error.code, Code::Device);
        assert!(error.message.starts_with("exp: ") && error.message.contains("unary.unary"), "{error}");
        assert_eq!(values(&x.tensor), [1.0; 3]);
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn indices_out_of_range() {
        let device = open("");
        let x = Var::constant(Tensor::full(&device, &[2, 3], DType::F32, 1.0));
        let y = op::index_select(&x, &offsets(&device, &[0, 2])).unwrap();
        let error = device.read_now(&y.tensor).expect_err("row 2 of 2");
        assert_eq!(error.code, Code::Argument);
        assert!(error.message.contains("row 1 is 2, but there are 2 to choose from"), "{error}");
    }

    #[test]
    #[ignore = "needs a graphics adapter"]
    fn names() {
        let error = Wgpu::open("wgpu:99", Faults::default()).err().expect("not so many");
        assert_eq!(error.code, Code::Device);
        assert!(error.message.starts_with("wgpu:99: there is no such adapter"), "{error}");
    }
}

/// Products by cooperative matrices beside those in registers, on one adapter. Where the adapter has them.
mod matrices {
    use super::*;

    fn by_matrices() -> Arc<Device> {
        let device = open("with:matrices");
        assert!(
            device.backend().describe().ends_with(", cooperative matrices"),
            "the adapter has none that multiply rightly"
        );
        device
    }

    fn product(device: &Arc<Device>, a: &[f32], b: &[f32], [m, n, k]: [usize; 3]) -> Vec<f32> {
        let of = |x: &[f32], shape: &[usize]| {
            let bytes = x.iter().flat_map(|x| x.to_le_bytes()).collect();
            Var::constant(Tensor::from_bytes(device, shape, DType::F32, bytes).unwrap())
        };
        // f32 of operands rounded to bfloat16: nothing but the order of the sum may differ.
        let y = op::linear(&of(a, &[m, k]), &of(b, &[n, k]), None, None, false, DType::BF16).unwrap().tensor;
        values(&y).into_iter().map(|y| y as f32).collect()
    }

    /// Layouts, epilogues, accumulation and stretches, where the sides are no whole tiles.
    #[test]
    #[ignore = "needs cooperative matrices"]
    fn a_block_is_the_cpus() {
        for compute in [DType::F32, DType::BF16] {
            let bound = if compute == DType::F32 { 1e-5 } else { 2.0 / 128.0 };
            for (i, apart) in beside(&by_matrices(), compute).into_iter().enumerate() {
                assert!(apart <= bound, "{compute}, tensor {i}: {apart:e}");
            }
        }
    }

    #[test]
    #[ignore = "needs cooperative matrices"]
    fn rows_of_very_different_magnitudes() {
        let [m, n, k] = [70, 41, 77];
        let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5;
        let a: Vec<f32> = (0..m * k).map(|i| noise(i) * 2f32.powi((i / k) as i32 % 7 * 18 - 60)).collect();
        let b: Vec<f32> = (0..n * k).map(|i| noise(i + 9) * 2f32.powi((i / k) as i32 % 5 * 14 - 20)).collect();
        let got = product(&by_matrices(), &a, &b, [m, n, k]);
        let wanted = product(&open("without:matrices"), &a, &b, [m, n, k]);
        // Results are bfloat16: a step of the last of its 8 bits, of the terms' sum.
        for (i, (g, w)) in got.iter().zip(&wanted).enumerate() {
            let scale: f32 = (0..k).map(|c| (a[i / n * k + c] * b[i % n * k + c]).abs()).sum();
            assert!((g - w).abs() <= scale / 256.0 && (w.abs() > 0.0), "element {i}: {g:e} for {w:e} of {scale:e}");
        }
    }

    #[test]
    #[ignore = "needs cooperative matrices"]
    fn what_is_not_finite_stays_so() {
        let [m, n, k] = [9, 7, 20];
        let mut a: Vec<f32> = (0..m * k).map(|i| (i * 37 % 19) as f32 - 9.0).collect();
        let mut b: Vec<f32> = (0..n * k).map(|i| (i * 29 % 23) as f32 - 11.0).collect();
        (a[3], a[k + 4], a[2 * k + 5], a[3 * k]) = (f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e6);
        (b[k + 3], b[2 * k + 1], b[3 * k + 2]) = (0.0, f32::INFINITY, -1e6);
        let got = product(&by_matrices(), &a, &b, [m, n, k]);
        let wanted = product(&open("without:matrices"), &a, &b, [m, n, k]);
        for (i, (g, w)) in got.iter().zip(&wanted).enumerate() {
            let same = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= w.abs() / 128.0;
            assert!(same, "row {}, column {}: {g} for {w}", i / n, i % n);
        }
    }
}
