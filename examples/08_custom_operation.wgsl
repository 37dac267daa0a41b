// Sums over neighbouring channels: y[pixel, c] = Σ x[pixel, j] over |j - c| <= REACH. One invocation an element.

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let element = workgroup_index(id, count) * 64u + lane;
    if (element >= params.extents.x) {
        return;
    }
    let channel = element % CHANNELS;
    let pixel = element - channel;
    let reach = u32(REACH);
    let first = channel - min(channel, reach);
    let last = min(channel + reach, CHANNELS - 1u);
    var sum = 0.0;
    for (var c = first; c <= last; c += 1u) {
        sum += in0[pixel + c];
    }
    out0[element] = sum;
}
