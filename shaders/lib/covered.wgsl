// Positions that cover an axis evenly: position p of `positions` covers the pixels floor(p · pixels / positions) up to
// ceil((p + 1) · pixels / positions). The positions that cover a pixel follow by exchanging the two.

// (first, end) of what `p` of `positions` covers.
fn covered(p: u32, pixels: u32, positions: u32) -> vec2<u32> {
    return vec2<u32>(p * pixels / positions, ((p + 1u) * pixels + positions - 1u) / positions);
}
