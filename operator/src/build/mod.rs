//! From a validated resource to the objects that carry it out; pure.
