//! Kind `transforms`: boxes, 8-bit image operations, whole pipelines.

use avjepa_media::random::PythonRng;
use avjepa_media::transform::{
    AUTO_AUGMENT_FILL, AUTO_AUGMENT_POLICY, ClipTransform, CropBox, Draws, Frames, ImageOp, ImageTransform,
    Normalisation, PilFilter, RAND_AUGMENT_OPS, RandAugment, RandomErasing, ReferenceDraws, center_crop,
    crop_resize_f32, evaluation_views, normalise, pil_resize, random_resized_crop, resize_image, resize_video,
};
use serde_json::Value;

use crate::fixture::{Case, Data, f64_pair, for_each_case, usize_of};

#[test]
fn transforms_equal_the_reference() {
    for_each_case("transforms", |case| match case.hyper()["op"].as_str().unwrap() {
        "crop_bilinear_normalise" => crop_bilinear_normalise(case),
        "crop_boxes" => crop_boxes(case),
        "erasing_boxes" => erasing_boxes(case),
        "randaugment_ops" => rand_augment_ops(case),
        "autoaugment_ops" => auto_augment_ops(case),
        "cv2_short_side_center_crop" | "pil_short_side_center_crop" => short_side_center_crop(case),
        "pil_resize" => resize(case),
        "pipeline" => match case.hyper()["pipeline"].as_str().unwrap() {
            "pretrain" | "eval_train" => clip(case),
            "eval_val" => views(case),
            "image_train" => image_train(case),
            other => panic!("pipeline {other}"),
        },
        other => panic!("operation {other}"),
    });
}

fn frames<'a>(case: &Case, name: &str, data: &'a [u8]) -> Frames<'a> {
    let shape = case.shape(name);
    Frames::new(data, shape[0], shape[1], shape[2]).unwrap()
}

fn crop_bilinear_normalise(case: &Case) {
    let hyper = case.hyper();
    let normal = normalisation(hyper);
    let size = [usize_of(&hyper["out"][0]), usize_of(&hyper["out"][1])];
    let data = case.u8("frames");
    let frames = frames(case, "frames", &data);
    for (k, sides) in hyper["boxes_ijhw"].as_array().unwrap().iter().enumerate() {
        let [top, left, height, width] = std::array::from_fn(|i| usize_of(&sides[i]));
        let mut out = vec![0.0; 3 * frames.count * size[0] * size[1]];
        let crop = CropBox { top, left, height, width };
        crop_resize_f32(frames, &[crop], size, false, &normal, &mut out).unwrap();
        case.check(&format!("out.{k}"), &[3, frames.count, size[0], size[1]], out.as_slice().into());
    }
}

fn sides(crop: CropBox) -> [i64; 4] {
    [crop.top, crop.left, crop.height, crop.width].map(|side| side as i64)
}

fn crop_boxes(case: &Case) {
    let hyper = case.hyper();
    let (scale, ratio) = (f64_pair(&hyper["scale"]), f64_pair(&hyper["ratio"]));
    let entries = hyper["entries"].as_array().unwrap();
    let boxes = entries.iter().map(|entry| {
        let number = |key: &str| usize_of(&entry[key]);
        let mut draws = ReferenceDraws::new(number("python_seed") as u64, number("numpy_seed") as u32, 0);
        sides(random_resized_crop(number("height"), number("width"), scale, ratio, &mut draws))
    });
    case.check("boxes", &[entries.len(), 4], Data::Int(boxes.flatten().collect()));
}

fn erasing_boxes(case: &Case) {
    let hyper = case.hyper();
    let number = |key: &str| hyper[key].as_f64().unwrap();
    let erasing = RandomErasing {
        probability: number("probability"),
        area: [number("min_area"), number("max_area")],
        min_aspect: number("min_aspect"),
        ..RandomErasing::new(0.0)
    };
    let entries = hyper["entries"].as_array().unwrap();
    let boxes = entries.iter().map(|entry| {
        let number = |key: &str| usize_of(&entry[key]);
        let mut draws = ReferenceDraws::new(0, 0, 0);
        draws.python = PythonRng::new(number("python_seed") as u64);
        erasing.rectangle(number("height"), number("width"), &mut draws).map_or([-1; 4], sides)
    });
    case.check("boxes", &[entries.len(), 4], Data::Int(boxes.flatten().collect()));
}

fn rand_augment_ops(case: &Case) {
    let fill = std::array::from_fn(|i| usize_of(&case.hyper()["fill"][i]) as u8);
    let shape = case.shape("image");
    for entry in case.hyper()["entries"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let kind = RAND_AUGMENT_OPS.into_iter().find(|op| format!("{op:?}") == name).unwrap();
        let op = kind.at_level(entry["level"].as_f64().unwrap(), || entry["sign"] == -1);
        assert_eq!(argument(op), entry["args"][0].as_f64(), "{name}");
        let mut image = case.u8("image");
        op.apply(&mut image, shape[0], shape[1], fill);
        case.check(entry["tensor"].as_str().unwrap(), &shape, image.as_slice().into());
    }
}

fn auto_augment_ops(case: &Case) {
    let shape = case.shape("image");
    let ops = AUTO_AUGMENT_POLICY.concat();
    for entry in case.hyper()["entries"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let (kind, ..) = ops.iter().find(|(op, ..)| format!("{op:?}") == name).unwrap();
        let op = kind.at_magnitude(usize_of(&entry["magnitude"]) as u8, || entry["sign"] == -1);
        assert_eq!(argument(op), entry["args"][0].as_f64(), "{name}");
        let mut image = case.u8("image");
        op.apply(&mut image, shape[0], shape[1], AUTO_AUGMENT_FILL);
        case.check(entry["tensor"].as_str().unwrap(), &shape, image.as_slice().into());
    }
}

