use avjepa_media::transform::*;
use avjepa_media::spectrogram::*;
use avjepa_media::random::*;
use std::time::Instant;
fn main() {
    let data: Vec<u8> = (0..16*240*320*3).map(|i| (i * 7919 % 251) as u8).collect();
    let f = Frames::new(&data, 16, 240, 320).unwrap();
    let b = [CropBox { top: 10, left: 20, height: 200, width: 260 }];
    let mut u = vec![0u8; 16*224*224*3];
    let mut x = vec![0f32; 16*224*224*3];
    let best = |f: &mut dyn FnMut()| { (0..20).map(|_| { let t = Instant::now(); f(); t.elapsed().as_secs_f64()*1e3 }).fold(1e9, f64::min) };
    eprintln!("u8 {:.3} ms", best(&mut || crop_resize_u8(f, &b, [224,224], true, &mut u).unwrap()));
    eprintln!("f32 {:.3} ms", best(&mut || crop_resize_f32(f, &b, [224,224], true, &Normalisation::default(), &mut x).unwrap()));
    let ra = RandAugment { probability: 1.0, ..Default::default() };
    for k in 0..15 { let op = RAND_AUGMENT_OPS[k].at_level(7.0, || false); let mut d = data.clone();
      eprintln!("{op:?} {:.3} ms", best(&mut || for fr in d.chunks_exact_mut(240*320*3) { op.apply(fr, 240, 320, [128;3]) })); }
    let _ = ra;
    let s = StandardSpectrogram::new(128, AUDIOSET_MEAN, AUDIOSET_STD).unwrap();
    let audio: Vec<f32> = (0..33520).map(|n| (n as f32*0.1).sin()).collect();
    eprintln!("standard {:.3} ms", best(&mut || { s.normalised(&audio, 208).unwrap(); }));
    eprintln!("reference {:.3} ms", best(&mut || { reference_spectrogram(&audio, 16000.0).unwrap(); }));
    use avjepa_media::mask::*;
    let m = UnbiasedMasks::new(vec![MaskConfig::default(); 2], MaskGrid{video: Some([8,14,14]), audio: Some(AudioGrid::new(8,13))}).unwrap();
    eprintln!("masks {:.4} ms", best(&mut || { m.sample(SampleAddress{seed:0,pass:0,index:0,clip:0}, Presence{video:true,audio_cols:13}).unwrap(); }));
    let mut c = ClipTransform::default(); c.size=[224,224];
    let mut r = SampleRng::new(0,0,0,Purpose::Clip);
    eprintln!("clip {:.3} ms", best(&mut || c.apply_u8(f, &mut r, &mut u).unwrap()));
}
