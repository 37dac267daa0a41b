// Index arithmetic that every kernel shares.

// The flat number of this workgroup: more than 65,535 workgroups are folded into two dimensions.
fn workgroup_index(id: vec3<u32>, count: vec3<u32>) -> u32 {
    return id.y * count.x + id.x;
}
