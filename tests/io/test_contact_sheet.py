"""Contact sheets: every picture is on them, unchanged where it has the size of a cell, above its label."""

import numpy as np
import pytest

from jaxnst.io.contact_sheet import columns_for, contact_sheet, in_lines

pytestmark = pytest.mark.fast

COLOURS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (0, 0, 0.2)]


def flat(height, width, colour):
    """Returns a picture of one colour."""
    return np.broadcast_to(np.float32(colour), (height, width, 3))


def places(sheet, colour):
    """Returns the rows and columns where a sheet has a colour."""
    return np.nonzero((np.abs(sheet - np.float32(colour)) < 1e-3).all(axis=-1))


@pytest.mark.parametrize("count", range(1, 8))
def test_every_picture_is_on_the_sheet_once_and_whole_in_reading_order(count):
    pictures = [flat(64 - 8 * (i % 2), 64, colour) for i, colour in enumerate(COLOURS[:count])]
    sheet = contact_sheet(pictures, [""] * count, side=64)
    corners = []
    for picture, colour in zip(pictures, COLOURS, strict=False):
        rows, columns = places(sheet, colour)
        assert len(rows) == picture.shape[0] * picture.shape[1]
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == picture.shape[:2]
        corners.append((rows.max(), columns.min()))
    assert corners == sorted(corners)  # pictures of a line stand on one line
    lines = len({row for row, _ in corners})
    assert lines == {1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 3}[count]


def test_pictures_of_all_sizes_are_brought_to_one():
    sheet = contact_sheet([flat(10, 20, COLOURS[0]), flat(300, 150, COLOURS[1])], ["", ""], side=100)
    for colour, size in zip(COLOURS, [(50, 100), (100, 50)], strict=False):
        rows, columns = places(sheet, colour)
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == size


def test_a_picture_keeps_its_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.float32) / 255
    sheet = contact_sheet([picture], ["label"], side=64)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, picture.shape).reshape(-1, *picture.shape)
    assert np.abs(windows - picture).max(axis=(1, 2, 3)).min() < 1e-6


def test_labels_stand_below_their_pictures_and_long_ones_are_broken():
    def ink(label, side=96):
        sheet = contact_sheet([flat(side, side, (1, 1, 1))], [label], side)
        dark = sheet.min(axis=-1) < 0.5
        assert not dark[: side + 2].any()
        assert not dark[:, [0, 1, -2, -1]].any()
        return sheet.shape[0], dark.sum()

    assert ink("")[1] == 0
    assert 0 < ink("i")[1] < ink("step 100")[1]
    assert ink("a")[0] == ink("")[0]
    assert ink("several words that cannot stand in one line")[0] > ink("a")[0]
    assert ink("one_word_that_is_as_long_as_a_line_of_words")[0] > ink("a")[0]


def test_columns_can_be_chosen():
    tall = contact_sheet([flat(32, 32, colour) for colour in COLOURS], [""] * 7, 32, columns=1)
    wide = contact_sheet([flat(32, 32, colour) for colour in COLOURS], [""] * 7, 32, columns=7)
    assert tall.shape[0] > 7 * 32 > 2 * tall.shape[1]
    assert wide.shape[1] > 7 * 32 > 2 * wide.shape[0]


@pytest.mark.parametrize("columns", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 7, 8, 9])
def test_lines_hold_every_index_in_order(count, columns):
    lines = in_lines(count, columns)
    assert {len(line) for line in lines} == {columns}
    flattened = [index for line in lines for index in line]
    assert flattened[:count] == list(range(count))
    assert flattened[count:] == [None] * (len(lines) * columns - count)
    assert len(lines) * columns - count < columns


def test_large_sheets_are_no_wider_than_eight():
    assert [columns_for(count) for count in (1, 4, 5, 9, 10, 60, 1000)] == [1, 4, 3, 3, 4, 8, 8]
