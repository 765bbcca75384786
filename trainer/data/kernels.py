"""The compiled loops over ARC grids: walk a rotation, place a grid on its canvas, crop it, tell variants apart.

All in one file, because numba notices no change of a function in another one (see `compiled`).
Legend: grids lie one after the other in `cells` uint8; grid g is `heights[g]` x `widths[g]` from `offsets[g]` on, input
of pair p is grid 2p and its output grid 2p + 1. V variants, each a `turn` 0..7 and a table of ten colours.
"""

import numpy as np
import numpy.typing as npt

from trainer.data.compiled import compiled

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]


@compiled
def walk(turn: int, height: int, width: int) -> tuple[int, int, int, int, int]:
    """Describe a turned grid: its height and width, and a, b, c such that its cell (i, j) is cell a + b i + c j."""
    h, w = height, width
    if turn == 0:
        return h, w, 0, w, 1
    if turn == 1:  # a quarter counter-clockwise
        return w, h, w - 1, -1, w
    if turn == 2:
        return h, w, h * w - 1, -w, -1
    if turn == 3:  # a quarter clockwise
        return w, h, (h - 1) * w, 1, -w
    if turn == 4:  # left-right mirror
        return h, w, w - 1, w, -1
    if turn == 5:  # upside down
        return h, w, (h - 1) * w, -w, 1
    if turn == 6:  # transposed
        return w, h, 0, 1, w
    return w, h, h * w - 1, -1, -w  # a quarter counter-clockwise, then the left-right mirror


@compiled
def place(
    row: UInt8, canvas: int, grid: UInt8, height: int, width: int, turn: int, colours: UInt8, down: int, right: int
) -> None:
    """Put a turned, recoloured grid on a canvas of zeros (`row`, flat), and EOS below it and to the right of it."""
    h, w, a, b, c = walk(turn, height, width)
    for i in range(h):
        at = (down + i) * canvas + right
        source = a + b * i
        for j in range(w):
            row[at + j] = colours[grid[source]] + 2
            source += c
    if down + h < canvas:
        for j in range(w):
            row[(down + h) * canvas + right + j] = 1
    if right + w < canvas:
        for i in range(h):
            row[(down + i) * canvas + right + w] = 1


@compiled
def place_marked(
    row: UInt8, canvas: int, grid: UInt8, height: int, width: int, turn: int, colours: UInt8, down: int, right: int
) -> None:
    """Put a turned, recoloured grid on a canvas of zeros (`row`, flat), and a marker at two corners outside of it.

    The first marker is at (`down`, `right`), the grid one cell below and to the right of it.
    """
    h, w, a, b, c = walk(turn, height, width)
    row[down * canvas + right] = 1
    row[(down + h + 1) * canvas + right + w + 1] = 1
    for i in range(h):
        at = (down + 1 + i) * canvas + right + 1
        source = a + b * i
        for j in range(w):
            row[at + j] = colours[grid[source]] + 2
            source += c


@compiled
def place_pairs(
    inputs: UInt8,
    labels: UInt8,
    canvas: int,
    cells: UInt8,
    offsets: Int64,
    heights: Int64,
    widths: Int64,
    turns: Int64,
    colours: UInt8,
    shifts: npt.NDArray[np.float64],
    marked: bool,
) -> None:
    """Fill `inputs` and `labels` [V * E, canvas^2] with every pair (E) of every variant (V).

    `shifts` [V, E, 2] in [0, 1) says where a pair goes among the places it fits, down and right; 0 is the corner. With
    `marked` grids are placed by `place_marked`, whose markers take two cells of the canvas.
    """
    pairs, room = len(heights) // 2, canvas - 2 if marked else canvas
    for variant in range(len(turns)):
        turn, table = turns[variant], colours[variant]
        for pair in range(pairs):
            x, y = 2 * pair, 2 * pair + 1
            tall, wide = max(heights[x], heights[y]), max(widths[x], widths[y])
            if turn == 1 or turn == 3 or turn >= 6:
                tall, wide = wide, tall
            down = int(shifts[variant, pair, 0] * (room - tall + 1))
            right = int(shifts[variant, pair, 1] * (room - wide + 1))
            row = variant * pairs + pair
            if marked:
                place_marked(inputs[row], canvas, cells[offsets[x] :], heights[x], widths[x], turn, table, down, right)
                place_marked(labels[row], canvas, cells[offsets[y] :], heights[y], widths[y], turn, table, down, right)
            else:
                place(inputs[row], canvas, cells[offsets[x] :], heights[x], widths[x], turn, table, down, right)
                place(labels[row], canvas, cells[offsets[y] :], heights[y], widths[y], turn, table, down, right)


