"""Order of the tests, and their fixtures, which are in ``suite_fixtures``."""

LONGEST = ("test_tutorials", "test_docs", "test_commands")


def pytest_configure(config):
    """Registers the fixtures where tests run: a process that only hands tests to others need not import as much."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.import_plugin("suite_fixtures")


def pytest_collection_modifyitems(items):
    """Puts the longest tests first, so that the workers end together."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)
