//! A time as people and logs write it.

/// `at` (unix seconds) as RFC 3339 in UTC: `2026-11-22T08:30:00Z`, the same for whoever reads it.
pub fn utc(at: u64) -> String {
    let (days, second) = (at / DAY_S, at % DAY_S);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The day that lies `days` after 1970-01-01. Years are counted from March, so that the day of a
/// leap year comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_BEFORE_1970;
    let (era, day) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let leaps = day / 1_460 + day / (DAYS_PER_ERA - 1);
    let year = (day + day / 36_524 - leaps) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

const DAY_S: u64 = 86_400;

/// Days in the 400 years after which the calendar repeats itself.
const DAYS_PER_ERA: u64 = 146_097;

/// From 1 March of the year 0.
const DAYS_BEFORE_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_its_day_and_second_in_utc() {
        // As `date -u -d @N +%FT%TZ` writes them.
        for (at, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_704_067_199, "2023-12-31T23:59:59Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_795_336_247, "2026-11-22T08:30:47Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(at), text);
        }
    }
}
