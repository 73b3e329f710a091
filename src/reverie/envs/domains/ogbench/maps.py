"""The mazes: walls, start and goal cells. No simulator is imported here.

Row 0 is at the bottom of the picture, column 0 at its left; cell ``(row, column)`` has its centre
at ``x = 4 column - 4``, ``y = 4 row - 4``.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

Cell = tuple[int, int]
Pair = tuple[Cell, Cell]

UNIT = 4.0
"""Side of a cell."""
NUM_CELLS = 8
"""Rows, and columns, of every maze."""

# ``#`` is wall, ``.`` is free; the first line below the names is row 0.
_DRAWINGS = """
arena    medium   bottleneck circle   spiral   var1     var2
######## ######## ########   ######## ######## ####..## ..##..##
#......# #..##..# #..##..#   ##....## #......# ##....## #......#
#......# #..#...# #..##..#   #..##..# #.#.##.# #....... #..##...
#......# ##...### #......#   #.####.# #.#....# #.##.#.. #......#
#......# #..#...# #......#   #.####.# #....#.# ..#..#.# .......#
#......# #.#..#.# #..##..#   #..##..# #.##.#.# #....... ...##...
#......# #...#..# #..##..#   ##....## #......# ##....## #..#...#
######## ######## ########   ######## ######## ##.##### ##.#..##
"""

# (row, column) as two digits, in the order of the benchmark.
_CORNERS = "11 12 21 22 55 56 65 66 15 25 16 26 51 61 52 62 33 34 43 44"
_RING = "21 12 22 31 13 41 51 52 62 63 64 65 55 56 46 14 15 25 26 36"
_SPIRAL = "11 12 21 16 26 15 61 62 51 66 56 65 33 34 43 44"
_MEDIUM = "11-66 61-16 53-24 22-61 26-11 21-45 65-46 22-44 61-21 63-33"


@dataclass(frozen=True, kw_only=True, slots=True)
class Maze:
    """One maze, and the starts and goals that are drawn in it."""

    rows: tuple[str, ...]
    pairs: tuple[Pair, ...]
    """Start and goal cells; each episode draws one pair."""

    def is_free(self, cell: Cell) -> bool:
        """Tell whether a cell lies inside the maze and holds no wall."""
        row, column = cell
        is_inside = 0 <= row < NUM_CELLS and 0 <= column < NUM_CELLS
        return is_inside and self.rows[row][column] == "."


def centre_of(cell: Cell) -> tuple[float, float]:
    """Return x and y of the middle of a cell."""
    row, column = cell
    return UNIT * (column - 1), UNIT * (row - 1)


def cell_at(x: float, y: float) -> Cell:
    """Return the cell that a point lies in; it may lie outside the maze."""
    return round(y / UNIT) + 1, round(x / UNIT) + 1


def _cells(text: str) -> list[Cell]:
    return [(int(word[0]), int(word[1])) for word in text.split()]


def _distant_pairs(cells: Iterable[Cell], least: int) -> tuple[Pair, ...]:
    return tuple(
        (start, goal)
        for start, goal in itertools.permutations(cells, 2)
        if abs(start[0] - goal[0]) + abs(start[1] - goal[1]) >= least
    )


def _listed_pairs(text: str) -> tuple[Pair, ...]:
    pairs = (_cells(word.replace("-", " ")) for word in text.split())
    return tuple((start, goal) for start, goal in pairs)


def _mazes() -> dict[str, Maze]:
    names, *rows = (line.split() for line in _DRAWINGS.strip().splitlines())
    middle = [(row, column) for row in (2, 3, 4) for column in (2, 3, 4)]
    pairs = {
        "arena": _distant_pairs(middle, 2),
        "medium": _listed_pairs(_MEDIUM),
        "spiral": _distant_pairs(_cells(_SPIRAL), 3),
    }
    pairs |= {name: _distant_pairs(_cells(_CORNERS), 3) for name in ("bottleneck", "var2")}
    pairs |= {name: _distant_pairs(_cells(_RING), 3) for name in ("circle", "var1")}
    drawings = zip(*rows, strict=True)
    return {
        name: Maze(rows=tuple(drawing), pairs=pairs[name])
        for name, drawing in zip(names, drawings, strict=True)
    }


MAZES = _mazes()
"""Every maze by the name of its drawing; the benchmark calls ``medium`` just ``maze``."""
