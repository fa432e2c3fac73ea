"""Options and markers of the tests.

`make test` runs them in two processes (pytest-xdist). What shares a folder, a server or a browser is one group
(`xdist_group`): one process runs it, one test after another, and makes once what its tests share.
"""
import gc
import time

import pytest
import warm


def pytest_addoption(parser):
    parser.addoption("--changed", action="store_true", help="of the notebooks, those that differ from HEAD or depend on one")
    parser.addoption("--within", type=float, help="skip what would start after so many seconds")


def pytest_configure(config):
    config.began = time.time()
    if config.getoption("numprocesses", None) or hasattr(config, "workerinput"): warm.share_server()
    warm.fork_kernels()
    config.addinivalue_line("markers", "slow: takes more than some seconds; `-m 'not slow'` leaves it out")
    config.addinivalue_line("markers", "xdist_group(name): one process runs the tests of a group, one after another")


def pytest_unconfigure(config):
    "What is left is not looked through for garbage, five times over, as pytest would: the process ends."
    gc.freeze()


def pytest_runtest_setup(item):
    "What would start too late is skipped with that reason, so that the last line counts it."
    within = item.config.getoption("--within")
    if within and time.time()-item.config.began > within: pytest.skip(f"not begun within {within:g} s; `make test` runs it")
