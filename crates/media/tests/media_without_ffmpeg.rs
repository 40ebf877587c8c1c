//! What can be read where FFmpeg's library is absent. A test program of its own: the library is opened once a process.

mod media_common;

use avjepa_media::audio::{probe, read_audio_window};
use media_common::Folder;

#[test]
fn sound_files_are_read_and_films_name_the_remedy() {
    // SAFETY: the only test of this program, before anything else runs.
    unsafe { std::env::set_var("AVJEPA_MEDIA_LIB", "/nonexistent") };
    let folder = Folder::new();
    let tone = "-f lavfi -i sine=frequency=440:sample_rate=44100:duration=1";
    let cases = [
        ("a.wav", "", "wav"),
        ("a.flac", "-c:a flac", "flac"),
        ("a.aiff", "", "aiff"),
        ("a.caf", "-c:a pcm_s16le", "caf"),
        ("a.mp3", "-c:a libmp3lame", "mp3"),
        ("a.ogg", "-c:a libvorbis", "ogg"),
        // Named by what it is, not by its name.
        ("wave.mp4", "-f wav", "wav"),
    ];
    for (name, options, format) in cases {
        let path = folder.make(name, &format!("{tone} {options}"));
        let window = read_audio_window(&path, 0.25, 0.5, 16000).unwrap_or_else(|e| panic!("{e}")).expect("sound");
        assert_eq!((window.samples.len(), window.rate), (8000, 16000), "{name}");
        let loudest = window.samples.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
        assert!((loudest - 0.125).abs() < 0.01, "{name}: {loudest}");
        let info = probe(&path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((info.format.as_str(), info.sample_rate, info.channels), (format, 44100, 1), "{name}");
        assert!((info.duration_s - 1.0).abs() < 0.05, "{name}: {} s", info.duration_s);
    }
    let film = folder.make("a.mp4", &format!("{tone} -c:a aac"));
    for error in [probe(&film).unwrap_err(), read_audio_window(&film, 0.0, 1.0, 16000).unwrap_err()] {
        assert_eq!((error.code, error.path.as_deref()), ("AVJ_MEDIA_LIBRARY", Some(film.as_path())), "{error}");
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("apt-get install")), "{error}");
    }
}
