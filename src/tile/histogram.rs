//! histogram(x, low, high, buckets): how many values fall into each of equally wide buckets.

/// The bucket of `value`, numbered as PostgreSQL's width_bucket does: 0 below `low`, `buckets` + 1 from `high` on;
/// the other way round where `low` is the greater bound. NaN is greater than every number.
pub(super) fn bucket_of(value: f64, low: f64, high: f64, buckets: u32) -> usize {
    let last = buckets as usize + 1;
    let rising = low < high;
    if value.is_nan() {
        return if rising { last } else { 0 };
    }
    if if rising { value < low } else { value > low } {
        return 0;
    }
    if if rising { value >= high } else { value <= high } {
        return last;
    }
    let share = if (high - low).is_finite() {
        (value - low) / (high - low)
    } else {
        (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)
    };
    // rounding may reach the upper bound, which is not in this range
    ((share * f64::from(buckets)) as usize).min(buckets as usize - 1) + 1
}
