//! Amounts as people write them: `2GiB`, `10m`, `150%`.

use super::tree::Content;

/// Bytes: `"2GiB"`, `"512MB"`, or a plain number.
pub(super) fn bytes(content: &Content) -> Result<u64, String> {
    let amount = match content {
        Content::Integer(number) => u64::try_from(*number).ok(),
        // The library saturates: an amount that reads as the most there is did not fit.
        Content::Text(text) => text
            .parse::<bytesize::ByteSize>()
            .ok()
            .map(|size| size.as_u64())
            .filter(|&size| size < u64::MAX),
        _ => None,
    };
    amount
        .filter(|&amount| amount > 0)
        .ok_or_else(|| "write an amount of bytes above zero, as in \"2GiB\"".to_owned())
}

/// A count of things above zero.
pub(super) fn count(content: &Content) -> Result<u64, String> {
    match content {
        Content::Integer(number) if *number > 0 => Ok(number.unsigned_abs()),
        _ => Err("write a whole number above zero, as in 512".to_owned()),
    }
}

/// Whole seconds: `"10m"`, `"1h 30m"`.
pub(super) fn seconds(content: &Content) -> Result<u64, String> {
    let duration = match content {
        Content::Text(text) => humantime::parse_duration(text).ok(),
        _ => None,
    };
    duration
        .filter(|duration| duration.as_secs() > 0 && duration.subsec_nanos() == 0)
        .map(|duration| duration.as_secs())
        .ok_or_else(|| {
            "write a time of whole seconds with its unit, as in \"10m\" or \"1h 30m\"".to_owned()
        })
}

/// Hundredths of a core: `"150%"`, or cores as a number, 1.5.
pub(super) fn percent(content: &Content) -> Result<u64, String> {
    const MOST: f64 = 1_000_000.0;
    let percent = match content {
        Content::Text(text) => text
            .strip_suffix('%')
            .and_then(|number| number.trim().parse::<u32>().ok())
            .map(f64::from),
        #[allow(
            clippy::cast_precision_loss,
            reason = "out of range long before it is inexact"
        )]
        Content::Integer(cores) => Some(*cores as f64 * 100.0),
        Content::Number(cores) => Some((cores * 100.0).round()),
        _ => None,
    };
    match percent {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number between one and a million"
        )]
        Some(percent) if (1.0..=MOST).contains(&percent) => Ok(percent as u64),
        _ => Err("write a share of at least 1%, as in \"150%\", or cores, as in 1.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Content {
        Content::Text(text.to_owned())
    }

    #[test]
    fn reads_amounts_with_units() {
        assert_eq!(bytes(&text("2GiB")), Ok(2 << 30));
        assert_eq!(bytes(&Content::Integer(4096)), Ok(4096));
        assert_eq!(seconds(&text("1h 30m")), Ok(5400));
        assert_eq!(percent(&text("150%")), Ok(150));
        assert_eq!(percent(&Content::Number(1.5)), Ok(150));
        assert_eq!(percent(&Content::Integer(2)), Ok(200));
        assert_eq!(count(&Content::Integer(512)), Ok(512));
    }

    #[test]
    fn refuses_amounts_that_are_none_or_do_not_fit() {
        for wrong in ["", "2 gallons", "0", "-1GiB", "99999999999999EiB", "inf"] {
            assert!(bytes(&text(wrong)).is_err(), "{wrong}");
        }
        for wrong in ["10", "500ms", "0s", "1.5s", "99999999999999999999y"] {
            assert!(seconds(&text(wrong)).is_err(), "{wrong}");
        }
        for wrong in ["0%", "%", "150", "-5%"] {
            assert!(percent(&text(wrong)).is_err(), "{wrong}");
        }
        assert!(percent(&Content::Number(f64::NAN)).is_err());
        assert!(percent(&Content::Number(0.001)).is_err());
        assert!(count(&Content::Integer(0)).is_err());
        assert!(count(&Content::Integer(-3)).is_err());
    }
}
