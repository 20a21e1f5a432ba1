//! The names by which people are known in a chat: which are good, and which are the same.

use crate::protocol::{ActionError, ErrorCode};
use unicode_normalization::UnicodeNormalization;

/// The longest name in characters: enough for any person, and a list of thousands stays readable.
const MAX_CHARACTERS: usize = 64;

/// The name that somebody asks for, without white space around it, and in Unicode's normal form C:
/// there "é" is always one character, however it was typed.
///
/// # Errors
/// [`ErrorCode::BadField`] with what is wrong with it.
pub(super) fn read(text: &str) -> Result<String, ActionError> {
    let bad = |message: &str| Err(ActionError::new(ErrorCode::BadField, message));
    // Only as far as needed: what is sent may be long.
    let name: String = text.trim().nfc().take(MAX_CHARACTERS + 1).collect();
    if name.chars().count() > MAX_CHARACTERS {
        return bad("\"name\" has more than 64 characters");
    }
    if name.chars().any(is_control) {
        return bad("\"name\" has a control character");
    }
    if !name.chars().any(is_visible) {
        return bad("\"name\" has no character that can be seen");
    }
    Ok(name)
}

/// Two names with one key are the same to those who read them: no two people may have them at once.
/// It is the name without what cannot be seen in it.
///
/// Upper and lower case are different names. Which letters are the same in another case depends on
/// the language, and letters that look alike in two alphabets would remain: a chat's name says what
/// somebody wants to be called, and proves nothing.
pub(super) fn key(name: &str) -> String {
    name.chars().filter(|c| !is_ignorable(*c)).collect()
}

/// Characters that act on the text around them: control characters, line ends, and those that turn
/// the direction of what follows (Unicode Standard Annex #9, explicit formatting).
fn is_control(c: char) -> bool {
    let turns_text = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || turns_text
}

fn is_visible(c: char) -> bool {
    const BLANK_BRAILLE: char = '\u{2800}';
    !c.is_whitespace() && !is_ignorable(c) && c != BLANK_BRAILLE
}

/// Unicode's `Default_Ignorable_Code_Point`: what is not shown, but for its effect on neighbours.
/// The ranges are those of Unicode 16, with what is reserved for more of them.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_one_to_64_characters_that_can_be_seen() {
        let (long, too_long) = ("é".repeat(64), "é".repeat(65));
        let family = "👩\u{200D}👩\u{200D}👧";
        for (text, name) in [
            ("Ann", "Ann"),
            ("  Ann Lee\t", "Ann Lee"),
            ("李明", "李明"),
            ("e\u{301}", "é"),
            (family, family),
            ("\u{200F}דנה", "\u{200F}דנה"),
            ("<b>", "<b>"),
            (&long, &long),
        ] {
            assert_eq!(read(text).as_deref(), Ok(name), "{text:?}");
        }
        for (text, part) in [
            ("", "can be seen"),
            (" \u{3000}", "can be seen"),
            ("\u{200B}\u{2060}", "can be seen"),
            ("\u{3164}", "can be seen"),
            ("\u{2800}", "can be seen"),
            ("a\0b", "control"),
            ("a\nb", "control"),
            ("a\u{2028}b", "control"),
            ("\u{202E}nnA", "control"),
            (&too_long, "64"),
            (&"x".repeat(100_000), "64"),
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(error.code, ErrorCode::BadField, "{text:?}");
            assert!(error.message.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn names_that_look_the_same_have_one_key() {
        for (one, other, is_same) in [
            ("é", "e\u{301}", true),
            ("Ann", " Ann ", true),
            ("Ann", "A\u{200B}nn\u{FE0F}", true),
            ("Ann", "ann", false),
            ("Ann", "An n", false),
        ] {
            let of = |text| key(&read(text).expect("a name"));
            assert_eq!(of(one) == of(other), is_same, "{one:?} and {other:?}");
        }
    }

    proptest! {
        #[test]
        fn a_good_name_stays_as_it_is(text in ".*") {
            if let Ok(name) = read(&text) {
                prop_assert_eq!(read(&name), Ok(name.clone()));
                prop_assert!(!key(&name).is_empty());
            }
        }
    }
}
