//! Places on the globe: how far they are from each other, and the grid that answers are kept by.
//!
//! The grid has rows of 0.00045° (50 m) from the south pole to the north pole. A row is cut into as many equal cells as have fifty
//! metres at its middle, one at least, so cells are nearly square everywhere, the last one of a row ends where the first begins
//! (180° and -180° are one meridian), and a pole is a few cells and no division by nought.

use serde::{Deserialize, Serialize};

/// Mean radius of the earth, in metres.
const EARTH_M: f64 = 6_371_008.8;
/// Metres of a degree on a great circle.
const DEGREE_M: f64 = EARTH_M * std::f64::consts::PI / 180.0;
/// Degrees of a row.
const STEP: f64 = 0.000_45;
/// Rows from pole to pole.
const ROWS: f64 = 400_000.0;
/// Nobody is further from the middle of their cell, in metres: 36, but for the three cells around a pole.
pub const REACH_M: u32 = 44;

/// A place: degrees, north and east positive. Always on the globe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// -90 to 90.
    pub lat: f64,
    /// -180 to 180.
    pub lng: f64,
}

impl Point {
    /// The place; none that is not on the globe, or no number.
    #[must_use]
    pub fn new(lat: f64, lng: f64) -> Option<Self> {
        // Neither holds for what is no number.
        ((-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lng)).then_some(Self { lat, lng })
    }

    /// How far `other` is along the surface, in metres (Haversine).
    #[must_use]
    pub fn distance_m(self, other: Self) -> f64 {
        let (from, to) = (self.lat.to_radians(), other.lat.to_radians());
        let up = ((to - from) / 2.0).sin();
        let along = ((other.lng - self.lng).to_radians() / 2.0).sin();
        let half = up * up + from.cos() * to.cos() * along * along;
        2.0 * EARTH_M * half.sqrt().min(1.0).asin()
    }

    /// The cell that it is in.
    #[must_use]
    pub fn cell(self) -> Cell {
        let row = ((self.lat + 90.0) / STEP).floor().clamp(0.0, ROWS - 1.0);
        let columns = columns(row);
        let column = ((self.lng + 180.0) / 360.0 * columns).floor().rem_euclid(columns);
        Cell { row, column }
    }

    /// What surely holds everything within `radius_m`.
    #[must_use]
    pub fn bounds(self, radius_m: f64) -> Bounds {
        let up = radius_m / DEGREE_M;
        let (south, north) = ((self.lat - up).max(-90.0), (self.lat + up).min(90.0));
        let narrowest = south.abs().max(north.abs()).to_radians().cos();
        let along = up / narrowest.max(f64::MIN_POSITIVE);
        let (west, east) = (self.lng - along, self.lng + along);
        // Around a pole, or all around the globe.
        if narrowest <= 1e-9 || along >= 180.0 {
            return Bounds { lat: (south, north), lng: [(-180.0, 180.0); 2] };
        }
        let lng = match (west < -180.0, east > 180.0) {
            (true, _) => [(west + 360.0, 180.0), (-180.0, east)],
            (_, true) => [(west, 180.0), (-180.0, east - 360.0)],
            _ => [(west, east); 2],
        };
        Bounds { lat: (south, north), lng }
    }
}

/// Cells of a row.
fn columns(row: f64) -> f64 {
    let middle = -90.0 + (row + 0.5) * STEP;
    (360.0 / STEP * middle.to_radians().cos()).floor().max(1.0)
}

/// Some fifty by fifty metres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    // Whole numbers.
    row: f64,
    column: f64,
}

impl Cell {
    /// Its middle.
    #[must_use]
    pub fn center(self) -> Point {
        let lat = -90.0 + (self.row + 0.5) * STEP;
        Point { lat, lng: -180.0 + (self.column + 0.5) / columns(self.row) * 360.0 }
    }

    /// What the shops within `radius_m` of it are kept under.
    #[must_use]
    pub fn key(self, radius_m: u32) -> String {
        let Point { lat, lng } = self.center();
        format!("nearby:{lat:.5}:{lng:.5}:{radius_m}")
    }
}

/// A rectangle of degrees, in two where it goes over the date line; else both are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// South and north.
    pub lat: (f64, f64),
    /// West and east.
    pub lng: [(f64, f64); 2],
}

