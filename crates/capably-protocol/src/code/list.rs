pub(super) fn title(_code: u32) -> Option<&'static str> {
    None
}
