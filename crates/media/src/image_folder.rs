//! Folders of class folders: which pictures there are, and their classes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{MediaError, Result};
use crate::image_file::IMAGE_EXTENSIONS;
use crate::sample::Sample;

const CODE: &str = "AVJ_INDEX";

/// The pictures of a folder, class by class, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageFolder {
    /// Names of the classes; a label is a place among them.
    pub classes: Vec<String>,
    pub samples: Vec<Sample>,
    /// What the user should know, a line each.
    pub notices: Vec<String>,
}

impl ImageFolder {
    /// Each folder in `root` is a class, labelled by its place in alphabetical order (or in `classes`, the training set's);
    /// pictures are looked for at any depth. Hidden files are left out.
    ///
    /// # Errors
    /// `AVJ_INDEX`: no folder, no class folders, a class without pictures, or a class that `classes` lacks.
    pub fn read(root: &Path, classes: Option<&[String]>) -> Result<Self> {
        let name = root.display();
        let wrong = |message: String, hint: &str| Err(MediaError::new(CODE, message).with_hint(hint));
        if !root.is_dir() {
            return wrong(
                format!("there is no folder {name}"),
                "it must have a folder for each class, with its pictures in it",
            );
        }
        let folders = entries(root)?.into_iter().filter(|(_, path)| path.is_dir()).collect::<Vec<_>>();
        if folders.is_empty() {
            return wrong(
                format!("{name} has no class folders"),
                "it must have a folder for each class, with its pictures in it",
            );
        }
        let own: Vec<String> = folders.iter().map(|(name, _)| name.clone()).collect();
        let known = classes.unwrap_or(&own);
        let strange: Vec<&str> = own.iter().filter(|class| !known.contains(class)).map(String::as_str).collect();
        if !strange.is_empty() {
            return wrong(
                format!("{name} has classes that the training set lacks: {}", listed(&strange)),
                "train and test folders must have the same class names; remove these, or add them to the training set",
            );
        }
        let (mut found, mut empty, mut others) = (Self { classes: known.to_vec(), ..Self::default() }, Vec::new(), 0);
        for (class, folder) in &folders {
            let label = known.iter().position(|known| known == class).unwrap_or_default() as i32;
            let before = found.samples.len();
            others += walk(folder, &mut Vec::new(), &mut |path| found.samples.push(Sample { path, label }))?;
            if found.samples.len() == before {
                empty.push(class.as_str());
            }
        }
        if !empty.is_empty() && (classes.is_none() || found.samples.is_empty()) {
            return wrong(
                format!("{name} has classes without a picture: {}", listed(&empty)),
                "put pictures (JPEG, PNG, WebP, BMP, GIF) there, or remove the folders: they would shift the labels",
            );
        }
        if !empty.is_empty() {
            found.notices.push(format!("{name} has no pictures of {} classes: {}", empty.len(), listed(&empty)));
        }
        let absent: Vec<&str> = known.iter().filter(|class| !own.contains(class)).map(String::as_str).collect();
        if !absent.is_empty() {
            found.notices.push(format!("{name} lacks {} classes: {}", absent.len(), listed(&absent)));
        }
        if others > 0 {
            found.notices.push(format!("{name} has {others} files that are no pictures by their names"));
        }
        Ok(found)
    }
}

/// Names and paths in a folder, in the order of their bytes; hidden ones are left out.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = |error: std::io::Error| MediaError::new(CODE, format!("cannot read {}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push((name, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Gives the pictures below a folder, those in it first; a link to a folder above is not followed. The number of other files.
fn walk(folder: &Path, above: &mut Vec<PathBuf>, picture: &mut impl FnMut(PathBuf)) -> Result<usize> {
    let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
    if above.contains(&real) {
        return Ok(0);
    }
    let (folders, files): (Vec<_>, Vec<_>) = entries(folder)?.into_iter().partition(|(_, path)| path.is_dir());
    let mut others = 0;
    for (_, path) in files {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if IMAGE_EXTENSIONS.contains(&ending.as_str()) {
            picture(path);
        } else {
            others += 1;
        }
    }
    above.push(real);
    for (_, path) in folders {
        others += walk(&path, above, picture)?;
    }
    above.pop();
    Ok(others)
}

fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, files: &[&str]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("avjepa-images-{name}-{}", std::process::id()));
        fs::remove_dir_all(&root).unwrap_or_default();
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if !file.ends_with('/') {
                fs::write(path, b"x").unwrap();
            } else {
                fs::create_dir_all(path).unwrap();
            }
        }
        root
    }

    #[test]
    fn classes_are_folders_in_order() {
        let root = folder("order", &["b/2.JPEG", "b/1.png", "a/deep/x.webp", "a/y.jpg", "a/.z.jpg", "a/notes.txt"]);
        let found = ImageFolder::read(&root, None).unwrap();
        assert_eq!(found.classes, ["a", "b"]);
        let names: Vec<(String, i32)> = found
            .samples
            .iter()
            .map(|s| (s.path.strip_prefix(&root).unwrap().display().to_string(), s.label))
            .collect();
        let expected = [("a/y.jpg", 0), ("a/deep/x.webp", 0), ("b/1.png", 1), ("b/2.JPEG", 1)];
        assert_eq!(names, expected.map(|(name, label)| (name.to_owned(), label)));
        assert!(found.notices[0].contains("1 files that are no pictures"));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn labels_are_those_of_the_training_set() {
        let root = folder("known", &["b/1.png", "a/"]);
        let classes = ["a", "b", "c"].map(str::to_owned);
        let found = ImageFolder::read(&root, Some(&classes)).unwrap();
        assert_eq!((found.samples.len(), found.samples[0].label), (1, 1));
        assert!(found.notices[0].contains("no pictures of 1 classes: a"), "{:?}", found.notices);
        assert!(found.notices[1].contains("lacks 1 classes: c"));
        let error = ImageFolder::read(&root, Some(&classes[..1])).unwrap_err();
        assert!(error.message.contains("the training set lacks: b"), "{}", error.message);
        let error = ImageFolder::read(&root, None).unwrap_err();
        assert!(error.message.contains("classes without a picture: a"), "{}", error.message);
        assert!(ImageFolder::read(&root.join("b"), None).unwrap_err().message.contains("no class folders"));
        assert!(ImageFolder::read(&root.join("c"), None).unwrap_err().message.contains("there is no folder"));
        fs::remove_dir_all(root).unwrap();
    }
}
