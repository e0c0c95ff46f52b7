//! Days and microseconds to the proleptic Gregorian calendar and back, over the whole range of 64 bits.

pub const MICROS_PER_DAY: i64 = 86_400_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// astronomical: 0 is 1 BC
    pub year: i64,
    pub month: u8,
    pub day: u8,
}

/// Days since 1970-01-01 to a date. Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
pub fn civil_from_days(days: i64) -> Civil {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u8;
    Civil { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
}

/// A date to days since 1970-01-01; the day must exist. Ibid., days_from_civil.
pub fn days_from_civil(civil: Civil) -> i64 {
    let month = i64::from(civil.month);
    let year = civil.year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + i64::from(civil.day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

pub fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_back_over_the_whole_range() {
        let far = i64::from(i32::MAX);
        for days in (-800_000..800_000).step_by(37).chain([-far, -1, 0, far]) {
            let civil = civil_from_days(days);
            assert_eq!(days_from_civil(civil), days);
            assert!((1..=days_in_month(civil.year, civil.month)).contains(&civil.day));
        }
        assert_eq!(civil_from_days(0), Civil { year: 1970, month: 1, day: 1 });
        assert_eq!(civil_from_days(-719_528), Civil { year: 0, month: 1, day: 1 });
        assert_eq!(civil_from_days(11_016), Civil { year: 2000, month: 2, day: 29 });
    }
}
