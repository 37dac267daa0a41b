// The positions whose windows cover a pixel as a matrix: pixel x tap, tap = (r, s, channel) with the channel fastest.
//
// With a stride, a pixel is seen by some taps only, and pixels that are strides apart by the same ones. So the pixels are
// dealt to phases, by row and column modulo the stride, and each phase is a product of its own that knows no stride: its
// pixels are a grid, its taps are every STEP-th from a first one (none, where stride and dilation have a common factor that
// does not divide the distance), and from one such tap to the next positions go back by a fixed distance.
//
// A decoded pixel is (image, row, column) of the position that reads it by the first tap; a decoded tap is (rows back,
// columns back, channel). What lies before the first position wraps to large numbers, which are outside as well.
//
// Prelude: that of window.wgsl; CHANNELS of one group, PIXEL elements from position to position; COMMON_H, COMMON_W, the
// greatest common divisor of stride and dilation; INVERSE_H, INVERSE_W, with which DILATION / COMMON makes 1 modulo STEP.

const STEP_H = STRIDE_H / COMMON_H;
const STEP_W = STRIDE_W / COMMON_W;
const GRID_H = (IMAGE_H + STRIDE_H - 1u) / STRIDE_H;
const GRID_W = (IMAGE_W + STRIDE_W - 1u) / STRIDE_W;
const PHASES_W = min(STRIDE_W, IMAGE_W);

// The phase of this invocation, down and across: the first pixel, the first tap, the number of taps, and the position at
// which the first tap reads the first pixel.
var<private> first_pixel: vec2<u32>;
var<private> first_tap: vec2<u32>;
var<private> taps: vec2<u32>;
var<private> first_position: vec2<u32>;

// Sets the phase; gives the length of its sums, which is the same for a whole workgroup: so nothing is read back here.
fn begin_phase(phase: u32) -> u32 {
    let stride = vec2<u32>(STRIDE_H, STRIDE_W);
    let divisor = vec2<u32>(COMMON_H, COMMON_W);
    let step = vec2<u32>(STEP_H, STEP_W);
    let pixel = vec2<u32>(phase / PHASES_W, phase % PHASES_W);
    let shifted = pixel + vec2<u32>(PADDING_H, PADDING_W);
    let rest = shifted % stride;
    let first = rest / divisor * vec2<u32>(INVERSE_H, INVERSE_W) % step;
    let following = (vec2<u32>(KERNEL_H, KERNEL_W) + step - 1u - first) / step;
    let number = select(vec2<u32>(), following, rest % divisor == vec2<u32>());
    // A multiple of the stride where there are taps.
    let back = vec2<i32>(first * vec2<u32>(DILATION_H, DILATION_W));
    first_position = vec2<u32>((vec2<i32>(shifted) - back) / vec2<i32>(stride));
    first_pixel = pixel;
    first_tap = first;
    taps = number;
    return number.x * number.y * CHANNELS;
}

// Where term k of the phase's sums is among the terms of all taps.
fn term_of(k: u32) -> u32 {
    let rs = k / CHANNELS;
    let tap = first_tap + vec2<u32>(rs / taps.y, rs % taps.y) * vec2<u32>(STEP_H, STEP_W);
    return (tap.x * KERNEL_W + tap.y) * CHANNELS + k % CHANNELS;
}

// (image, row, column) in the phase's grid.
fn grid_place(row: u32) -> vec3<u32> {
    let rest = row % (GRID_H * GRID_W);
    return vec3<u32>(row / (GRID_H * GRID_W), rest / GRID_W, rest % GRID_W);
}

// The flat pixel of a row of the phase, or NOWHERE: the grid of some phases is smaller.
fn pixel_of_row(row: u32) -> u32 {
    let place = grid_place(row);
    let h = first_pixel.x + place.y * STRIDE_H;
    let w = first_pixel.y + place.z * STRIDE_W;
    return select(NOWHERE, (place.x * IMAGE_H + h) * IMAGE_W + w, (h < IMAGE_H) & (w < IMAGE_W));
}

fn covering_row(row: u32) -> vec3<u32> {
    return grid_place(row) + vec3<u32>(0u, first_position);
}

fn covering_column(k: u32, group: u32) -> vec3<u32> {
    let rs = k / CHANNELS;
    let back = vec2<u32>(rs / taps.y, rs % taps.y) * vec2<u32>(DILATION_H / COMMON_H, DILATION_W / COMMON_W);
    return vec3<u32>(back, group * CHANNELS + k % CHANNELS);
}

// The element, or -1 where no position reads the pixel with this tap.
fn covering_element(pixel: vec3<u32>, tap: vec3<u32>) -> i32 {
    let p = pixel.y - tap.x;
    let q = pixel.z - tap.y;
    // `&` and not `&&`, which is a branch.
    let inside = (p < POSITIONS_P) & (q < POSITIONS_Q);
    return select(-1, i32(((pixel.x * POSITIONS_P + p) * POSITIONS_Q + q) * PIXEL + tap.z), inside);
}
