//! Room `signatures`: a message comes apart in one way only, else someone with one genuine request could move the borders
//! between its parts and have other values under the same signature. What makes it so:
//!
//! - Between two parts stands a text, and the part may not contain it: a part left of the free one is read up to the first
//!   of it, a part right of it from the last. The free one (the raw body, else the last field, or the one that `free`
//!   names) may contain anything, for both its ends are then known.
//! - Some parts need no text beside them, for they say themselves where they begin and end: a time in RFC 3339; a number of
//!   seconds, which would be decades away from any tolerance if it lost or won a digit (it has no leading zeros); a method
//!   out of a known few, none of which begins or ends with another; a digest of fixed length; the secret.
//! - A public address begins with what is configured, and what follows begins with `/`.
//! - The raw body needs no text beside it if it is a JSON object or array and what stands beside it has none of the brackets
//!   that would begin or end it.
//! - A segment that may be left out begins otherwise than what may follow in its place. Right of the free part there is at
//!   most one, behind a field with a text before it, and then no part there may contain what begins another one.
//! - Any other two parts side by side do not load. One exception is made for what senders do and nobody can mend: a form,
//!   names and values glued together, has no borders in it, and may follow an address. Such a message vouches for some
//!   fields at most, and covers none of them by name.

use std::{borrow::Cow, ops::Range};

use super::{
    TemplateError,
    parts::{Border, Part, Slot, Source},
};
use crate::signatures::SignatureError;

/// One part of a rendered message.
#[derive(Clone, Debug)]
pub(super) struct Piece<'a> {
    /// What it is.
    pub(super) border: Border,
    /// Where it stands beside the free part.
    pub(super) side: Side,
    /// Its bytes.
    pub(super) bytes: Cow<'a, [u8]>,
}

/// Where a part stands beside the free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Before it.
    Left,
    /// It is the free part.
    Free,
    /// Behind it.
    Right,
}

impl Side {
    pub(super) fn of(number: usize, free: usize) -> Self {
        match number.cmp(&free) {
            std::cmp::Ordering::Less => Self::Left,
            std::cmp::Ordering::Equal => Self::Free,
            std::cmp::Ordering::Greater => Self::Right,
        }
    }
}

impl<'a> Piece<'a> {
    pub(super) fn text(text: &'a str, side: Side) -> Self {
        Self { border: Border::Known, side, bytes: Cow::Borrowed(text.as_bytes()) }
    }

    pub(super) fn slot(slot: &Slot, side: Side, bytes: Cow<'a, [u8]>) -> Self {
        Self { border: slot.border(), side, bytes }
    }

    /// A part of the body, nothing else beside it.
    pub(super) fn raw(bytes: &'a [u8]) -> Self {
        Self { border: Border::Body, side: Side::Free, bytes: Cow::Borrowed(bytes) }
    }

    /// The same, of its own.
    pub(super) fn into_owned(self) -> Piece<'static> {
        Piece { border: self.border, side: self.side, bytes: Cow::Owned(self.bytes.into_owned()) }
    }
}

/// Refuses a template whose messages could come apart in several ways whatever they hold.
pub(super) fn check_parts(parts: &[Part], free: usize) -> Result<(), TemplateError> {
    let beside = |parts: &[&Part]| {
        let slots = parts.iter().map(|part| part.slot()).collect::<Option<Vec<_>>>().unwrap_or_default();
        let mut sides = slots.split(|slot| slot.border() == Border::Body);
        sides.any(|side| {
            let uncertain = side.iter().filter(|slot| slot.border() == Border::Uncertain);
            uncertain.filter(|slot| slot.source != Source::Form).count() > 1 || has_stray_form(side)
        })
    };
    let known =
        |part: &&Part| part.slot().is_none_or(|slot| slot.border() == Border::Known) || part.is_optional();
    let all: Vec<&Part> = parts.iter().collect();
    if all.split(known).any(beside) {
        return Err(TemplateError::Border);
    }
    for (number, part) in parts.iter().enumerate().filter(|(_, part)| part.is_optional()) {
        let before = number.checked_sub(1).and_then(|number| parts.get(number));
        let after_a_slot = before.is_some_and(|part| matches!(part, Part::Slot(_)));
        let astray = number > free && !is_anchored(&parts[free..number], &parts[number + 1..]);
        if astray || after_a_slot || !begins_otherwise(part, &parts[number + 1..]) {
            return Err(TemplateError::OptionalBorder);
        }
    }
    Ok(())
}

/// A glued form stands alone or behind an address.
fn has_stray_form(side: &[&Slot]) -> bool {
    let form = side.iter().position(|slot| slot.source == Source::Form);
    form.is_some_and(|at| at + 1 < side.len() || side[..at].iter().any(|slot| slot.source != Source::Target))
}

/// Whether a segment right of the free part has a field with a text of its own before it, from which it is found, and is the
/// only one there.
fn is_anchored(before: &[Part], after: &[Part]) -> bool {
    let field = |pair: &[Part]| {
        let uncertain = pair[1].slot().is_some_and(|slot| slot.border() == Border::Uncertain);
        matches!(pair[0], Part::Literal(_)) && uncertain && !pair[1].is_optional()
    };
    let only = !before.iter().skip(1).chain(after).any(Part::is_optional);
    only && before.windows(2).any(field)
}

