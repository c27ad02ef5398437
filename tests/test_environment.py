import getpass
import platform
import re

import msgspec
import torch

from perfmamba.environment import capture_environment


def test_names_versions_and_machine():
    environment = capture_environment(torch.device("cpu"))
    assert environment.versions["torch"] == torch.__version__
    assert {"perfmamba", "python", "transformers"} <= set(environment.versions)
    assert environment.device == environment.cpu
    assert environment.cpu_threads == torch.get_num_threads()
    assert environment.commit is None or re.fullmatch(r"[0-9a-f]{12}(-dirty)?", environment.commit)


def test_tells_nothing_of_who_and_where():
    text = msgspec.json.encode(capture_environment(torch.device("cpu"))).decode()
    assert "/" not in text
    # a host or user named like a part of a version would be found by chance
    for secret in (platform.node(), getpass.getuser()):
        assert not re.search(rf"\b{re.escape(secret)}\b", text)