fn normalisation(hyper: &Value) -> Normalisation {
    let triple = |key: &str| std::array::from_fn(|i| hyper[key][i].as_f64().unwrap() as f32);
    Normalisation { mean: triple("mean"), std: triple("std") }
}

fn short_side_center_crop(case: &Case) {
    let hyper = case.hyper();
    let (short, crop) = (usize_of(&hyper["short_side"]), usize_of(&hyper["crop"]));
    let image = case.u8("image");
    let shape = case.shape("image");
    let (resized, [height, width]) = if hyper["op"] == "cv2_short_side_center_crop" {
        resize_video(Frames::new(&image, 1, shape[0], shape[1]).unwrap(), short)
    } else {
        resize_image(&image, [shape[0], shape[1]], short)
    };
    case.check("resized", &[height, width, 3], resized.as_slice().into());
    let cropped = center_crop(Frames::new(&resized, 1, height, width).unwrap(), crop).unwrap();
    case.check("cropped", &[crop, crop, 3], cropped.as_slice().into());
    if case.has("out") {
        let normal = normalise(Frames::new(&cropped, 1, crop, crop).unwrap(), &normalisation(hyper));
        case.check("out", &[3, crop, crop], normal.as_slice().into());
    }
}

fn resize(case: &Case) {
    let hyper = case.hyper();
    let filter = match hyper["filter"].as_str().unwrap() {
        "bilinear" => PilFilter::Bilinear,
        "bicubic" => PilFilter::Bicubic,
        other => panic!("filter {other}"),
    };
    let shape = case.shape("image");
    let size = [usize_of(&hyper["out"][0]), usize_of(&hyper["out"][1])];
    let out = pil_resize(&case.u8("image"), [shape[0], shape[1]], size, filter);
    case.check("out", &[size[0], size[1], 3], out.as_slice().into());
}

fn argument(op: ImageOp) -> Option<f64> {
    match op {
        ImageOp::AutoContrast | ImageOp::Equalize | ImageOp::Invert => None,
        ImageOp::Posterize(bits) => Some(f64::from(bits)),
        ImageOp::Solarize(n) | ImageOp::SolarizeAdd(n) => Some(f64::from(n)),
        ImageOp::Rotate(x) | ImageOp::Color(x) | ImageOp::Contrast(x) | ImageOp::Brightness(x) => Some(x),
        ImageOp::Sharpness(x) | ImageOp::ShearX(x) | ImageOp::ShearY(x) => Some(x),
        ImageOp::TranslateX(x) | ImageOp::TranslateY(x) => Some(x),
    }
}

fn clip_transform(hyper: &Value) -> ClipTransform {
    let on = |key: &str| hyper[key].as_bool().unwrap_or(false);
    let reprob = hyper["reprob"].as_f64().unwrap_or(0.0);
    ClipTransform {
        size: [usize_of(&hyper["crop_size"]); 2],
        scale: f64_pair(&hyper["random_resize_scale"]),
        ratio: f64_pair(&hyper["random_resize_aspect_ratio"]),
        flip: if hyper["random_horizontal_flip"] == false { 0.0 } else { 0.5 },
        motion_shift: on("motion_shift"),
        rand_augment: on("auto_augment").then(RandAugment::default),
        erasing: (reprob > 0.0).then(|| RandomErasing::new(reprob)),
        ..ClipTransform::default()
    }
}

fn draws(hyper: &Value) -> impl Draws {
    let seed = |key: &str| hyper[key].as_u64().unwrap_or(0);
    ReferenceDraws::new(seed("python_seed"), seed("numpy_seed") as u32, seed("torch_seed"))
}

fn clip(case: &Case) {
    let transform = clip_transform(case.hyper());
    let data = case.u8("frames");
    let frames = frames(case, "frames", &data);
    let [height, width] = transform.size;
    let mut out = vec![0.0; 3 * frames.count * height * width];
    transform.apply_f32(frames, &mut draws(case.hyper()), &mut out).unwrap();
    case.check("out.0", &[3, frames.count, height, width], out.as_slice().into());
}

fn views(case: &Case) {
    let hyper = case.hyper();
    let crop = usize_of(&hyper["crop_size"]);
    let data = case.u8("frames");
    let frames = frames(case, "frames", &data);
    let views = evaluation_views(frames, crop, usize_of(&hyper["num_views_per_clip"])).unwrap();
    assert_eq!(views.len(), case.expected().len());
    for (i, view) in views.iter().enumerate() {
        let normal = normalise(Frames::new(view, frames.count, crop, crop).unwrap(), &Normalisation::default());
        case.check(&format!("out.{i}"), &[3, frames.count, crop, crop], normal.as_slice().into());
    }
}

fn image_train(case: &Case) {
    let hyper = case.hyper();
    let crop = usize_of(&hyper["crop_size"]);
    let shape = case.shape("image");
    let transform = ImageTransform {
        crop,
        scale: f64_pair(&hyper["scale"]),
        ratio: f64_pair(&hyper["ratio"]),
        erasing: None,
        normal: normalisation(hyper),
    };
    let out = transform.apply(&case.u8("image"), [shape[0], shape[1]], &mut draws(hyper)).unwrap();
    case.check("out.0", &[3, crop, crop], out.as_slice().into());
}