@compiled
def all_colours(row: UInt8, canvas: int, box: Int64) -> bool:
    """Say whether there are cells in `box` (first row and column, last row and column), and all are of a colour."""
    for i in range(box[0], box[2] + 1):
        for j in range(box[1], box[3] + 1):
            if not 2 <= row[i * canvas + j] <= 11:
                return False
    return bool(box[0] <= box[2] and box[1] <= box[3])


@compiled
def marked_boxes(sequences: UInt8, canvas: int, boxes: Int64) -> None:
    """Fill `boxes` [N, 4] with first row and column, last row and column of the grid that each canvas shows.

    It is what lies between the first marker and the last one if that is all colours, else what encloses all colours if
    that is all colours; else there is none, and the last row is before the first.
    """
    for n in range(len(sequences)):
        row, box = sequences[n], boxes[n]
        first, last = -1, -1
        for at in range(canvas * canvas):
            if row[at] == 1:
                first, last = at if first < 0 else first, at
        if first >= 0:
            box[0], box[1] = first // canvas + 1, first % canvas + 1
            box[2], box[3] = last // canvas - 1, last % canvas - 1
            if all_colours(row, canvas, box):
                continue
        box[0], box[1], box[2], box[3] = canvas, canvas, -1, -1
        for at in range(canvas * canvas):
            if 2 <= row[at] <= 11:
                box[0], box[1] = min(box[0], at // canvas), min(box[1], at % canvas)
                box[2], box[3] = max(box[2], at // canvas), max(box[3], at % canvas)
        if not all_colours(row, canvas, box):
            box[0], box[1], box[2], box[3] = 0, 0, -1, -1


@compiled
def move_to_corner(sequences: UInt8, canvas: int, boxes: Int64, rows: UInt8) -> None:
    """Fill `rows` [N, L], which hold zeros, with the grids in `boxes` [N, 4] of `sequences` as `place` lays them out.

    They stand in the upper left corner; a box without cells leaves its row as it is.
    """
    for n in range(len(sequences)):
        top, left = boxes[n, 0], boxes[n, 1]
        h, w = boxes[n, 2] - top + 1, boxes[n, 3] - left + 1
        if h < 1 or w < 1:
            continue
        for i in range(h):
            for j in range(w):
                rows[n, i * canvas + j] = sequences[n, (top + i) * canvas + left + j]
            if w < canvas:
                rows[n, i * canvas + w] = 1
        if h < canvas:
            for j in range(w):
                rows[n, h * canvas + j] = 1


@compiled
def crop_sizes(sequences: UInt8, canvas: int, sizes: Int64) -> None:
    """Fill `sizes` [N, 2] with height and width of the largest rectangle of colours that starts in the corner."""
    for n in range(len(sequences)):
        width, best = canvas, 0
        for i in range(canvas):
            run = 0
            while run < width and 2 <= sequences[n, i * canvas + run] <= 11:
                run += 1
            width = run
            if width == 0:
                break
            if (i + 1) * width > best:
                best = (i + 1) * width
                sizes[n, 0], sizes[n, 1] = i + 1, width


@compiled
def mix(x: np.uint64) -> np.uint64:
    """Scatter the bits of a number (the finaliser of splitmix64)."""
    z = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def restore(
    sequences: UInt8,
    canvas: int,
    sizes: Int64,
    salts: UInt64,
    turns: Int64,
    colours: UInt8,
    grids: UInt8,
    shapes: Int64,
    keys: UInt64,
) -> None:
    """Take cropped grids of variants back to their tasks, and fill `keys` [N, 2] with 128 bits that name each.

    `sizes` [N, 2] are those of `crop_sizes`; `turns` [N] and the tables `colours` [N, 10] undo the
    variant. The restored cells go to `grids` [N, L], row by row without a gap, and their size to `shapes` [N, 2]. Equal
    salts [N] and equal grids have equal keys, others but for one chance in 2^128. Sixteen cells are mixed at a time.
    """
    for n in range(len(sequences)):
        width, turn = sizes[n, 1], turns[n]
        h, w, a, b, c = walk(turn, sizes[n, 0], width)
        shapes[n, 0], shapes[n, 1] = h, w
        if width > 0:  # the walk over a grid without gaps becomes one over the canvas
            a = a // width * canvas + a % width
        rows_by_j = turn == 1 or turn == 3 or turn >= 6
        b = (1 if b > 0 else -1) * (1 if rows_by_j else canvas)
        c = (1 if c > 0 else -1) * (canvas if rows_by_j else 1)
        one = mix(mix(salts[n]) + np.uint64(h * 65 + w))  # apart: 1 x 2 of salt 0 is not 1 x 1 of salt 1
        two = mix(one + np.uint64(0x9E3779B97F4A7C15))
        word, at = np.uint64(0), 0
        for i in range(h):
            source = a + b * i
            for _ in range(w):
                colour = colours[n, sequences[n, source] - 2]
                grids[n, at] = colour
                word = (word << np.uint64(4)) | np.uint64(colour)
                source += c
                at += 1
                if at % 16 == 0:
                    one, two = mix(one ^ word), mix(two + word)
                    word = np.uint64(0)
        keys[n, 0], keys[n, 1] = mix(one ^ word), mix(two + word)


@compiled
def colour_keys(cells: UInt8, offsets: Int64, heights: Int64, widths: Int64, zobrist: UInt64, keys: UInt64) -> None:
    """Fill `keys` [grids, 8 turns, 10 colours, 10 new colours, 2]: what the cells of one colour add to a grid's key.

    `zobrist` [31 * 31, 10, 2] holds random bits for every place and colour, and in row 900 + side for every size.
    """
    for g in range(len(heights)):
        for turn in range(8):
            h, w, a, b, c = walk(turn, heights[g], widths[g])
            for i in range(h):
                for j in range(w):
                    colour = cells[offsets[g] + a + b * i + c * j]
                    for new in range(10):
                        keys[g, turn, colour, new, 0] ^= zobrist[i * 30 + j, new, 0]
                        keys[g, turn, colour, new, 1] ^= zobrist[i * 30 + j, new, 1]
            for new in range(10):  # the size goes to colour 0: every variant has it, as some colour
                for lane in range(2):
                    keys[g, turn, 0, new, lane] ^= zobrist[900 + h, 0, lane] ^ zobrist[900 + w, 1, lane]


@compiled
def variant_keys(keys: UInt64, turns: Int64, colours: UInt8, found: UInt64) -> None:
    """Fill `found` [V, 2] with a 128-bit key of each variant's set of pairs, whatever their order.

    Two grids differ in their XOR of random bits but for one chance in 2^128; a pair's key is scattered before the sum,
    so a swap of outputs between pairs shows.
    """
    for variant in range(len(turns)):
        turn = turns[variant]
        for lane in range(2):
            total = np.uint64(0)
            for pair in range(len(keys) // 2):
                x, y = np.uint64(0), np.uint64(0)
                for colour in range(10):
                    new = colours[variant, colour]
                    x ^= keys[2 * pair, turn, colour, new, lane]
                    y ^= keys[2 * pair + 1, turn, colour, new, lane]
                total += mix(mix(x) + y)
            found[variant, lane] = total
