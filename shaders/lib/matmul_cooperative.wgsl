// Products by the matrix units of a GPU. The workgroup brings DEPTH columns of A and rows of B to its memory at a time, as f16,
// which they are stored in: no digit is lost. Subgroups multiply FRAGMENT x FRAGMENT pieces of them; sums are of f32.
//
// A sum lies in a subgroup as the driver likes. So at the end sums go through memory to the lanes that store them, one band
// of rows after the other: those that the first blocks of all lanes are of, the second, and so on.
//
// Prelude: that of matmul.wgsl; DEPTH; LANES, those of a subgroup; FRAGMENT; FragmentA, FragmentB, FragmentC.

const BAND = LANES_DOWN * 4u;
const SUBGROUPS_DOWN = BAND / FRAGMENT;
const SUBGROUPS_ACROSS = WORKGROUP / LANES / SUBGROUPS_DOWN;
// Pieces of a band that a subgroup has, side by side.
const PIECES = COLUMNS / SUBGROUPS_ACROSS / FRAGMENT;

// Vectors of a row, with some between rows so that rows start in different banks of the memory.
const STRIDE_A = DEPTH / 4u + 2u;
const STRIDE_B = COLUMNS / 4u + 2u;
const STRIDE_C = COLUMNS / 4u;

var<workgroup> tile_a: array<vec4<f16>, ROWS * STRIDE_A>;
var<workgroup> tile_b: array<vec4<f16>, DEPTH * STRIDE_B>;
var<workgroup> band: array<vec4<f32>, BAND * STRIDE_C>;

fn products(part: Part, lane: u32) -> Sums {
    let subgroup = lane / LANES;
    let down = subgroup % SUBGROUPS_DOWN * FRAGMENT;
    let across = subgroup / SUBGROUPS_DOWN * (PIECES * FRAGMENT);
    var pieces: array<FragmentC, ROW_BLOCKS * PIECES>;
    for (var k = part.begin; k < part.end; k += DEPTH) {
        for (var block = lane; block < ROWS / 4u * (DEPTH / 4u); block += WORKGROUP) {
            let depth = block % (DEPTH / 4u);
            let row = block / (DEPTH / 4u) * 4u;
            let rows = a_rows(part.first_row + row, part.group);
            let values = a_block(rows, a_columns(k + depth * 4u, part.group, part.end));
            for (var i = 0u; i < 4u; i++) {
                tile_a[(row + i) * STRIDE_A + depth] = vec4<f16>(values[i]);
            }
        }
        for (var block = lane; block < COLUMNS / 4u * (DEPTH / 4u); block += WORKGROUP) {
            let column = block % (COLUMNS / 4u);
            let depth = block / (COLUMNS / 4u) * 4u;
            let columns = b_columns(part.first_column + column * 4u, part.group);
            let values = b_block(b_rows(k + depth, part.group, part.end), columns);
            for (var i = 0u; i < 4u; i++) {
                tile_b[(depth + i) * STRIDE_B + column] = vec4<f16>(values[i]);
            }
        }
        workgroupBarrier();
        for (var depth = 0u; depth < DEPTH; depth += FRAGMENT) {
            var b: array<FragmentB, PIECES>;
            for (var j = 0u; j < PIECES; j++) {
                b[j] = coopLoadT<FragmentB>(&tile_b[depth * STRIDE_B + (across + j * FRAGMENT) / 4u], STRIDE_B);
            }
            for (var i = 0u; i < ROW_BLOCKS; i++) {
                let a = coopLoadT<FragmentA>(&tile_a[(i * BAND + down) * STRIDE_A + depth / 4u], STRIDE_A);
                for (var j = 0u; j < PIECES; j++) {
                    pieces[i * PIECES + j] = coopMultiplyAdd(a, b[j], pieces[i * PIECES + j]);
                }
            }
        }
        workgroupBarrier();
    }

    let x = lane % LANES_ACROSS;
    let y = lane / LANES_ACROSS;
    var sums: Sums;
    for (var i = 0u; i < ROW_BLOCKS; i++) {
        for (var j = 0u; j < PIECES; j++) {
            coopStoreT(pieces[i * PIECES + j], &band[down * STRIDE_C + (across + j * FRAGMENT) / 4u], STRIDE_C);
        }
        workgroupBarrier();
        for (var j = 0u; j < COLUMN_BLOCKS; j++) {
            let first = y * 4u * STRIDE_C + x + j * LANES_ACROSS;
            sums[i * COLUMN_BLOCKS + j] = mat4x4<f32>(
                band[first],
                band[first + STRIDE_C],
                band[first + 2u * STRIDE_C],
                band[first + 3u * STRIDE_C],
            );
        }
        workgroupBarrier();
    }
    return sums;
}
