// A neuron fires, 1, where its membrane is at or above the threshold, else 0. One invocation a neuron.

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let element = workgroup_index(id, count) * 64u + lane;
    if (element < params.extents.x) {
        out0[element] = select(0.0, 1.0, in0[element] >= THRESHOLD);
    }
}