/// Whether a segment cannot be taken for what follows when it is left out.
fn begins_otherwise(part: &Part, following: &[Part]) -> bool {
    let own = part.beginning().unwrap_or_default();
    let differs = |other: &str| !own.starts_with(other) && !other.starts_with(own);
    for next in following {
        match next.beginning() {
            Some(text) if !differs(text) => return false,
            Some(_) if next.is_optional() => {}
            Some(_) => return true,
            None => return false,
        }
    }
    true
}

/// Refuses a message that could come apart in another way.
pub(super) fn check(pieces: &[Piece<'_>]) -> Result<(), SignatureError> {
    runs(pieces).try_for_each(|run| check_run(pieces, &run))
}

/// Refuses a message with a segment right of the free part, there or left out, that could be read with the segment elsewhere:
/// `begin` is the text that the segment begins with.
pub(super) fn check_right(pieces: &[Piece<'_>], begin: &str) -> Result<(), SignatureError> {
    let bytes =
        |at: Option<usize>| at.and_then(|at| pieces.get(at)).map_or(&[][..], |piece| piece.bytes.as_ref());
    let uncertain = |at: &usize| pieces[*at].side == Side::Right && pieces[*at].border == Border::Uncertain;
    let places: Vec<usize> = (0..pieces.len()).filter(uncertain).collect();
    let mut begins: Vec<&[u8]> = places.iter().map(|at| bytes(at.checked_sub(1))).collect();
    begins.push(begin.as_bytes());
    for at in places {
        let (before, after) = (bytes(at.checked_sub(1)), bytes(Some(at + 1)));
        let text = [before, pieces[at].bytes.as_ref(), after].concat();
        let stray = |begin: &&[u8]| {
            let own = usize::from(*begin == before);
            !begin.is_empty() && text.windows(begin.len()).skip(own).any(|window| window == *begin)
        };
        if begins.iter().any(stray) {
            return Err(SignatureError::Malformed("a signed field contains the text that begins another"));
        }
    }
    Ok(())
}

/// The stretches of pieces without a text that is known between them.
fn runs<'p>(pieces: &'p [Piece<'_>]) -> impl Iterator<Item = Range<usize>> + 'p {
    let is_known = |piece: &Piece<'_>| piece.border == Border::Known;
    let mut start = 0;
    let stretches = pieces.chunk_by(move |left, right| !is_known(left) && !is_known(right));
    let ranges = stretches.map(move |stretch| {
        let run = start..start + stretch.len();
        start = run.end;
        run
    });
    ranges.filter(move |run| !is_known(&pieces[run.start]))
}

fn check_run(pieces: &[Piece<'_>], run: &Range<usize>) -> Result<(), SignatureError> {
    let parts = &pieces[run.clone()];
    let uncertain = |piece: &Piece<'_>| piece.border == Border::Uncertain;
    if let Some(free) = parts.iter().position(|piece| piece.side == Side::Free) {
        return check_beside_body(parts, free);
    }
    if !parts.iter().any(uncertain) {
        return Ok(());
    }
    let text = match parts {
        [one] => Cow::Borrowed(one.bytes.as_ref()),
        _ => Cow::Owned(parts.iter().map(|piece| piece.bytes.as_ref()).collect::<Vec<_>>().concat()),
    };
    let sound = match parts[0].side {
        Side::Left => pieces.get(run.end).is_some_and(|border| ends_at_first(&text, &border.bytes)),
        _ => run.start.checked_sub(1).is_some_and(|before| begins_at_last(&text, &pieces[before].bytes)),
    };
    sound.then_some(()).ok_or(SignatureError::Malformed("a signed field contains the text that ends it"))
}

fn check_beside_body(parts: &[Piece<'_>], free: usize) -> Result<(), SignatureError> {
    const MALFORMED: SignatureError = SignatureError::Malformed(
        "nothing separates the body from a signed field, and it is no JSON object or array, or the field has its brackets",
    );
    if parts[free].border != Border::Body {
        return Ok(());
    }
    let body = &parts[free].bytes;
    let has_field = |side: &[Piece<'_>]| side.iter().any(|piece| piece.border == Border::Uncertain);
    let (before, after) = (&parts[..free], &parts[free + 1..]);
    // Without brackets beside it no body can begin there; but fields on both sides would touch.
    let is_absent = body.is_empty() && !(has_field(before) && has_field(after));
    for (side, edge, brackets) in [(before, body.first(), b"{["), (after, body.last(), b"}]")] {
        let inside = side.iter().any(|piece| piece.bytes.iter().any(|byte| brackets.contains(byte)));
        let is_edge = is_absent || edge.is_some_and(|edge| brackets.contains(edge));
        if has_field(side) && (inside || !is_edge) {
            return Err(MALFORMED);
        }
    }
    Ok(())
}

/// Whether someone who reads from the left and stops at the first `border` has read just `text`.
fn ends_at_first(text: &[u8], border: &[u8]) -> bool {
    if let [byte] = border {
        return !text.contains(byte);
    }
    let both = [text, border].concat();
    both.windows(border.len().max(1)).position(|window| window == border) == Some(text.len())
}

/// The same from the right, with the last `border`.
fn begins_at_last(text: &[u8], border: &[u8]) -> bool {
    if let [byte] = border {
        return !text.contains(byte);
    }
    let both = [border, text].concat();
    both.windows(border.len().max(1)).rposition(|window| window == border) == Some(0)
}

#[cfg(test)]
mod tests;
