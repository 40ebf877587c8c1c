//! Turns what the bindings found out about the installed FFmpeg into configuration.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(coded_side_data)");
    // FFmpeg 6.1 moved a stream's side data (the display matrix) into its codec parameters.
    if std::env::var_os("DEP_FFMPEG_FFMPEG_6_1").is_some() {
        println!("cargo::rustc-cfg=coded_side_data");
    }
}
