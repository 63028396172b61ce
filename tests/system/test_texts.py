import pytest

from bit_keras.system import texts


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[31mred\x07\x9b", r"\x1b[31mred\x07\x9b"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("bad\udcff", r"bad\udcff"),
        ("漢字 é 😀 עברית 👩\u200d🔬 $a_b$ \\n", "漢字 é 😀 עברית 👩\u200d🔬 $a_b$ \\n"),
    ],
)
def test_what_is_no_character_is_escaped(text, line):
    assert texts.one_line(text) == line
    assert texts.printable(f"{text}\n\x1b") == f"{texts.printable(text)}\n\\x1b"
    texts.one_line(text).encode()


def test_line_breaks_of_messages_remain():
    assert texts.printable("a\nb\r\x1b") == "a\nb\\r\\x1b"


@pytest.mark.parametrize(
    ("speed", "text"), [(0.04, "0.0"), (0.26, "0.3"), (9.94, "9.9"), (9.96, "10"), (1437.2, "1,437")]
)
def test_slow_speeds_have_a_decimal(speed, text):
    assert texts.images_per_second(speed) == f"{text} images/s"


def test_labels_are_lines_that_are_not_blank():
    assert [texts.label(name) for name in ("cat", "", " ", "a\nb", "\n")] == ["cat", "''", "' '", r"a\nb", r"'\n'"]


def test_long_texts_keep_both_ends():
    assert texts.shortened("abcdefghij", 10) == "abcdefghij"
    assert texts.shortened("abcdefghijk", 10) == "abcd...ijk"
    assert texts.shortened("漢" * 5, 10) == "漢" * 5
    assert texts.shortened("漢" * 6, 10) == "漢漢...漢"


def test_cells_of_a_table_hold_no_markup():
    assert texts.cell("a|b\n<b>&") == r"a\|b\\n&lt;b&gt;&amp;"


def test_names_in_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffcat\r\n猫\n".encode())
    assert texts.read_names("class_names", path) == ["cat", "猫"]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"^class_names must be a text file in UTF-8 with one name per line, got "):
        texts.read_names("class_names", path)
    with pytest.raises(FileNotFoundError, match=r"^class_names must be a text file .*, got nowhere: No such file"):
        texts.read_names("class_names", "nowhere")


def test_a_number_with_its_noun():
    assert [texts.counted(number, "run") for number in (0, 1, 2, 1437)] == ["0 runs", "1 run", "2 runs", "1,437 runs"]
    assert [texts.counted(number, "class", "classes") for number in (1, 3)] == ["1 class", "3 classes"]
