"""Reading delimited text: what a header is, how cells are parted, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fl.task.data import DataError
from fl.task.data.columns import stack_tables
from fl.task.data.table import read_table


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("age,sex\n1,2\n", ("age", "sex")),
        ("1,2\n3,4\n", ("0", "1")),
        ("?,a\n1,b\n", ("0", "1")),
        (",age\n0,3\n", ("0", "age")),  # as pandas writes an index
        ("colour,size\nred,s\nblue,m\n", ("colour", "size")),
        ("red,s\nblue,m\nred,s\n", ("0", "1")),  # a title does not occur again
        ("x,x\n1,2\n", ("x.1", "x.2")),
        ("x,x.1,x\n1,2,3\n", ("x.2", "x.1", "x.3")),
        ("id,2019,2020\n7,1,2\n", ("id", "2019", "2020")),
        ("age,1\n1,0\n2,1\n3,0\n", ("age", "1")),
        ("0,1,2,3\n5,5,5,5\n", ("0", "1", "2", "3")),  # a counting row
        ("1,2,3,4,y\n5,5,5,5,a\n6,5,5,5,a\n", ("1", "2", "3", "4", "y")),
        ("0,1\n5,5\n", ("0", "1")),
        ("a,b,a,b,c\np,q,r,q,s\np,q,r,q,t\n", ("a.1", "b.1", "a.2", "b.2", "c")),
        ("sep=;\na;b\n1,5;2\n", ("a", "b")),
        ('"sep=|"\na|b\n1|2\n', ("a", "b")),
        ("a;b\n1;2\n", ("a", "b")),
        ('"a,b",c;d\n1,2\n', ("a,b", "c;d")),  # a delimiter between quotes parts nothing
        ("\ufeffa,b\n1,2\n", ("a", "b")),
        ("a\tb\r\n\r\n1\t2\r\n", ("a", "b")),
        ("y\n1\n", ("y",)),
    ],
)
def test_header_and_delimiter_are_found_out(write, text, names):
    assert read_table(write("t.csv", text)).names == names


def test_a_header_of_numbers_is_a_header_if_it_counts_or_is_told_or_known(write):
    path = write("t.csv", "7,2019,2021\n7,1,2\n")
    assert len(read_table(path)) == 2
    assert read_table(path, header=True).names == ("7", "2019", "2021")
    assert read_table(path, known_names=("7", "2019", "2021")).names == ("7", "2019", "2021")
    assert len(read_table(write("c.csv", "0,1,2,3\n5,5,5,5\n"))) == 1
    assert len(read_table(write("d.csv", "0,1,2,3\n5,5,5,5\n"), header=False)) == 2


@pytest.mark.parametrize("first", ["age,0.5", "age,7.0", "age,17", "63.0,typo"])
def test_a_first_line_of_words_and_numbers_over_numbers_is_asked_about(write, first):
    with pytest.raises(
        DataError, match=r"the first line of .*t.csv holds '(age|typo)' where the rows below hold numbers"
    ):
        read_table(write("t.csv", f"{first}\n1,0\n2,1\n3,0\n"))


def test_a_line_that_names_the_separator_is_no_row_and_counts_as_a_line(write):
    table = read_table(write("t.csv", "sep=;\na;b\n1;x,y\n"))
    assert [column.tolist() for column in table.columns] == [["1"], ["x,y"]]
    assert table.place(0).endswith("t.csv, line 3")


@pytest.mark.parametrize(
    ("name", "pack"), [("t.csv.gz", gzip.compress), ("t.csv.bz2", bz2.compress), ("t", lzma.compress)]
)
def test_packed_text_is_read_by_what_it_is(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack("é;b\n1;2\n".encode()))
    assert read_table(tmp_path / name).names == ("é", "b")
    (tmp_path / name).write_bytes(pack(b"a,b\n1,2\n" * 99)[:-7])
    with pytest.raises(DataError, match="cannot be unpacked: .*; expected a packed file that is whole; fetch it again"):
        read_table(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "latin-1", "utf-16-le"])
def test_text_is_read_in_its_encoding(tmp_path, encoding):
    path = tmp_path / "t.csv"
    path.write_bytes("größe,y\n1,é\n".encode(encoding))
    known = encoding if encoding in ("cp1252", "latin-1", "utf-16-le") else "auto"
    assert read_table(path, encoding=known).names == ("größe", "y")
    if known != "auto":
        with pytest.raises(DataError, match="is not UTF-8 text .*set data.encoding"):
            read_table(path)


def test_a_title_is_one_name_however_its_accents_are_composed(write):
    table = read_table(write("t.csv", "cafe\u0301,y\n1,2\n"))
    assert [table.find("caf\u00e9"), table.find("cafe\u0301")] == [0, 0]


@pytest.mark.parametrize("column", ["010", "1.0", "+1", "1_0"])
def test_a_place_has_one_spelling(write, column):
    with pytest.raises(DataError, match=f"has no column {re.escape(repr(column))}"):
        read_table(write("t.csv", "a,b\n1,2\n")).find(column)


def test_a_title_that_two_columns_have_is_asked_about(write):
    with pytest.raises(DataError, match=r"no column 'x' but 2 with that title.*did you mean 'x.1' or 'x.2'\?"):
        read_table(write("t.csv", "x,x\n1,2\n")).find("x")


def test_rows_know_their_line_and_cells_are_stripped(write):
    path = write("t.csv", "a,b\n\n1, 2 \n3,4\n")
    table = read_table(path)
    assert table.columns[1].tolist() == ["2", "4"]
    assert table.place(0) == f"{path}, line 3"


def test_a_column_is_found_by_name_before_place(write):
    table = read_table(write("t.csv", "2,b,c\n1,2,3\n"), header=True)
    assert [table.find(column) for column in (2, "2", "b", 1, -1, "-2")] == [0, 0, 1, 1, 2, 1]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("agee", r"t.csv has no column 'agee'; expected one of its 2 columns \(age, sex\); did you mean 'age'\?"),
        ("weight", "no column 'weight'.*name one of them, or its place"),
        (2, "no column at place 2; expected a place from 0 to 1, or -1 to -2"),
        (-3, "no column at place -3"),
    ],
)
def test_a_column_that_is_not_there_is_refused_with_those_that_are(write, column, message):
    with pytest.raises(DataError, match=message):
        read_table(write("t.csv", "age,sex\n1,2\n")).find(column)


def test_a_name_looked_for_without_a_header_says_how_to_declare_one(write):
    with pytest.raises(DataError, match="set data.header=true if the first line names the columns"):
        read_table(write("t.csv", "1,2\n3,4\n")).find("age")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv is empty; expected one or more rows"),
        ("\n \n", "t.csv is empty"),
        ("a,b\n1,2\n3\n", "t.csv, line 3 has 1 cell; expected 2, as in line 1"),
        (
            "a,b\n1,2,\n3,4,\n",
            "line 2 has 3 cells, as have all below it; expected 2, as in line 1; delete the mark at the end of each",
        ),
        ("a,b\n0,5,7\n1,5,8\n", "line 2 has 3 cells, as have all below it; .*; quote numbers with a decimal comma"),
        (
            "a,b,c\n1,2\n3,4\n",
            "line 2 has 2 cells, as have all below it; expected 3, .*; name these cells alone in the first line",
        ),
        ("a,b\n1,2,3\n", "t.csv, line 2 has 3 cells; expected 2, as in line 1; mend that line"),
        (
            "Export of Monday\na,b\n1,2\n3,4\n",
            "line 2 has 2 cells; expected 1, as in line 1; remove the 1 line above it if",
        ),
        (
            "# tool\n\n# v 3\na,b\n1,2\n3,4\n5,6\n",
            "line 4 has 2 cells; .*; remove the 2 lines above it if the table begins",
        ),
        ('a,b\n1,"2\n', "t.csv, line 2 cannot be read: .*; expected cells quoted as in RFC 4180"),
        ("word,other\n", "t.csv holds a header and no row; .*data.header=false"),
    ],
)
def test_a_file_that_is_no_table_is_refused(write, text, message):
    with pytest.raises(DataError, match=message):
        read_table(write("t.csv", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Export,,\n,,\nage,crea,y\n1,2,a\n3,4,b\n",
            "no column 'y'; .*; line 3 holds it: remove the lines above, which",
        ),
        (
            "patient,,lab\nage,crea,y\n1,2,a\n3,4,b\n",
            "no column 'y'; .*; line 2 holds it: remove the line above, which is no",
        ),
        ("null,?,y\n1,2,a\n3,4,b\n", "no column 'y'; .*; the first line holds it: set data.header=true"),
        ("age:crea:y\n1:2:a\n", "no column 'y'; .*; its cells are parted by ':': set 'data.delimiter=:'"),
        ("age crea y\n1 2 a\n", "no column 'y'; .*; its cells are parted by ' ': set 'data.delimiter= '"),
    ],
)
def test_a_header_further_down_or_in_one_cell_is_found(write, text, message):
    table = read_table(write("t.csv", text), header="null" not in text)
    with pytest.raises(DataError, match=message):
        table.find("y")


def test_runs_of_blanks_part_cells_once(write):
    table = read_table(write("t.csv", "age   crea  y \n  1    2.5  a\n10  3 b  \n"), delimiter=" ")
    assert (table.names, [column.tolist() for column in table.columns]) == (
        ("age", "crea", "y"),
        [["1", "10"], ["2.5", "3"], ["a", "b"]],
    )


def test_the_end_mark_of_dos_is_no_row_and_text_of_two_bytes_is_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,2\n\x1a")
    assert len(read_table(path)) == 1
    path.write_bytes("age,crea\n1,2\n3,4\n".encode("utf-16-be"))
    with pytest.raises(
        DataError, match="holds null bytes; .*; it looks like UTF-16 without its mark: set data.encoding=utf-16-be,"
    ):
        read_table(path)


def test_a_link_to_nothing_is_no_near_name_of_itself(tmp_path):
    (tmp_path / "t.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="t.csv is a link to .*gone.csv, which is not there; expected a link to a file"):
        read_table(tmp_path / "t.csv")


def test_an_address_is_no_file():
    with pytest.raises(
        DataError, match="https:/example.org/t.csv is an address; expected a file on this machine; fetch it"
    ):
        read_table(Path("https://example.org/t.csv"))


def test_an_absent_file_is_refused_with_what_is_near(write):
    path = write("heart.csv", "1,2\n")
    with pytest.raises(DataError, match=r"there is no .*hart.csv; .*did you mean .*heart.csv\?"):
        read_table(path.with_name("hart.csv"))
    with pytest.raises(DataError, match="nothing of that name is and no folder|no folder"):
        read_table(path.parent / "nowhere" / "x.csv")


def test_a_folder_and_bytes_are_no_table(tmp_path):
    with pytest.raises(DataError, match="is a folder; expected a file; .*data=folder"):
        read_table(tmp_path)
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,\xff\xfe\n")
    with pytest.raises(DataError, match=r"is not UTF-8 text \(byte \d+\); .*save it as CSV in UTF-8"):
        read_table(tmp_path / "t.csv")


def test_stacked_files_are_matched_by_name(write):
    first, second = write("a.csv", "x,y\n1,2\n"), write("b.csv", "y,z,x\n20,5,10\n")
    table = stack_tables([read_table(first), read_table(second)])
    assert [column.tolist() for column in table.columns] == [["1", "10"], ["2", "20"]]
    assert table.place(1) == f"{second}, line 2"


def test_files_that_do_not_stack_are_refused(write):
    first = read_table(write("a.csv", "age,y\n1,2\n"))
    with pytest.raises(DataError, match="b.csv has no column 'age'; .*rename 'aage'"):
        stack_tables([first, read_table(write("b.csv", "aage,y\n1,2\n"))])
    with pytest.raises(DataError, match=r"d.csv has no header; expected a header like the other files .*\(age, y\)"):
        stack_tables([first, read_table(write("d.csv", "2,1\n3,0\n"))])
    with pytest.raises(DataError, match=r"a.csv has a header \(age, y\); expected none, as in the other files"):
        stack_tables([read_table(write("d.csv", "2,1\n3,0\n")), first])
    with pytest.raises(DataError, match="f.csv has no column 'age'; .*rename 'AGE' if that is the one"):
        stack_tables([first, read_table(write("f.csv", "AGE,page,y\n1,2,3\n"))])
    with pytest.raises(DataError, match="c.csv has 3 columns and no header; expected 2 columns"):
        stack_tables([first, read_table(write("c.csv", "1,2,3\n"))])


@settings(max_examples=40, deadline=None)
@example(rows=[["", "", ""], ["a", "", ""], ["", "", ""], ["", "", ""]])
@example(rows=[["", "", ""], ["", "", ""]])
@given(
    rows=st.lists(
        st.lists(st.text("abc,;\"'\n 1.", max_size=6).map(str.strip), min_size=3, max_size=3), min_size=1, max_size=6
    )
)
def test_cells_read_back_as_they_were_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    path.write_text("\n".join(quoted))
    table = read_table(path, delimiter=",", header=False)
    while len(rows) > 1 and not any(rows[-1]):  # as spreadsheets write below a table
        rows = rows[:-1]
    assert [list(row) for row in zip(*table.columns, strict=True)] == rows
