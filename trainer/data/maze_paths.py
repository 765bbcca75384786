"""The compiled loops over mazes: distances, how many shortest paths there are, and mazes with a long one.

All in one file, because numba notices no change of a function in another one (see `compiled`).
Legend: a maze is `open_cells` uint8 [side * side], 1 where one can go; `S` the start, `G` the goal, neighbours share an
edge. Distances are numbers of moves, so a path of distance d has d + 1 cells, both ends counted.
"""

import numpy as np
import numpy.typing as npt

from trainer.data.compiled import compiled

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

LEAST_WALLS, MOST_WALLS = 0.30, 0.42
"""Part of the cells that are walls. From 0.41 on, open cells hardly hang together."""


@compiled
def random_bits(state: UInt64) -> np.uint64:
    """Return the next 64 random bits and step `state` [1] (splitmix64)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z: np.uint64 = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def random_below(state: UInt64, limit: int) -> int:
    """Return a random number in 0..limit-1, for limits far below 2^31."""
    return int((random_bits(state) >> np.uint64(33)) % np.uint64(limit))


@compiled
def explore(open_cells: UInt8, side: int, start: int, distances: Int32, ways: UInt8, queue: Int32) -> int:
    """Fill `distances` [cells] from `start` (-1: out of reach) and `ways` [cells]: shortest paths, 2 for more than one.

    `queue` [cells] gets the cells in reach, nearest first; returns how many.
    """
    distances[:] = -1
    ways[:] = 0
    distances[start], ways[start], queue[0] = 0, 1, start
    head, tail = 0, 1
    while head < tail:
        here = queue[head]
        head += 1
        column = here % side
        for turn in range(4):
            if turn == 0:
                there = here - side
            elif turn == 1:
                there = here + side
            elif turn == 2:
                there = here - 1 if column > 0 else -1
            else:
                there = here + 1 if column < side - 1 else -1
            if there < 0 or there >= side * side or not open_cells[there]:
                continue
            if distances[there] < 0:
                distances[there], ways[there] = distances[here] + 1, ways[here]
                queue[tail] = there
                tail += 1
            elif distances[there] == distances[here] + 1:
                ways[there] = min(2, ways[there] + ways[here])
    return tail


@compiled
def trace(distances: Int32, side: int, goal: int, path: UInt8) -> None:
    """Set `path` [cells] to 1 on one shortest path from where `distances` count to `goal`, both ends left out."""
    path[:] = 0
    here = goal
    while distances[here] > 1:
        column = here % side
        before = here
        if here >= side and distances[here - side] == distances[here] - 1:
            before = here - side
        elif here + side < side * side and distances[here + side] == distances[here] - 1:
            before = here + side
        elif column > 0 and distances[here - 1] == distances[here] - 1:
            before = here - 1
        else:
            before = here + 1
        path[before] = 1
        here = before


@compiled
def lengthen(
    open_cells: UInt8, side: int, start: int, goal: int, moves: int, state: UInt64, near: Int32, far: Int32
) -> int:
    """Put walls on shortest paths until only one is left, of `moves` or more if it can be; return its moves.

    Walls are only added. A cell that every path needs stays needed, so each is tried once. Where there are several
    shortest paths, a wall on a cell that not all of them use leaves one, so it always ends with a single one.
    `near` and `far` [cells] end as the distances from start and goal.
    """
    cells = side * side
    needed, candidates = np.zeros(cells, np.uint8), np.empty(cells, np.int32)
    ways, queue, at_distance = np.empty(cells, np.uint8), np.empty(cells, np.int32), np.empty(cells, np.int32)
    needed[start] = needed[goal] = 1
    while True:
        explore(open_cells, side, goal, far, ways, queue)
        explore(open_cells, side, start, near, ways, queue)
        length = int(near[goal])
        at_distance[:] = 0
        for cell in range(cells):
            if near[cell] >= 0 and near[cell] + far[cell] == length:
                at_distance[near[cell]] += 1
        count = 0
        for cell in range(cells):
            on_path = near[cell] >= 0 and near[cell] + far[cell] == length
            if on_path and not needed[cell] and (length < moves or at_distance[near[cell]] > 1):
                candidates[count] = cell
                count += 1
        if count == 0:
            if length >= moves or ways[goal] == 1:
                return length
            moves = 0  # no longer path is to be had: make this one the only one
            continue
        cell = candidates[random_below(state, count)]
        open_cells[cell] = 0
        explore(open_cells, side, start, near, ways, queue)
        if near[goal] < 0:
            open_cells[cell], needed[cell] = 1, 1


@compiled
def reopen(open_cells: UInt8, side: int, start: int, goal: int, walls: int, state: UInt64) -> None:
    """Take away random walls until `walls` are left, but none that would make a shortest path of another length or way.

    So there are loops and open places again where walls were added.
    """
    cells = side * side
    near, far, queue = np.empty(cells, np.int32), np.empty(cells, np.int32), np.empty(cells, np.int32)
    ways = np.empty(cells, np.uint8)
    explore(open_cells, side, goal, far, ways, queue)
    explore(open_cells, side, start, near, ways, queue)
    length, beyond = near[goal], 4 * cells  # farther than anything
    left = cells - int(open_cells.sum())
    for place in range(cells):
        queue[place] = place
    order = queue.copy()
    for place in range(cells - 1, 0, -1):
        other = random_below(state, place + 1)
        order[place], order[other] = order[other], order[place]
    for cell in order:
        if left <= walls:
            return
        if open_cells[cell]:
            continue
        to_start = to_goal = beyond
        column = cell % side
        for turn in range(4):
            there = (cell - side, cell + side, cell - 1, cell + 1)[turn]
            if there < 0 or there >= cells or (turn == 2 and column == 0) or (turn == 3 and column == side - 1):
                continue
            if open_cells[there] and near[there] >= 0:
                to_start, to_goal = min(to_start, near[there] + 1), min(to_goal, far[there] + 1)
        if to_start + to_goal > length:
            open_cells[cell] = 1
            left -= 1
            explore(open_cells, side, goal, far, ways, queue)
            explore(open_cells, side, start, near, ways, queue)


@compiled
def make_mazes(
    side: int, moves: int, states: UInt64, open_cells: UInt8, paths: UInt8, starts: Int32, goals: Int32, lengths: Int32
) -> None:
    """Make one maze per state [n]: `open_cells` and `paths` [n, cells], `starts`, `goals` and moves `lengths` [n].

    Random walls, a random start and the cell farthest from it; then walls are added until the shortest path is the
    only one, and of `moves` or more if it can be, and as many are taken away elsewhere. 0 moves: nothing came of it.
    """
    cells = side * side
    near, far = np.empty(cells, np.int32), np.empty(cells, np.int32)
    ways, queue = np.empty(cells, np.uint8), np.empty(cells, np.int32)
    for maze in range(len(states)):
        state, board = states[maze : maze + 1], open_cells[maze]
        share = LEAST_WALLS + (MOST_WALLS - LEAST_WALLS) * random_below(state, 1 << 20) / (1 << 20)
        for cell in range(cells):
            board[cell] = 1 if random_below(state, 1 << 20) >= share * (1 << 20) else 0
        start = random_below(state, cells)
        board[start] = 1
        walls = cells - int(board.sum())
        goal = queue[explore(board, side, start, near, ways, queue) - 1]
        starts[maze], goals[maze], lengths[maze] = start, goal, 0
        if goal == start:
            continue
        lengths[maze] = lengthen(board, side, start, goal, moves, state, near, far)
        reopen(board, side, start, goal, walls, state)
        explore(board, side, start, near, ways, queue)
        trace(near, side, goal, paths[maze])
        if ways[goal] != 1 or near[goal] != lengths[maze]:  # cannot happen; what is proved here is what is promised
            lengths[maze] = 0
