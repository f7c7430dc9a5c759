"""Help in groups, on a terminal and in a pipe; completion; a start that imports no torch."""

import os
import pty
import subprocess
import sys

GROUPS = ["Detector", "Data", "Faces", "Budget and method", "Run", "Output"]
PROGRAM = "import sys; sys.argv[0] = 'defakeq'; from brevitas_defakeq.cli import main; main()"


def on_a_terminal(*arguments: str) -> str:
    """The output of a command whose standard output is a terminal."""
    screen, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment):
        os.close(terminal)
        pieces = []
        try:
            while piece := os.read(screen, 4096):
                pieces.append(piece)
        except OSError:  # Linux: the other end is closed
            pass
    os.close(screen)
    return b"".join(pieces).decode()


def test_groups_in_a_pipe_are_headings(workplace):
    """Plain text of at most 80 columns, without boxes and colours."""
    text = workplace("quantize", "--help").output
    lines = text.splitlines()
    headings = [line.rstrip(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Arguments", *GROUPS, "Options"]
    assert text.isascii() and "\x1b" not in text
    longest = [line for line in lines if len(line) > 80]
    assert all(line.startswith("  --") for line in longest), longest


def test_groups_on_a_terminal_are_panels():
    text = on_a_terminal("quantize", "--help")
    positions = [text.index(f" {group} ") for group in GROUPS]
    assert positions == sorted(positions) and "╭" in text


def test_choices_are_completed():
    words = "defakeq quantize --recipe "
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60,
        env={**os.environ, "_DEFAKEQ_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "3"},
    )  # fmt: skip
    assert done.stdout.split() == ["best", "paper"], done


def test_commands_start_without_torch():
    """Help and completion answer at once."""
    code = "import sys; import brevitas_defakeq.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done