/// Whole metres, as answers say them.
#[must_use]
pub fn metres(distance_m: f64) -> i32 {
    // No two places of the globe are further apart than 20,016 km.
    distance_m.round() as i32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(lat: f64, lng: f64) -> Point {
        Point::new(lat, lng).unwrap()
    }

    #[test]
    fn what_is_not_on_the_globe_is_no_place() {
        for (lat, lng) in
            [(90.1, 0.0), (-90.1, 0.0), (0.0, 180.1), (0.0, -180.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)]
        {
            assert_eq!(Point::new(lat, lng), None, "{lat} {lng}");
        }
        for (lat, lng) in [(90.0, 180.0), (-90.0, -180.0), (0.0, 0.0)] {
            assert!(Point::new(lat, lng).is_some(), "{lat} {lng}");
        }
    }

    #[test]
    fn distances_are_those_of_the_globe() {
        // City hall of Seoul to that of Busan: 325 km.
        let far = at(37.5665, 126.978).distance_m(at(35.1796, 129.0756));
        assert!((325_000.0..326_000.0).contains(&far), "{far}");
        assert!(at(0.0, 179.999_5).distance_m(at(0.0, -179.999_5)) < 112.0, "over the date line");
        assert!(at(90.0, 12.0).distance_m(at(90.0, -100.0)) < 0.001, "a pole is one place");
        let around = at(90.0, 0.0).distance_m(at(-90.0, 0.0));
        assert!((20_015_000.0..20_015_200.0).contains(&around), "{around}");
        assert_eq!(metres(around), 20_015_114);
    }

    #[test]
    fn the_date_line_and_the_poles_are_like_any_other_place() {
        assert_eq!(at(37.5, 180.0).cell(), at(37.5, -180.0).cell());
        assert_eq!(at(90.0, 0.0).cell().row, ROWS - 1.0);
        assert_eq!(at(-90.0, 0.0).cell().row, 0.0);
        let seoul = at(37.5665, 126.978);
        assert_eq!(seoul.cell().key(2_000), at(37.566_51, 126.978_01).cell().key(2_000));
        assert_ne!(seoul.cell().key(2_000), seoul.cell().key(2_001));
        let over = at(0.0, 179.99).bounds(5_000.0);
        assert!(over.lng[0].1 == 180.0 && over.lng[1].0 == -180.0 && over.lng[1].1 < -179.9, "{over:?}");
        assert_eq!(at(89.99, 5.0).bounds(5_000.0).lng, [(-180.0, 180.0); 2]);
    }

    fn anywhere() -> impl Strategy<Value = Point> {
        // As many near the poles and the date line as elsewhere.
        let lat = prop_oneof![-90.0..=90.0, 89.99..=90.0, -90.0..=-89.99];
        let lng = prop_oneof![-180.0..=180.0, 179.999..=180.0, -180.0..=-179.999];
        (lat, lng).prop_map(|(lat, lng)| at(lat, lng))
    }

    fn inside(bounds: &Bounds, place: Point) -> bool {
        let lat = (bounds.lat.0..=bounds.lat.1).contains(&place.lat);
        lat && bounds.lng.iter().any(|(west, east)| (*west..=*east).contains(&place.lng))
    }

    proptest! {
        #[test]
        fn nobody_is_far_from_the_middle_of_their_cell(place in anywhere()) {
            let cell = place.cell();
            let center = cell.center();
            prop_assert!(Point::new(center.lat, center.lng).is_some(), "{center:?}");
            prop_assert!(place.distance_m(center) <= f64::from(REACH_M), "{place:?} {center:?}");
            prop_assert_eq!(center.cell(), cell);
        }

        #[test]
        fn cells_of_other_places_have_other_keys(place in anywhere(), other in anywhere()) {
            let same = place.cell() == other.cell();
            prop_assert_eq!(place.cell().key(7) == other.cell().key(7), same);
        }

        #[test]
        fn what_is_near_is_within_the_bounds(place in anywhere(), up in -0.2..0.2_f64, along in -0.2..0.2_f64, radius in 1.0..20_000.0) {
            let lng = (place.lng + along + 540.0).rem_euclid(360.0) - 180.0;
            let other = at((place.lat + up).clamp(-90.0, 90.0), lng.clamp(-180.0, 180.0));
            prop_assume!(place.distance_m(other) <= radius);
            prop_assert!(inside(&place.bounds(radius * 1.001), other), "{place:?} {other:?} {radius}");
        }

        #[test]
        fn both_ways_are_as_far(place in anywhere(), other in anywhere()) {
            prop_assert!((place.distance_m(other) - other.distance_m(place)).abs() < 0.001);
        }
    }
}
