pub fn reference() {}
