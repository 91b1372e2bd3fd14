//! The one integration binary.

mod partners;
