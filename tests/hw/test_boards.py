"""The board table."""

import pytest

from brevitas_defakeq import UserError


def test_names_and_limits():
    from hw.boards import BOARDS, MARGIN, board_named

    board = board_named("zcu104")
    assert board is BOARDS["ZCU104"] and not board.versal and board_named("VCK190").versal
    assert board.limits() == {"lut": 161280, "bram18": 499, "dsp": 1382, "uram": 76}
    assert set(MARGIN) == set(board.limits())


def test_rate_of_a_pipeline():
    from hw.boards import board_named

    assert board_named("Pynq-Z1").frames_per_second(100_000) == 1000


def test_an_unknown_board_is_told_the_known_ones():
    from hw.boards import BOARDS, board_named

    with pytest.raises(UserError, match="--board DE10: unknown") as raised:
        board_named("DE10")
    assert all(name in str(raised.value) for name in BOARDS)


@pytest.mark.fpga
def test_parts_and_multipliers_are_finns():
    from hw.boards import BOARDS
    from hw.finn_quirks import quiet_finn

    with quiet_finn():
        from finn.util.basic import get_dsp_block, is_versal, part_map

        for board in BOARDS.values():
            if board.target != "ecp5":
                assert part_map[board.name] == board.part
                assert get_dsp_block(board.part) == board.dsp_block
                assert is_versal(board.part) == board.versal
