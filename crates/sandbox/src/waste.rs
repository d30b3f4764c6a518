//! What a vision model can say of a photo: fourteen categories, and what is to be done with each.

use serde::Serialize;

/// A category of waste.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Category {
    /// Its name in an answer.
    pub(crate) name: &'static str,
    sub_category: &'static str,
    guidance: &'static str,
    recyclable: bool,
}

/// What a model answers.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    category: &'static str,
    sub_category: &'static str,
    confidence: f64,
    guidance: &'static str,
    recyclable: bool,
}

impl Category {
    /// The answer of this category.
    pub(crate) fn verdict(&'static self, confidence: f64) -> Verdict {
        let Self { name, sub_category, guidance, recyclable } = *self;
        Verdict { category: name, sub_category, confidence, guidance, recyclable }
    }

    /// The same in a sentence.
    pub(crate) fn sentence(&self, confidence: f64) -> String {
        format!("The photo shows {} (confidence {confidence}). {}", self.name, self.guidance)
    }
}

const fn category(
    name: &'static str,
    sub_category: &'static str,
    recyclable: bool,
    guidance: &'static str,
) -> Category {
    Category { name, sub_category, guidance, recyclable }
}

/// The categories that a colour stands for, in the order of the sectors of the hue circle.
pub(crate) static BY_HUE: [Category; 13] = [
    category("general", "mixed", false, "Put it into a bag for general waste."),
    category("paper", "cardboard", true, "Take off tape and labels, fold it flat and tie it up."),
    category("paperpack", "milk_carton", true, "Rinse it, open it, let it dry, and keep it apart from paper."),
    category("plastic", "container", true, "Empty and rinse it, and take off the label."),
    category("pet", "clear_bottle", true, "Empty it, take off the label, crush it and put the cap back on."),
    category("vinyl", "bag", true, "Shake out what is left in it and collect it in a clear bag."),
    category("styrofoam", "packing", true, "Take off tape and labels; coloured or dirty pieces are general waste."),
    category("glass", "bottle", true, "Empty and rinse it, and take off the cap."),
    category("can", "aluminium", true, "Empty, rinse and crush it."),
    category("battery", "dry_cell", true, "Bring it to a battery box; never put it into a bag."),
    category("clothes", "textile", true, "Dry clothes go into the box for clothes."),
    category("electronics", "small_appliance", true, "Bring it to a box for small appliances."),
    category("food", "leftovers", false, "Drain it and put it into the bin for food waste."),
];

/// What a photo without colour shows.
pub(crate) static UNKNOWN: Category =
    category("unknown", "unknown", false, "Take another photo, closer and in better light.");
