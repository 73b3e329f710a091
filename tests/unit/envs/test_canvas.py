"""Drawing primitives of the arcade."""

import numpy as np
import pygame

from reverie.envs.domains.miniarcade.canvas import (
    StaticLayer,
    bold_text,
    fill_polygon,
    fill_rows,
    new_canvas,
    new_layer,
    to_frame,
)


def test_a_frame_is_rgb_with_rows_first() -> None:
    canvas = new_canvas()
    canvas.set_at((5, 9), (1, 2, 3))
    frame = to_frame(canvas)
    assert frame.shape == (224, 224, 3)
    assert frame[9, 5].tolist() == [1, 2, 3]
    assert np.count_nonzero(frame) == 3


def test_a_frame_does_not_change_when_the_canvas_does() -> None:
    canvas = new_canvas()
    frame = to_frame(canvas)
    canvas.fill((9, 9, 9))
    assert not frame.any()


def covered(canvas: pygame.Surface) -> list[str]:
    pixels = to_frame(canvas)[:6, :8, 0]
    return ["".join("#" if value else "." for value in row) for row in pixels]


def test_a_polygon_covers_both_ends_of_every_row() -> None:
    canvas = new_canvas()
    fill_polygon(canvas, (255, 255, 255), [(1.9, 1), (6, 1), (6, 4.5), (1, 4)])
    assert covered(canvas) == [
        "........",
        ".######.",
        ".######.",
        ".######.",
        ".######.",
        "........",
    ]


def test_a_triangle_is_filled_by_truncated_crossings() -> None:
    canvas = new_canvas()
    fill_polygon(canvas, (255, 255, 255), [(0, 0), (6, 0), (3, 4)])
    assert covered(canvas) == [
        "#######.",
        "######..",
        ".####...",
        "..##....",
        "...#....",
        "........",
    ]


def test_a_flat_polygon_is_one_line() -> None:
    canvas = new_canvas()
    fill_polygon(canvas, (255, 255, 255), [(2, 3), (5, 3), (4, 3)])
    assert covered(canvas)[3] == "..####.."


def test_inner_horizontal_edges_are_drawn() -> None:
    canvas = new_canvas()
    shape = [(0, 0), (2, 0), (2, 2), (6, 2), (6, 4), (0, 4)]
    fill_polygon(canvas, (255, 255, 255), shape)
    assert covered(canvas)[:5] == ["###.....", "###.....", "#######.", "#######.", "#######."]


def test_rows_are_painted_downwards_from_the_given_corner() -> None:
    canvas = new_canvas()
    fill_rows(canvas, [(10, 0, 0), (20, 0, 0)], x=2, y=3, width=4)
    frame = to_frame(canvas)[:, :, 0]
    assert frame[3, 2:6].tolist() == [10] * 4
    assert frame[4, 2:6].tolist() == [20] * 4
    assert np.count_nonzero(frame) == 8


def test_drawing_on_a_layer_overwrites_and_blitting_blends() -> None:
    layer = new_layer(1, 1)
    layer.fill((200, 200, 200, 255))
    layer.fill((100, 0, 0, 51))
    canvas = new_canvas()
    canvas.blit(layer, (0, 0))
    assert to_frame(canvas)[0, 0].tolist() == [20, 0, 0]


def test_a_static_layer_is_repainted_only_for_another_key() -> None:
    painted: list[int] = []

    def paint(canvas: pygame.Surface, key: int) -> None:
        painted.append(key)
        canvas.fill((key, 0, 0))

    layer, canvas = StaticLayer(paint), new_canvas()
    for key in (7, 7, 9, 9):
        layer.show(canvas, key)
        assert to_frame(canvas)[0, 0, 0] == key
    assert painted == [7, 9]


def test_the_key_colour_of_a_static_layer_stays_transparent() -> None:
    layer = StaticLayer(lambda canvas, _key: canvas.set_at((0, 0), (5, 5, 5)), color_key=(1, 2, 3))
    canvas = new_canvas()
    canvas.fill((40, 40, 40))
    layer.show(canvas, None)
    frame = to_frame(canvas)
    assert frame[0, 0].tolist() == [5, 5, 5]
    assert frame[0, 1].tolist() == [40, 40, 40]


def test_text_is_set_in_the_bundled_face() -> None:
    # A fixed picture of the digit: another face, or another size, has another box.
    assert bold_text("0", 20, (255, 255, 255)).get_size() == (14, 24)
