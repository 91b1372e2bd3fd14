//! The one integration binary.

#![expect(clippy::expect_used, reason = "a test that cannot go on says what it expected")]

mod conformance;
