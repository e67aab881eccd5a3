//! The JSON files of a diffusers pipeline: what a model and its scheduler are.
//!
//! Defaults are diffusers' own. A missing key takes the default, which for some fields is not what `null` means.

mod card;
mod classifier;
mod field;
mod model_index;
mod scheduler;
mod unet;

pub use card::Card;
pub(crate) use classifier::GROUPS;
pub use classifier::{AttentionResolutions, ClassifierConfig, Pool};
pub use model_index::ModelIndex;
pub use scheduler::{
    AlgorithmType, BetaSchedule, Family, FinalSigmasType, InterpolationType, PredictionType, SchedulerConfig,
    SchedulerFile, SchedulerKind, SigmaSchedule, SolverType, TimestepSpacing, TimestepType, VarianceType,
};
pub(crate) use unet::ncsnpp_groups;
pub use unet::{
    ClassEmbedType, DownBlockType, MidBlockType, ResampleType, TimeEmbeddingType, TimeScaleShift, UNetConfig,
    UpBlockType,
};

use field::Field;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// Reads `json` as a `T` of the fields that are in `known`, or have old names of those; and the names of the others, which
/// are passed over as diffusers does. Keys that start with an underscore are its notes to itself.
fn read<T: DeserializeOwned>(
    file: &'static str,
    json: &str,
    known: &[&str],
    old_names: &[(&str, &str)],
) -> Result<(T, Vec<String>)> {
    let mut object = object(file, json)?;
    for &(old, new) in old_names {
        if let Some(value) = object.remove(old) {
            object.entry(new).or_insert(value);
        }
    }
    let mut unknown: Vec<String> = object.keys().filter(|key| !key.starts_with('_')).cloned().collect();
    unknown.retain(|key| !known.contains(&&key[..]));
    unknown.iter().for_each(|key| drop(object.remove(key)));
    Ok((parse(file, object)?, unknown))
}

/// A JSON object.
type Object = serde_json::Map<String, serde_json::Value>;

/// Reads `json` as an object. An editor of Windows may have put a byte order mark before it.
fn object(file: &'static str, json: &str) -> Result<Object> {
    let json = json.trim_start_matches('\u{feff}');
    let mut read = serde_json::from_str(json);
    if read.is_err() {
        // Python writes numbers that JSON does not have. Outside of strings they become strings.
        let mut outside = true;
        let quoted = |part: &str| {
            let numbers = outside;
            outside = !outside && !part.ends_with('\\');
            match numbers {
                true => part
                    .replace("Infinity", "\"Infinity\"")
                    .replace("-\"Infinity\"", "\"-Infinity\"")
                    .replace("NaN", "\"NaN\""),
                false => part.to_string(),
            }
        };
        let parts: Vec<String> = json.split('"').map(quoted).collect();
        read = serde_json::from_str(&parts.join("\"")).or(read);
    }
    read.map_err(|error| Error::Config {
        file,
        problem: format!("this is not a JSON object: {error}. It may be cut off or damaged."),
    })
}

/// Reads an object as a `T`, and says which field is wrong.
fn parse<T: DeserializeOwned>(file: &'static str, object: Object) -> Result<T> {
    let parse = |object| T::deserialize(Field(serde_json::Value::Object(object)));
    parse(object.clone()).map_err(|error| {
        // serde does not say which field it was, but every field by itself is a configuration too.
        let alone = |(key, value): (&String, &serde_json::Value)| {
            let mut object = Object::new();
            object.insert(key.clone(), value.clone());
            let error = parse(object).err()?;
            Some(format!("{key} is {value}, which is not supported: {error}."))
        };
        let problem = object.iter().find_map(alone).unwrap_or_else(|| format!("{error}."));
        Error::Config { file, problem }
    })
}
