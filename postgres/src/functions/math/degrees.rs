//! Trigonometry in degrees: exact where the angle is a multiple of 30 or 45.

/// Of angles from 0 to 90.
fn first_quadrant(angle: f64) -> f64 {
    let near_30 = |angle: f64| angle.to_radians().sin() / 30_f64.to_radians().sin() / 2.0;
    let near_60 = |angle: f64| 1.0 - (1.0 - angle.to_radians().cos()) / (1.0 - 60_f64.to_radians().cos()) / 2.0;
    if angle <= 45.0 { near_30(angle) } else { near_60(90.0 - angle) }
}

/// The angle between 0 and 180, and the sign that the sine has by leaving out the rest.
fn of_whole_turn(angle: f64) -> (f64, f64) {
    let mut angle = angle % 360.0;
    let mut sign = 1.0;
    if angle < 0.0 {
        (angle, sign) = (-angle, -sign);
    }
    if angle > 180.0 {
        (angle, sign) = (360.0 - angle, -sign);
    }
    (angle, sign)
}

pub fn sine(angle: f64) -> f64 {
    let (angle, sign) = of_whole_turn(angle);
    sign * first_quadrant(if angle > 90.0 { 180.0 - angle } else { angle })
}

fn cosine_first_quadrant(angle: f64) -> f64 {
    let near_0 = |angle: f64| 1.0 - (1.0 - angle.to_radians().cos()) / (1.0 - 60_f64.to_radians().cos()) / 2.0;
    let near_90 = |angle: f64| angle.to_radians().sin() / 30_f64.to_radians().sin() / 2.0;
    if angle <= 60.0 { near_0(angle) } else { near_90(90.0 - angle) }
}

pub fn cosine(angle: f64) -> f64 {
    let mut angle = (angle % 360.0).abs();
    let mut sign = 1.0;
    if angle > 180.0 {
        angle = 360.0 - angle;
    }
    if angle > 90.0 {
        (angle, sign) = (180.0 - angle, -sign);
    }
    sign * cosine_first_quadrant(angle)
}

/// The angle between 0 and 90, and the sign there.
fn of_half_turn(angle: f64) -> (f64, f64) {
    let (angle, sign) = of_whole_turn(angle);
    if angle > 90.0 { (180.0 - angle, -sign) } else { (angle, sign) }
}

pub fn tangent(angle: f64) -> f64 {
    let (angle, sign) = of_half_turn(angle);
    let ratio = |angle: f64| first_quadrant(angle) / cosine_first_quadrant(angle);
    let result = sign * (ratio(angle) / ratio(45.0));
    // no zero with a sign
    if result == 0.0 { 0.0 } else { result }
}

pub fn cotangent(angle: f64) -> f64 {
    let (angle, sign) = of_half_turn(angle);
    let ratio = |angle: f64| cosine_first_quadrant(angle) / first_quadrant(angle);
    let result = sign * (ratio(angle) / ratio(45.0));
    if result == 0.0 { 0.0 } else { result }
}

fn arc_sine_first_quadrant(number: f64) -> f64 {
    if number <= 0.5 { number.asin() / 0.5_f64.asin() * 30.0 } else { 90.0 - number.acos() / 0.5_f64.acos() * 60.0 }
}

pub fn arc_sine(number: f64) -> f64 {
    if number >= 0.0 { arc_sine_first_quadrant(number) } else { -arc_sine_first_quadrant(-number) }
}

pub fn arc_cosine(number: f64) -> f64 {
    let first_quadrant = |number: f64| {
        if number <= 0.5 { 90.0 - number.asin() / 0.5_f64.asin() * 30.0 } else { number.acos() / 0.5_f64.acos() * 60.0 }
    };
    if number >= 0.0 { first_quadrant(number) } else { 90.0 + arc_sine_first_quadrant(-number) }
}

pub fn arc_tangent(number: f64) -> f64 {
    of_arc_tangent(number.atan())
}

/// Radians that an arc tangent gave, in degrees.
pub fn of_arc_tangent(radians: f64) -> f64 {
    radians / 1_f64.atan() * 45.0
}
