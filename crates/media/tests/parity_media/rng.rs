//! Kind `rng`: the streams of torch, numpy, Python and the distributed sampler.

use avjepa_media::random::{NumpyRng, PythonRng, TorchRng, distributed_sampler};

use crate::fixture::{Case, Data, for_each_case, usize_of};

#[test]
fn streams_equal_the_reference() {
    for_each_case("rng", |case| match case.hyper()["library"].as_str().unwrap() {
        "torch" => torch(case),
        "numpy" => numpy(case),
        "python" => python(case),
        "distributed_sampler" => sampler(case),
        other => panic!("library {other}"),
    });
}

/// The two numbers at the end of a name such as `randint_m5_9` (m is minus).
fn bounds(name: &str) -> (i64, i64) {
    let mut parts = name.rsplit('_').map(|part| part.replace('m', "-").parse().unwrap());
    let high = parts.next().unwrap();
    (parts.next().unwrap(), high)
}

fn torch(case: &Case) {
    let seed = case.hyper()["seed"].as_u64().unwrap();
    for name in case.expected() {
        let mut rng = TorchRng::new(seed);
        let shape = case.shape(&name);
        let count = shape.iter().product::<usize>();
        let data = if name.starts_with("randint_") {
            let (low, high) = bounds(&name);
            Data::Int((0..count).map(|_| rng.randint(low, high)).collect())
        } else if name.starts_with("randperm_") {
            Data::Int(rng.randperm(count))
        } else if name == "mixed" {
            Data::Int([1, 10, 3, 9, 1, 1, 14, 2, 5, 7, 11, 4, 196, 24, 6, 8].map(|n| rng.randint(0, n)).to_vec())
        } else if name == "base_seed" {
            Data::Int((0..count).map(|_| rng.base_seed()).collect())
        } else if name == "uniform_m1_1" {
            Data::Float((0..count).map(|_| f64::from(rng.uniform(-1.0, 1.0))).collect())
        } else if name.starts_with("rand") {
            Data::Float((0..count).map(|_| f64::from(rng.rand())).collect())
        } else {
            panic!("tensor {name}")
        };
        case.check(&name, &shape, data);
    }
}

fn numpy(case: &Case) {
    let seed = u32::try_from(case.hyper()["seed"].as_u64().unwrap()).unwrap();
    for name in case.expected() {
        let mut rng = NumpyRng::new(seed);
        let shape = case.shape(&name);
        let count = shape.iter().product::<usize>();
        let data = match name.as_str() {
            "random16" => Data::Float((0..count).map(|_| rng.random()).collect()),
            "uniform_2_5" => Data::Float((0..count).map(|_| rng.uniform(2.0, 5.0)).collect()),
            "standard_normal16" => Data::Float((0..count).map(|_| rng.standard_normal()).collect()),
            "mixed" => {
                let mut values = Vec::new();
                for (low, high) in [(64, 300), (0, 10), (0, 3)] {
                    values.push(rng.randint(low, high) as f64);
                    values.push(rng.random());
                }
                Data::Float(values)
            }
            "shuffle_20z_9o" => {
                let mut values = [vec![0.0; 20], vec![1.0; 9]].concat();
                rng.shuffle(&mut values);
                Data::Float(values)
            }
            "permutation_30" => Data::Int(rng.permutation(30)),
            "choice_15_x8" => Data::Int(rng.choice(15, 8)),
            "choice_weighted_all_no_replace" => {
                let p: Vec<f64> = (1..=8).map(|i| f64::from(i) / 36.0).collect();
                Data::Int(rng.choice_weighted_without_replacement(&p, 8).unwrap())
            }
            _ if name.starts_with("randint_") => {
                let (low, high) = bounds(&name);
                Data::Int((0..count).map(|_| rng.randint(low, high)).collect())
            }
            _ => panic!("tensor {name}"),
        };
        case.check(&name, &shape, data);
    }
}

fn python(case: &Case) {
    let seed = case.hyper()["seed"].as_str().unwrap();
    for name in case.expected() {
        let mut rng = PythonRng::from_decimal(seed).unwrap();
        let shape = case.shape(&name);
        let count = shape.iter().product::<usize>();
        let data = match name.as_str() {
            "random16" => Data::Float((0..count).map(|_| rng.random()).collect()),
            "uniform_03_1" => Data::Float((0..count).map(|_| rng.uniform(0.3, 1.0)).collect()),
            "gauss_7_05" => Data::Float((0..count).map(|_| rng.gauss(7.0, 0.5)).collect()),
            "choice5" => Data::Int((0..count).map(|_| rng.below(5) as i64).collect()),
            "shuffle20" => {
                let mut values: Vec<i64> = (0..20).collect();
                rng.shuffle(&mut values);
                Data::Int(values)
            }
            "mixed" => {
                let mut values = vec![rng.uniform(0.3, 1.0), rng.uniform(-0.2, 0.3), rng.randint(0, 96) as f64];
                values.push(rng.gauss(7.0, 0.5));
                values.push(rng.random());
                values.push(rng.gauss(7.0, 0.5));
                values.push(rng.random());
                values.push(rng.gauss(7.0, 0.5));
                Data::Float(values)
            }
            _ if name.starts_with("randint_") => {
                let (low, high) = bounds(&name);
                Data::Int((0..count).map(|_| rng.randint(low, high)).collect())
            }
            _ => panic!("tensor {name}"),
        };
        case.check(&name, &shape, data);
    }
}

fn sampler(case: &Case) {
    for (i, entry) in case.hyper()["entries"].as_array().unwrap().iter().enumerate() {
        let number = |key: &str| usize_of(&entry[key]);
        for rank in 0..number("world") {
            let seed = number("seed") as u64;
            let order = distributed_sampler(number("n"), number("world"), rank, seed, number("epoch") as u64).unwrap();
            case.check(&format!("rank.{i}.{rank}"), &[order.len()], Data::Int(order));
        }
    }
}
