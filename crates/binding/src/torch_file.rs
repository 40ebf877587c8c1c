//! Files of torch.save: where their tensors lie, and the plain values around them.

use crate::media::promise;
use avjepa_media::error::MediaError;
use avjepa_pickle::TorchFile;
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;
use std::path::PathBuf;

/// Reads the object of a file of torch.save, without its tensors' values, as JSON: `{ tensors, root }`. Nothing in the file is
/// ever run.
#[napi(ts_return_type = "Promise<string>")]
pub fn torch_open(env: &Env, path: String) -> napi::Result<Object<'_>, String> {
    promise(env, move || {
        let path = PathBuf::from(path);
        TorchFile::open(&path).and_then(|file| file.to_json()).map_err(|error| {
            let message = format!("cannot read {}: {}", path.display(), error.message);
            MediaError { hint: error.hint, ..MediaError::new("AVJ_FOREIGN", message).with_path(&path) }
        })
    })
}
