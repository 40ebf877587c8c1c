//! Files that are no media, or not whole: one error that names the file and says what is wrong; never a hang.

mod media_common;

use avjepa_media::audio::{probe, read_audio_window};
use avjepa_media::error::MediaError;
use avjepa_media::video::{OpenOptions, VideoFile};
use media_common::Folder;
use std::path::Path;

/// What opening the picture and all frames, and reading all of the sound, answer.
fn read(path: &Path) -> (Result<usize, MediaError>, Result<Option<usize>, MediaError>) {
    let video = VideoFile::open(path, &OpenOptions::default()).and_then(|mut video| {
        let all: Vec<usize> = (0..video.pts().len()).collect();
        video.decode(&all).map(|frames| frames.count)
    });
    let sound = read_audio_window(path, 0.0, 100.0, 16000).map(|window| window.map(|window| window.samples.len()));
    (video, sound)
}

#[track_caller]
fn assert_says(error: &MediaError, path: &Path, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.code, "AVJ_MEDIA", "{text}");
    assert_eq!(error.path.as_deref(), Some(path), "{text}");
    assert!(words.iter().any(|word| text.contains(word)), "{text}: says none of {words:?}");
}

fn write(folder: &Folder, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.path(name);
    std::fs::write(&path, bytes).expect("a temporary file");
    path
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn what_is_no_media() {
    let folder = Folder::new();
    let text = "This is a text, not a film. ".repeat(500);
    let cases: [(&str, &[u8], &[&str]); 10] = [
        ("text.mp4", text.as_bytes(), &["not a media file, but text"]),
        ("text.wav", text.as_bytes(), &["not a"]),
        ("short.mp4", b"hello", &["not a"]),
        ("empty.mp4", b"", &["empty"]),
        ("empty.wav", b"", &["empty"]),
        ("noise.mp4", &noise(200_000), &["not a", "no ", "does not"]),
        ("noise.webm", &noise(50_000), &["not a", "no ", "does not"]),
        ("zeros.mp4", &[0; 100_000], &["not a", "no ", "does not"]),
        ("header.wav", b"RIFF\x24\0\0\0WAVE", &["not a", "no sound"]),
        (
            "list.m3u8",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
            &["not a"],
        ),
    ];
    for (name, bytes, words) in cases {
        let path = write(&folder, name, bytes);
        let (video, sound) = read(&path);
        assert_says(&video.expect_err(name), &path, &["not a", "empty", "no video", "nothing decodes", "no frame"]);
        // Noise may look like some container without an audio track.
        match sound {
            Ok(found) => assert!(found.is_none() && name.starts_with("noise"), "{name}: {found:?}"),
            Err(error) => assert_says(&error, &path, words),
        }
    }
    let missing = folder.path("missing.mp4");
    let (video, sound) = read(&missing);
    assert_says(&video.unwrap_err(), &missing, &["No such file", "no such file"]);
    assert_says(&sound.unwrap_err(), &missing, &["No such file", "no such file"]);
    assert_says(&probe(&missing).unwrap_err(), &missing, &["No such file", "no such file"]);
    let directory = folder.path(".").canonicalize().expect("the folder");
    assert_says(&read(&directory).1.unwrap_err(), &directory, &["is a folder"]);
}

const FILM: &str =
    "-f lavfi -i testsrc2=s=96x64:r=25:d=4 -f lavfi -i sine=frequency=440:sample_rate=44100:duration=4 -threads 1";

#[test]
fn what_is_cut_short() {
    let folder = Folder::new();
    let cases = [
        ("front.mp4", "-c:v mpeg4 -q:v 4 -c:a aac -movflags +faststart"),
        ("h264.mp4", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -movflags +faststart"),
        ("film.mkv", "-c:v mpeg4 -q:v 4 -c:a aac"),
        ("film.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus"),
        ("film.avi", "-c:v mpeg4 -q:v 4 -c:a libmp3lame"),
    ];
    for (name, options) in cases {
        let whole = std::fs::read(folder.make(name, &format!("{FILM} {options}"))).expect("just made");
        let path = write(&folder, &format!("cut-{name}"), &whole[..whole.len() * 2 / 5]);
        let (video, sound) = read(&path);
        assert_says(&video.expect_err(name), &path, &["the file ends after", "the file has no index"]);
        // A film's track without a length of its own just ends; the picture has told.
        if let Err(error) = sound {
            assert_says(&error, &path, &["the sound ends after"]);
        } else {
            assert!(!name.ends_with("mp4"), "{name}: {sound:?}");
        }
        // The part before the cut can be had.
        let window = read_audio_window(&path, 0.2, 0.5, 16000).unwrap_or_else(|e| panic!("{e}")).expect("a track");
        assert_eq!(window.samples.len(), 8000, "{name}");
    }
    // The index stands at the end, and is gone.
    let whole =
        std::fs::read(folder.make("back.mp4", &format!("{FILM} -c:v mpeg4 -q:v 4 -c:a aac"))).expect("just made");
    let path = write(&folder, "no-moov.mp4", &whole[..whole.len() * 2 / 3]);
    let (video, sound) = read(&path);
    for error in [video.unwrap_err(), sound.unwrap_err(), probe(&path).unwrap_err()] {
        assert_says(&error, &path, &["moov atom not found"]);
    }
    for (name, options) in [
        ("a.wav", ""),
        ("a.flac", "-c:a flac"),
        ("a.mp3", "-c:a libmp3lame"),
        ("a.m4a", "-c:a aac -movflags +faststart"),
    ] {
        let source = "-f lavfi -i sine=frequency=440:sample_rate=44100:duration=4";
        let whole = std::fs::read(folder.make(name, &format!("{source} {options}"))).expect("just made");
        let path = write(&folder, &format!("cut-{name}"), &whole[..whole.len() * 2 / 5]);
        assert_says(&read(&path).1.expect_err(name), &path, &["the sound ends after 1."]);
        assert_says(&read_audio_window(&path, 3.0, 0.5, 16000).expect_err(name), &path, &["the sound ends after"]);
        let window = read_audio_window(&path, 0.2, 0.5, 16000).unwrap_or_else(|e| panic!("{e}")).expect("a track");
        assert_eq!(window.samples.len(), 8000, "{name}");
    }
}

#[test]
fn tracks_without_anything_in_them() {
    let folder = Folder::new();
    let silent = "-f lavfi -i color=gray:s=32x32:r=25:d=1";
    // Declared, without a packet.
    let none = "-f lavfi -i anullsrc=r=44100:d=0.5 -af atrim=start=3";
    let path = folder.make("no-sound.mp4", &format!("{silent} {none} -c:v mpeg4 -c:a aac"));
    let (video, sound) = read(&path);
    assert_eq!(video, Ok(25));
    match sound {
        Ok(found) => assert_eq!(found, None),
        Err(error) => assert_says(&error, &path, &["audio track is empty"]),
    }
    let path = folder.make("no-frames.mp4", "-f lavfi -i color=gray:s=32x32:r=25:d=1 -vf trim=start=3 -c:v mpeg4");
    let (video, sound) = read(&path);
    assert_says(&video.unwrap_err(), &path, &["no video", "no frames", "nothing decodes"]);
    assert!(sound.is_err() || sound == Ok(None), "{sound:?}");
    let path = folder.make("empty.wav", "-f lavfi -i anullsrc=r=44100:d=0.5 -af atrim=start=3");
    assert_says(&read(&path).1.unwrap_err(), &path, &["holds no sound", "not a"]);
}

#[test]
fn an_aiff_that_is_cut_short_is_not_opened() {
    let folder = Folder::new();
    let whole = std::fs::read(folder.make("a.aiff", "-f lavfi -i sine=duration=2")).expect("just made");
    let path = write(&folder, "cut.aiff", &whole[..whole.len() / 2]);
    assert_says(&read(&path).1.unwrap_err(), &path, &["cut short"]);
}

/// The bytes of all samples are replaced by noise; the container is whole.
#[test]
fn tracks_of_noise() {
    let folder = Folder::new();
    let film = "-f lavfi -i testsrc2=s=96x64:r=25:d=2 -f lavfi -i sine=frequency=440:duration=2 -threads 1";
    for (name, options) in
        [("a.mp4", "-c:v mpeg4 -q:v 4 -c:a aac"), ("b.mp4", "-c:v libx264 -preset ultrafast -c:a ac3")]
    {
        let mut bytes = std::fs::read(folder.make(name, &format!("{film} {options}"))).expect("just made");
        let at = bytes.windows(4).position(|tag| tag == b"mdat").expect("the samples");
        let size = u32::from_be_bytes(bytes[at - 4..at].try_into().expect("4")) as usize;
        let end = (at - 4 + size).min(bytes.len());
        let noise = noise(end - at - 4);
        bytes[at + 4..end].copy_from_slice(&noise);
        let path = write(&folder, &format!("noise-{name}"), &bytes);
        let (video, sound) = read(&path);
        assert_says(&video.expect_err(name), &path, &["decode"]);
        // A decoder may make sound of some noise.
        if let Err(error) = sound {
            assert_says(&error, &path, &["does not decode", "sample rate changes"]);
        }
    }
}

/// Flipped bits anywhere: an error or a result, never a panic or a hang.
#[test]
fn damage_anywhere_is_survived() {
    let folder = Folder::new();
    let film = "-f lavfi -i testsrc2=s=48x32:r=25:d=0.6 -f lavfi -i sine=frequency=440:duration=0.6 -threads 1";
    let cases = [
        ("a.mp4", format!("{film} -c:v libx264 -preset ultrafast -c:a aac")),
        ("a.webm", format!("{film} -c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus")),
        ("a.avi", format!("{film} -c:v mpeg4 -c:a libmp3lame")),
        ("a.mp3", "-f lavfi -i sine=duration=0.6 -c:a libmp3lame".to_owned()),
        ("a.ogg", "-f lavfi -i sine=duration=0.6 -c:a libvorbis".to_owned()),
        ("a.flac", "-f lavfi -i sine=duration=0.6 -c:a flac".to_owned()),
        ("a.wav", "-f lavfi -i sine=duration=0.6".to_owned()),
    ];
    for (name, options) in cases {
        let whole = std::fs::read(folder.make(name, &options)).expect("just made");
        let places = noise(8 * 40);
        for (turn, seed) in places.chunks_exact(8).enumerate() {
            let mut bytes = whole.clone();
            // Half of them in the headers.
            let span = if turn % 2 == 0 { bytes.len() } else { bytes.len().min(600) };
            for pair in seed.chunks_exact(2) {
                let place = usize::from(u16::from_be_bytes([pair[0], pair[1]])) * span / 65536;
                bytes[place] ^= pair[1] | 1;
            }
            let path = write(&folder, &format!("damaged-{name}"), &bytes);
            let (video, sound) = read(&path);
            for error in [video.err(), sound.err(), probe(&path).err()].into_iter().flatten() {
                assert_says(&error, &path, &[""]);
            }
        }
    }
}
