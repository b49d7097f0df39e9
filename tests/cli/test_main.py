"""`emmap.__main__`: the entry of the program."""

from __future__ import annotations

import sys

import pytest

from emmap.__main__ import main


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_says_which_extra_is_missing(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert missing in output.err
    assert "pip install 'emmap[cli]'" in output.err
