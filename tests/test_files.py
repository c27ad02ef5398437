from pathlib import Path

import pytest

from perfmamba.errors import InputError
from perfmamba.files import make_folder, replacing


def test_the_file_appears_when_the_block_succeeds(tmp_path):
    path = tmp_path / "result.json"
    with replacing(path) as partial:
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_block_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "result.json"
    path.write_text("old")

    def interrupted_write():
        with replacing(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted_write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_clear_error(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")

    def fill_disk():
        with replacing(path), Path("/dev/full").open("w") as full:
            full.write("x" * 10_000)

    with pytest.raises(InputError, match=r"cannot write .*result\.json: No space left on device"):
        fill_disk()
    assert path.read_text() == "old"


def test_a_folder_where_a_file_is(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        make_folder(tmp_path / "file" / "results")
