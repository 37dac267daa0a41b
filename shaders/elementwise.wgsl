// One element of the result an invocation: elementwise expressions and pooling.
//
// Prelude: WORKGROUP; params.extents.x, the number of elements; compute(i), which computes and stores element i.

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(id, count) * WORKGROUP + lane;
    if (i < params.extents.x) {
        compute(i);
    }
}
