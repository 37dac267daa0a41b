// The tile of a product that a workgroup computes: how many invocations share it, and what each adds up.
//
// Prelude: ROWS, COLUMNS, MICRO_ROWS, MICRO_COLUMNS.

const LANES_ACROSS = COLUMNS / MICRO_COLUMNS;
const LANES_DOWN = ROWS / MICRO_ROWS;
const WORKGROUP = LANES_ACROSS * LANES_DOWN;
const ROW_BLOCKS = MICRO_ROWS / 4u;
const COLUMN_BLOCKS = MICRO_COLUMNS / 4u;

alias Sums = array<mat4x4<f32>, ROW_BLOCKS * COLUMN_BLOCKS>;

// What a workgroup computes: a tile of the result, and which terms of the sums. The same for all its invocations.
struct Part {
    first_row: u32,
    first_column: u32,
    group: u32,
    begin: u32,
    end: u32,
}
