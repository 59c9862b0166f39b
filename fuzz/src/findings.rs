//! What must hold of findings.

use passerelle::diagnostic::Finding;

/// There are some, each has its place in its text, and can be shown.
///
/// # Panics
/// It is not so.
pub fn check(found: &[Finding]) {
    assert!(!found.is_empty());
    for finding in found {
        let (text, span) = (&finding.source.text, &finding.span);
        let is_there = text.get(span.clone()).is_some();
        assert!(is_there, "{span:?} in {} bytes: {}", text.len(), finding.message);
        assert!(!finding.message.is_empty());
        assert!(finding.to_string().contains(&finding.source.name));
    }
}
