//! `card.json`: what a person wants to know of a model. This project's own, optional side-car to a diffusers pipeline.

use serde::{Deserialize, Serialize};

use crate::Result;

/// What a model is called, what its classes are, and whom to thank.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Card {
    /// The model's name.
    pub title: String,
    /// What it makes, in a line.
    pub description: String,
    /// A name for each class label, in order. Empty for a model without classes.
    pub class_names: Vec<String>,
    /// The label that means "no class".
    pub null_class: Option<usize>,
    /// The scale of classifier-free guidance to begin with.
    pub guidance: Option<f64>,
    /// Where the data come from.
    pub credits: String,
    /// The licence of the weights.
    pub licence: String,
}

impl Card {
    /// Reads a `card.json`.
    ///
    /// # Errors
    /// When it is not a JSON object, or one of these fields is of another type.
    pub fn from_json(json: &str) -> Result<Self> {
        let (card, _) = super::read("card.json", json, FIELDS, &[])?;
        Ok(card)
    }
}

const FIELDS: &[&str] = &["title", "description", "class_names", "null_class", "guidance", "credits", "licence"];
